"""The similarity plane: a loss of one positive and one negative, its pulls, its boundary, and where it leads."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from pairlens.core.pairs import Pairs
from pairlens.losses.pair_gradient import PairMeasure, similarity_measure
from pairlens.losses.protocols import centers_of, possible_sources

POINTS = 41
STARTS = 6
STRIDE, STRIDES = 0.02, 250

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SimilarityPlane:
    """A loss over the similarity plane, rows s_p, columns s_n.

    Attributes:
        s_n: (column,) similarity of the negative.
        s_p: (row,) similarity of the positive.
        value: (row, column) loss.
        pull: (row, column) -∂L/∂s_p, how hard the positive is pulled in.
        push: (row, column) ∂L/∂s_n, how hard the negative is pushed away.
    """

    s_n: Array
    s_p: Array
    value: Array
    pull: Array
    push: Array

    @property
    def force(self) -> Array:
        """(row, column) |∂L/∂s_p| + |∂L/∂s_n|."""
        return np.abs(self.pull) + np.abs(self.push)

    @property
    def boundary(self) -> float:
        """The loss at the decision boundary.

        That is log 2, which is log(1 + e^x) at x = 0: the boundary of every loss of this form, such as circle, NT-Xent
        and the softmax losses. Of a loss that reaches 0, such as triplet, it is the edge of that; of one that stays
        below log 2, such as a smooth average precision, the middle of its range.
        """
        low, high = float(self.value.min()), float(self.value.max())
        if low < 1e-12 * high and (self.value <= low).sum() > len(self.s_p):
            return low + 1e-6 * (high - low)
        return math.log(2) if low < math.log(2) < high else (low + high) / 2

    @property
    def content(self) -> float:
        """The force below which a pair is left alone: a ten-thousandth of the largest but for the last percent."""
        return float(np.quantile(self.force, 0.99)) / 1e4

    def table(self) -> list[dict[str, float]]:
        """Return a row a point."""
        return [
            {
                "s_n": float(self.s_n[c]),
                "s_p": float(self.s_p[r]),
                "loss": float(self.value[r, c]),
                "w_p": float(self.pull[r, c]),
                "w_n": float(self.push[r, c]),
            }
            for r in range(len(self.s_p))
            for c in range(len(self.s_n))
        ]


def similarity_plane(loss: Any, points: int = POINTS) -> SimilarityPlane:
    """Return a loss over the plane of the similarities of one positive and one negative.

    A loss of a batch sees three photos, two of one class: both photos of the pair are anchors, at the same two
    similarities, and the third is nobody's positive. A loss of proxies sees one photo, its own proxy and another.

    Args:
        loss: a loss of `pairlens.losses`.
        points: similarities a side, from -1 to 1; the ends are left out by a thousandth, where distances have no slope.

    >>> from pairlens.losses import SimilarityContrastive
    >>> plane = similarity_plane(SimilarityContrastive(margin=0.5), points=3)
    >>> plane.push
    array([[0., 0., 1.],
           [0., 0., 1.],
           [0., 0., 1.]])
    """
    measure = similarity_measure(loss)
    side = torch.linspace(-0.999, 0.999, points, dtype=torch.float64)
    cells = [_at(measure, loss, float(s_p), float(s_n)) for s_p in side for s_n in side]
    value, pull, push = np.array(cells).T.reshape(3, points, points)
    return SimilarityPlane(side.numpy(), side.numpy(), value, pull, push)


def _at(measure: PairMeasure, loss: Any, s_p: float, s_n: float) -> tuple[float, float, float]:
    both = torch.tensor([s_p, s_n], dtype=torch.float64, requires_grad=True)
    value = measure(*_scene(loss, both))
    (gradient,) = torch.autograd.grad(value, both)
    return float(value.detach()), -float(gradient[0]), float(gradient[1])


def _scene(loss: Any, both: torch.Tensor) -> tuple[torch.Tensor, Pairs]:
    if "batch" in possible_sources(loss):
        one = both.new_ones(())
        s_p, s_n = both
        rows = [one, s_p, s_n, s_p, one, s_n, s_n, s_n, one]
        return torch.stack(rows).view(3, 3), Pairs.within(torch.tensor([0, 0, 1]))
    centers = centers_of(loss)
    references = torch.arange(2).repeat_interleave(centers)
    return both.repeat_interleave(centers)[None], Pairs.between(torch.tensor([0]), references)


@dataclass(frozen=True, eq=False)
class Paths:
    """Where gradient descent leads in the plane.

    Attributes:
        points: (path, step, 2) of (s_n, s_p), clipped to -1 to 1; each step has the same length until the force is gone.
    """

    points: Array

    @property
    def ends(self) -> Array:
        """(path, 2) where each path ends."""
        return self.points[:, -1]


def follow(plane: SimilarityPlane, starts: int = STARTS) -> Paths:
    """Return the paths of steepest descent from a grid of starts.

    The force between the points of the plane is interpolated. A path stands still where the loss is content.
    """
    field = [RegularGridInterpolator((plane.s_p, plane.s_n), f, bounds_error=False) for f in (plane.pull, plane.push)]
    side = np.linspace(-0.9, 0.9, starts)
    at = np.array([(s_n, s_p) for s_p in side for s_n in side])
    path = [at]
    for _ in range(STRIDES):
        there = np.clip(at[:, ::-1], plane.s_p[0], plane.s_p[-1])
        move = np.stack([-field[1](there), field[0](there)], axis=1)
        at = np.clip(at + _stride(move, at, plane.content), -1, 1)
        path.append(at)
    return Paths(np.stack(path, axis=1))


def _stride(move: Array, at: Array, least: float) -> Array:
    """Return steps of one length along the moves; what would leave the plane slides along its edge."""
    move = np.where((np.abs(at) >= 1) & (np.sign(move) == np.sign(at)), 0.0, move)
    length = np.linalg.norm(move, axis=1, keepdims=True)
    return np.where(length > least, STRIDE * move / np.maximum(length, 1e-300), 0.0)
