"""The arguments of a loss or a miner that is called directly: similarities and their pairs."""

from typing import Any

from torch import Tensor

from pairlens.core.inputs import Numbers, as_matrix
from pairlens.core.pairs import Pairs
from pairlens.core.similarity import working_precision


def as_similarity(similarity: Numbers, pairs: Any) -> Tensor:
    """Return (anchor, reference) similarities in float32 or better; a tensor of these types is returned as it is.

    Args:
        similarity: a tensor, an array or nested lists.
        pairs: the pairs that belong to them.

    Raises:
        ValueError: if they are no matrix of real numbers, or the pairs are no `Pairs` of the same shape.

    >>> import torch
    >>> as_similarity([[1, 0]], Pairs.between(torch.tensor([0]), torch.tensor([0, 1])))
    tensor([[1., 0.]])
    """
    if not isinstance(pairs, Pairs):
        raise ValueError(
            f"a loss takes similarities and pl.Pairs, not {type(pairs).__name__}; to call it with embeddings and labels, "
            "make a pl.Criterion of it"
        )
    matrix = as_matrix(similarity, "similarity")
    if matrix.shape != pairs.positive.shape:
        raise ValueError(
            f"similarities of shape {tuple(matrix.shape)} and pairs of shape {tuple(pairs.positive.shape)} do not belong "
            "together; make the pairs of the labels of the same anchors and references"
        )
    return working_precision(matrix)
