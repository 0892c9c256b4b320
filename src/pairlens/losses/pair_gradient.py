"""Any loss as a function of similarities and pairs, and its gradient there: the weight of every pair."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.losses.base import PairWeights, Side, over_anchors
from pairlens.losses.protocols import EmbeddingLoss, LearnedLoss


@runtime_checkable
class Weighing(Protocol):
    """A loss that carries its pair weights in closed form."""

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        ...


PairMeasure = Callable[[Tensor, Pairs], Tensor]


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
