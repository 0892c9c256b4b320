"""The weight of a pair: how hard a loss pulls at it, as a function of how similar it is."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.losses.frame import Side, Weighed, over_anchors
from pairlens.training.criterion import EmbeddingLoss, LearnedLoss


@runtime_checkable
class Weighing(Protocol):
    """A loss that carries its pair weights in closed form."""

    def weigh(self, positive: Side, negative: Side) -> Weighed:
        """Return the loss and the pair weights of each anchor."""
        ...


PairMeasure = Callable[[Tensor, Pairs], Tensor]

CLASSES, PER_CLASS = 8, 4
OTHER_POSITIVES, OTHER_NEGATIVES = 0.6, 0.2
STEPS = 161


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


def pair_gradient(measure: PairMeasure, similarity: Tensor, pairs: Pairs) -> Tensor:
    """Return dL/ds of every pair: General Pair Weighting (Wang et al., CVPR 2019, arXiv 1904.06627) of any loss.

    Args:
        measure: a loss of (similarity, pairs).
        similarity: (anchor, reference).
        pairs: which of them are positives and negatives.

    >>> from pairlens.losses import SimilarityContrastive
    >>> similarity = torch.tensor([[1.0, 0.5, 0.7]])
    >>> pairs = Pairs.between(torch.tensor([0]), torch.tensor([0, 0, 1]))
    >>> pair_gradient(SimilarityContrastive(), similarity, pairs)
    tensor([[-1., -1.,  1.]])
    """
    leaf = similarity.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(measure(leaf, pairs), leaf)
    return gradient


def weight_curve(loss: Any) -> WeightCurve:
    """Return the weight curve of a loss in a batch of 8 classes of 4, or against one proxy a class.

    The other positives have similarity 0.6, the other negatives 0.2. Of a batch the pair is looked at from both its
    photos, and the weight is multiplied by the number of anchors over two, so that it is the weight for one anchor.

    Raises:
        ValueError: for a loss that is not a function of similarities.
    """
    measure = similarity_measure(loss)
    similarity, pairs = _scene(loss)
    s = torch.linspace(-0.999, 0.999, STEPS, dtype=similarity.dtype)
    columns = [int(mask[0].nonzero()[0]) for mask in (pairs.positive, pairs.negative)]
    positive, negative = ([_weight_at(measure, similarity, pairs, c, float(x)) for x in s] for c in columns)
    return WeightCurve(s, -s.new_tensor(positive), s.new_tensor(negative))


def similarity_measure(loss: Any) -> PairMeasure:
    """Return a loss as a function of (similarity, pairs); a learned one with the parameter it starts with.

    A loss of embeddings that has pair weights (N-pair on inner products, SNR on minus its distance) is taken without
    its penalty on the embeddings, and what it weighs stands for the similarity.

    Raises:
        ValueError: for a loss of the embeddings themselves, which has no pair weight.
    """
    if isinstance(loss, EmbeddingLoss):
        if isinstance(loss, Weighing):
            return partial(over_anchors, loss.weigh)
        raise ValueError(f"{type(loss).__name__} is a function of the embeddings, not of their similarities")
    if isinstance(loss, LearnedLoss):
        start = loss.initial(1)
        return lambda similarity, pairs: loss(similarity, pairs, start.to(similarity).expand(len(similarity)))
    return loss


def _scene(loss: Any) -> tuple[Tensor, Pairs]:
    if "batch" in getattr(loss, "references", ("batch",)):
        labels = torch.arange(CLASSES).repeat_interleave(PER_CLASS)
        pairs = Pairs.within(labels)
    else:
        labels, centers = torch.arange(CLASSES), getattr(loss, "centers", 1)
        pairs = Pairs.between(labels, labels.repeat_interleave(centers))
    similarity = torch.full(pairs.positive.shape, OTHER_NEGATIVES, dtype=torch.float64)
    similarity[pairs.positive] = OTHER_POSITIVES
    return similarity.masked_fill(~pairs.positive & ~pairs.negative, 1.0), pairs


def _weight_at(measure: PairMeasure, similarity: Tensor, pairs: Pairs, column: int, s: float) -> float:
    symmetric = similarity.shape[0] == similarity.shape[1] and not bool(pairs.positive.diagonal().any())
    similarity = similarity.clone()
    similarity[0, column] = s
    if symmetric:
        similarity[column, 0] = s
    gradient = pair_gradient(measure, similarity, pairs) * len(similarity)
    return float((gradient[0, column] + gradient[column, 0]) / 2 if symmetric else gradient[0, column])
