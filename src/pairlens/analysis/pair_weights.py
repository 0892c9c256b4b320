"""The weight of a pair: how hard a loss pulls at it, as a function of how similar it is."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.losses.pair_gradient import PairMeasure, pair_gradient, similarity_measure
from pairlens.losses.protocols import centers_of, possible_sources

STEPS = 161


@dataclass(frozen=True)
class ProbeBatch:
    """The batch in which the weight of a pair is looked at.

    Attributes:
        classes: how many classes (and proxies) there are.
        per_class: photos of each, for a loss of a batch.
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
        similarity = torch.full(pairs.positive.shape, self.negatives, dtype=torch.float64)
        similarity[pairs.positive] = self.positives
        return similarity.masked_fill(~pairs.positive & ~pairs.negative, 1.0), pairs


USUAL = ProbeBatch()


@dataclass(frozen=True, eq=False)
class WeightCurve:
    """The weight of one pair as its similarity goes from -1 to 1 while all others stand still.

    Attributes:
        similarity: (step,) of the pair.
        positive: (step,) w_p = -dL/ds of a positive; below 0 where the loss pushes a positive away.
        negative: (step,) w_n = dL/ds of a negative; below 0 where the loss pulls a negative in.
    """

    similarity: Tensor
    positive: Tensor
    negative: Tensor


def weight_curve(loss: Any, scene: ProbeBatch = USUAL) -> WeightCurve:
    """Return the weight curve of a loss in a batch, by default 8 classes of 4, or against one proxy a class.

    Of a batch the pair is looked at from both its photos, and the weight is multiplied by the number of anchors over
    two, so that it is the weight for one anchor.

    Raises:
        ValueError: for a loss that is not a function of similarities.
    """
    measure = similarity_measure(loss)
    similarity, pairs = scene.similarity(loss)
    s = torch.linspace(-0.999, 0.999, STEPS, dtype=similarity.dtype)
    columns = [int(mask[0].nonzero()[0]) for mask in (pairs.positive, pairs.negative)]
    positive, negative = ([_weight_at(measure, similarity, pairs, c, float(x)) for x in s] for c in columns)
    return WeightCurve(s, -s.new_tensor(positive), s.new_tensor(negative))


def _weight_at(measure: PairMeasure, similarity: Tensor, pairs: Pairs, column: int, s: float) -> float:
    symmetric = similarity.shape[0] == similarity.shape[1] and not bool(pairs.positive.diagonal().any())
    similarity = similarity.clone()
    similarity[0, column] = s
    if symmetric:
        similarity[column, 0] = s
    gradient = pair_gradient(measure, similarity, pairs) * len(similarity)
    return float((gradient[0, column] + gradient[column, 0]) / 2 if symmetric else gradient[0, column])
