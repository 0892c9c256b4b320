"""The weight of a pair: how hard a loss pulls or pushes it, as a function of its similarity."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.losses.pair_gradient import pair_gradients
from pairlens.losses.protocols import centers_of, possible_sources

STEPS = 161


@dataclass(frozen=True)
class ProbeBatch:
    """The batch in which the weight of one pair is measured.

    Attributes:
        classes: number of classes, and of proxies (or groups of centres).
        per_class: photos per class, for a loss of a batch.
        positives: similarity of the other positive pairs.
        negatives: similarity of the other negative pairs.
    """

    classes: int = 8
    per_class: int = 4
    positives: float = 0.6
    negatives: float = 0.2

    def similarity(self, loss: Any) -> tuple[Tensor, Pairs]:
        """Return the similarities and the pairs that a loss sees: of a batch, or of photos with proxies."""
        labels = torch.arange(self.classes)
        if "batch" in possible_sources(loss):
            pairs = Pairs.within(labels.repeat_interleave(self.per_class))
        else:
            pairs = Pairs.between(labels, labels.repeat_interleave(centers_of(loss)))
        # All pairs of a kind have the same similarity, so that only the pair that is measured stands out.
        similarity = torch.full(pairs.positive.shape, self.negatives, dtype=torch.float64)
        similarity[pairs.positive] = self.positives
        # What is neither positive nor negative is a photo with itself.
        return similarity.masked_fill(~pairs.positive & ~pairs.negative, 1.0), pairs


DEFAULT_BATCH = ProbeBatch()


@dataclass(frozen=True, eq=False)
class WeightCurve:
    """The weight of one pair as its similarity goes from -1 to 1 while all others stay as they are.

    Attributes:
        similarity: (step,) of the pair.
        positive: (step,) w_p = -dL/ds of a positive; below 0 where the loss pushes a positive away.
        negative: (step,) w_n = dL/ds of a negative; below 0 where the loss pulls a negative in.
    """

    similarity: Tensor
    positive: Tensor
    negative: Tensor


def weight_curve(loss: Any, batch: ProbeBatch = DEFAULT_BATCH) -> WeightCurve:
    """Return the weight curve of a loss in a batch, by default of 8 classes with 4 photos, or with one proxy per class.

    In a batch, both photos of the pair are anchors; the weight is that of one anchor. Where a class has several centres,
    the pair is a photo and a class: the similarities to all centres of the class change together.

    Raises:
        ValueError: for a loss that is not a function of similarities.
    """
    similarity, pairs = batch.similarity(loss)
    steps = torch.linspace(-0.999, 0.999, STEPS, dtype=similarity.dtype)
    positive, negative = (_slopes(loss, similarity, pairs, kind, steps) for kind in (pairs.positive, pairs.negative))
    return WeightCurve(steps, -positive, negative)


def _cells_of_pair(mask: Tensor, loss: Any) -> Tensor:
    """Return the (cell, 2) row and column of every similarity of one pair, the first one of the mask's first row."""
    column = int(mask[0].nonzero()[0])
    if "batch" in possible_sources(loss):
        # Both photos are anchors, and the matrix is symmetric.
        return torch.tensor([[0, column], [column, 0]])
    return torch.tensor([[0, column + center] for center in range(centers_of(loss))])


def _slopes(loss: Any, similarity: Tensor, pairs: Pairs, kind: Tensor, steps: Tensor) -> Tensor:
    """Return dL/ds of one anchor, (step,), for a pair of a kind that has each similarity in turn."""
    rows, columns = _cells_of_pair(kind, loss).T
    changed = similarity.repeat(len(steps), 1, 1)  # (step, anchor, reference)
    changed[:, rows, columns] = steps[:, None]
    # The loss is a mean over anchors; times their number it is that of one anchor.
    gradient = pair_gradients(loss, changed, pairs)[1] * len(similarity)
    return gradient[:, rows, columns].sum(1) / len(rows.unique())
