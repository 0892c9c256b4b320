"""The similarity plane: a loss of one positive and one negative pair, its forces, its boundary and its descent paths."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pairlens.core.pairs import Pairs
from pairlens.losses.pair_gradient import pair_gradients
from pairlens.losses.protocols import centers_of, possible_sources

POINTS = 41
STARTS = 6
# Length and number of the steps of a path; together longer than the diagonal of the plane.
STEP_LENGTH, STEPS = 0.02, 250

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SimilarityPlane:
    """A loss on a grid over the similarity plane, whose rows are values of s_p and whose columns are values of s_n.

    Attributes:
        s_n: (column,) similarity of the negative pair.
        s_p: (row,) similarity of the positive pair.
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

        For a loss of the form log(1 + e^x), such as circle, NT-Xent and the softmax losses, the boundary is x = 0, where
        the loss is log 2. For a loss that is 0 in a region, such as triplet, it is the edge of this region. For a loss
        that never crosses log 2, such as a smooth average precision, it is the middle of its range.
        """
        low = float(self.value.min())
        high = float(self.value.max())
        # A region is more than one row of the grid; a single minimum of 0 is not.
        if low < 1e-12 * high and (self.value <= low).sum() > len(self.s_p):
            return low + 1e-6 * (high - low)
        return math.log(2) if low < math.log(2) < high else (low + high) / 2

    @property
    def content(self) -> float:
        """The force below which a pair counts as not moved: a ten-thousandth of the 99 % quantile of all forces."""
        return float(np.quantile(self.force, 0.99)) / 1e4

    def table(self) -> list[dict[str, float]]:
        """Return one row per point of the grid."""
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
    """Return a loss over the plane of the similarities of one positive and one negative pair.

    A loss of a batch sees three photos: two of one class, which are both anchors with the same similarities, and one of
    another class, which has no positive. A loss of proxies sees one photo, the proxy of its class and another proxy.

    Args:
        loss: a loss of `pairlens.losses`.
        points: number of similarities per side, from -0.999 to 0.999; at -1 and 1 distances have no slope.

    >>> from pairlens.losses import SimilarityContrastive
    >>> plane = similarity_plane(SimilarityContrastive(margin=0.5), points=3)
    >>> plane.push
    array([[0., 0., 1.],
           [0., 0., 1.],
           [0., 0., 1.]])
    """
    side = torch.linspace(-0.999, 0.999, points, dtype=torch.float64)
    s_p, s_n = torch.cartesian_prod(side, side).T[:, :, None, None]  # (2, cell, 1, 1), the columns of a row together
    pairs = _pairs(loss)
    # (cell, anchor, reference); what is neither positive nor negative is a photo with itself.
    similarities = torch.where(pairs.positive, s_p, torch.where(pairs.negative, s_n, 1.0))
    value, gradient = pair_gradients(loss, similarities, pairs)
    # All pairs of a kind have one similarity, so its slope is the sum of theirs.
    slopes = [(gradient * kind).sum((1, 2)) for kind in (pairs.positive, pairs.negative)]
    value, pull, push = (x.view(points, points).numpy() for x in (value, -slopes[0], slopes[1]))
    return SimilarityPlane(side.numpy(), side.numpy(), value, pull, push)


def _pairs(loss: Any) -> Pairs:
    """Return the pairs that a loss sees in the plane."""
    if "batch" in possible_sources(loss):
        return Pairs.within(torch.tensor([0, 0, 1]))
    return Pairs.between(torch.tensor([0]), torch.arange(2).repeat_interleave(centers_of(loss)))


@dataclass(frozen=True, eq=False)
class Paths:
    """The paths of gradient descent in the plane.

    Attributes:
        points: (path, step, 2) of (s_n, s_p), within -1 to 1. All steps have the same length until the force vanishes.
    """

    points: Array

    @property
    def ends(self) -> Array:
        """(path, 2) where each path ends."""
        return self.points[:, -1]


def follow(plane: SimilarityPlane, starts: int = STARTS) -> Paths:
    """Return the paths of steepest descent from a grid of starting points.

    The forces between the points of the plane are interpolated. A path stops where they vanish.
    """
    # Imported here, because only this function needs scipy.
    from scipy.interpolate import RegularGridInterpolator

    axes = (plane.s_p, plane.s_n)
    pull = RegularGridInterpolator(axes, plane.pull, bounds_error=False)
    push = RegularGridInterpolator(axes, plane.push, bounds_error=False)
    side = np.linspace(-0.9, 0.9, starts)
    position = np.array([(s_n, s_p) for s_p in side for s_n in side])  # (path, 2)
    path = [position]
    for _ in range(STEPS):
        # The grid is indexed by (s_p, s_n), a position is (s_n, s_p); beyond the grid its edge is used.
        cell = np.clip(position[:, ::-1], plane.s_p[0], plane.s_p[-1])
        direction = np.stack([-push(cell), pull(cell)], axis=1)
        position = np.clip(position + _step(direction, position, plane.content), -1, 1)
        path.append(position)
    return Paths(np.stack(path, axis=1))


def _step(direction: Array, position: Array, min_force: float) -> Array:
    """Return steps of equal length in the directions; a step that would leave the plane follows its edge."""
    leaves = (np.abs(position) >= 1) & (np.sign(direction) == np.sign(position))
    inside = np.where(leaves, 0.0, direction)
    force = np.linalg.norm(inside, axis=1, keepdims=True)
    return np.where(force > min_force, STEP_LENGTH * inside / np.maximum(force, 1e-300), 0.0)
