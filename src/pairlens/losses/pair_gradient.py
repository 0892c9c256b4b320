"""The gradient of any loss with respect to the similarities: the weight of every pair."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.losses.base import mean_over_anchors
from pairlens.losses.protocols import is_embedding_loss, is_learned_loss, parts_of, weighs_pairs
from pairlens.losses.third_party import is_own_loss

# Similarities that are differentiated at a time.
ENTRIES = 2**16

PairMeasure = Callable[[Tensor, Pairs], Tensor]


def pair_gradient(measure: PairMeasure, similarity: Tensor, pairs: Pairs) -> Tensor:
    """Return dL/ds of every pair: General Pair Weighting (Wang et al., CVPR 2019, arXiv 1904.06627) of any loss.

    Args:
        measure: a loss of (similarity, pairs).
        similarity: (anchor, reference).
        pairs: the positives and negatives among them.

    >>> from pairlens.losses import SimilarityContrastive
    >>> similarity = torch.tensor([[1.0, 0.5, 0.7]])
    >>> pairs = Pairs.between(torch.tensor([0]), torch.tensor([0, 0, 1]))
    >>> pair_gradient(SimilarityContrastive(), similarity, pairs)
    tensor([[-1., -1.,  1.]])
    """
    return _value_and_gradient(measure, similarity, pairs)[1]


def pair_gradients(loss: Any, similarities: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return a loss, (matrix,), and dL/ds of every pair, (matrix, anchor, reference), for several matrices of similarities.

    A loss of Pairlens is evaluated on many matrices at a time. The code of a loss from outside may not allow that, so such a
    loss sees one matrix after another.

    Args:
        loss: a loss that `similarity_measure` takes.
        similarities: (matrix, anchor, reference).
        pairs: the positives and negatives among them, which all matrices share.

    Raises:
        ValueError: for a loss of the embeddings without pair weights.

    >>> from pairlens.losses import SimilarityContrastive
    >>> similarities = torch.tensor([[[0.9, 0.7]], [[0.9, 0.2]]])
    >>> pairs = Pairs.between(torch.tensor([0]), torch.tensor([0, 1]))
    >>> pair_gradients(SimilarityContrastive(), similarities, pairs)[1].tolist()
    [[[-1.0, 1.0]], [[-1.0, 0.0]]]
    """
    measure = similarity_measure(loss)
    if not is_own_loss(loss):
        found = [_value_and_gradient(measure, similarity, pairs) for similarity in similarities]
        values, gradients = map(torch.stack, zip(*found, strict=True))
        return values, gradients
    # Some losses make a tensor with a further axis for each similarity, so the memory is bounded.
    count = max(1, ENTRIES // similarities[0].numel())
    of_one = torch.func.grad_and_value(lambda similarity: measure(similarity, pairs))
    gradients, values = torch.vmap(of_one, chunk_size=count)(similarities.detach())
    return values, gradients


def _value_and_gradient(measure: PairMeasure, similarity: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    # A copy, so that the caller's tensor keeps its own graph and gets no gradient.
    leaf = similarity.detach().clone().requires_grad_()
    value = measure(leaf, pairs)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


def similarity_measure(loss: Any) -> PairMeasure:
    """Return a loss as a function of (similarity, pairs).

    A sum is evaluated part by part. A loss with learned parameters is evaluated at their initial values. A loss of
    embeddings that has pair weights is evaluated without its penalty on the embeddings; what it weighs takes the place of
    the similarity (inner products for N-pair, minus its distance for SNR).

    Raises:
        ValueError: for a loss of the embeddings without pair weights.
    """
    if not weighs_pairs(loss):
        raise ValueError(
            f"{type(loss).__name__} is a function of the embeddings, not of their similarities, so its pairs have no "
            "weights; choose a loss of similarities"
        )
    if is_embedding_loss(loss):
        return partial(mean_over_anchors, loss.weigh)
    parts = parts_of(loss)
    if len(parts) > 1:
        measures = [(weight, similarity_measure(part)) for weight, part in parts]
        return lambda similarity, pairs: torch.stack([w * measure(similarity, pairs) for w, measure in measures]).sum()
    if is_learned_loss(loss):
        initial = loss.initial(1)  # (1,): every class starts at the same value
        return lambda similarity, pairs: loss(similarity, pairs, initial.to(similarity).expand(len(similarity)))
    return loss
