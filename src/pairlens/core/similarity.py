"""Unit vectors and their cosine similarities: what every loss and every metric is computed from."""

from typing import Any

import torch
from torch import Tensor

SHORTEST = 1e-12


def working_precision(vectors: Tensor) -> Tensor:
    """Return the vectors in float32 or better; half precision cannot tell apart similarities close to 1.

    >>> working_precision(torch.ones(2, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return vectors if vectors.dtype in (torch.float32, torch.float64) else vectors.float()


def unit(vectors: Tensor) -> Tensor:
    """Scale each vector to length 1; a zero vector, which has no direction, stays zero and gets no gradient.

    With u = v / |v| the gradient is (g - u (u · g)) / |v|: three passes over the vectors, where autograd takes six.

    Args:
        vectors: (..., dim); one shorter than 1e-12 counts as zero.

    >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    return _Unit.apply(working_precision(vectors))  # pyright: ignore[reportReturnType]


def cosine(anchors: Tensor, references: Tensor) -> Tensor:
    """Return s[a, r] = a · r for unit vectors, in float32 or better also under autocast.

    Args:
        anchors: (..., anchor, dim), unit length.
        references: (..., reference, dim), unit length.

    >>> cosine(torch.eye(2), torch.tensor([[0.6, 0.8]]))
    tensor([[0.6000],
            [0.8000]])
    """
    with torch.autocast(anchors.device.type, enabled=False):
        return working_precision(anchors) @ working_precision(references).mT


def self_cosine(vectors: Tensor) -> Tensor:
    """Return s[i, j] = e_i · e_j for unit vectors, with a backward pass of one matrix product instead of two.

    With G = dL/dS the gradient of S = E Eᵀ is dL/dE = (G + Gᵀ) E.

    Args:
        vectors: (anchor, dim), unit length.

    >>> self_cosine(torch.tensor([[1.0, 0.0], [0.6, 0.8]]))
    tensor([[1.0000, 0.6000],
            [0.6000, 1.0000]])
    """
    with torch.autocast(vectors.device.type, enabled=False):
        return _SelfProduct.apply(working_precision(vectors))  # pyright: ignore[reportReturnType]


class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(vectors: Tensor) -> Tensor:
        return vectors / _length(vectors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        vectors, units = ctx.saved_tensors
        along = (gradients[0] * units).sum(dim=-1, keepdim=True)
        return torch.addcmul(gradients[0], units, along, value=-1) / _length(vectors)


def _length(vectors: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return length.masked_fill(length < SHORTEST, torch.inf)


class _SelfProduct(torch.autograd.Function):
    @staticmethod
    def forward(vectors: Tensor) -> Tensor:
        return vectors @ vectors.T

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (vectors,) = ctx.saved_tensors
        # Transposed into a copy first: adding a strided view is twice as slow.
        return gradients[0].T.clone(memory_format=torch.contiguous_format).add_(gradients[0]) @ vectors
