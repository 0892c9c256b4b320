"""Unit vectors, their cosine similarities and Euclidean distances."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pairlens.core.tracing import is_readable, is_traced, is_transformed

# Shorter vectors count as zero.
MIN_LENGTH = 1e-12
# Smaller distances count as zero. Rounding gives two copies of a photo a distance far above this, about 1e-4 in float32.
MIN_DISTANCE = 1e-18


def working_precision(vectors: Tensor) -> Tensor:
    """Return the vectors in float32 or better, because half precision cannot resolve similarities close to 1.

    >>> working_precision(torch.ones(2, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return vectors if vectors.dtype in (torch.float32, torch.float64) else vectors.float()


def unit(vectors: Tensor) -> Tensor:
    """Scale each vector to length 1; a zero vector has no direction, so it stays zero and gets no gradient.

    With u = v / |v| the gradient is (g - u (u · g)) / |v|: three passes over the vectors, where autograd takes six.

    Args:
        vectors: (..., dim); one shorter than 1e-12 counts as zero, and one whose length overflows becomes NaN.

    >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    vectors = working_precision(vectors)
    if is_transformed():
        return vectors / _length(vectors)
    return _Unit.apply(vectors)  # pyright: ignore[reportReturnType]


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which products keep the precision of their operands; it gives None where there is no autocast."""
    # Entering autocast takes as long as a small matrix product.
    if device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def cosine(anchors: Tensor, references: Tensor) -> Tensor:
    """Return s[a, r] = a · r of unit vectors, in float32 or better even under autocast.

    Args:
        anchors: (..., anchor, dim), unit length.
        references: (..., reference, dim), unit length.

    >>> cosine(torch.eye(2), torch.tensor([[0.6, 0.8]]))
    tensor([[0.6000],
            [0.8000]])
    """
    with without_autocast(anchors.device) as autocast:
        vectors = working_precision(anchors), working_precision(references)
        if autocast is None or is_transformed():
            return vectors[0] @ vectors[1].mT
        return _Product.apply(*vectors)  # pyright: ignore[reportReturnType]


def self_cosine(vectors: Tensor) -> Tensor:
    """Return s[i, j] = e_i · e_j of unit vectors, with a backward pass of one matrix product instead of two.

    With G = dL/dS the gradient of S = E Eᵀ is dL/dE = (G + Gᵀ) E.

    Args:
        vectors: (anchor, dim), unit length.

    >>> self_cosine(torch.tensor([[1.0, 0.0], [0.6, 0.8]]))
    tensor([[1.0000, 0.6000],
            [0.6000, 1.0000]])
    """
    with without_autocast(vectors.device):
        vectors = working_precision(vectors)
        if is_transformed():
            return vectors @ vectors.mT
        return _SelfProduct.apply(vectors)  # pyright: ignore[reportReturnType]


def cosine_within(vectors: Tensor) -> Tensor:
    """Return the cosine similarities of (anchor, dim) vectors of any length: `self_cosine(unit(vectors))` as one function.

    A small batch takes as long as the number of functions that autograd records.

    >>> cosine_within(torch.tensor([[2.0, 0.0], [3.0, 4.0]]))
    tensor([[1.0000, 0.6000],
            [0.6000, 1.0000]])
    """
    vectors = working_precision(vectors)
    if is_traced():
        return self_cosine(unit(vectors))
    with without_autocast(vectors.device):
        return _CosineWithin.apply(vectors)  # pyright: ignore[reportReturnType]


def cosine_between(anchors: Tensor, references: Tensor) -> Tensor:
    """Return the cosine similarities of vectors of any length: `cosine(unit(anchors), unit(references))` as one function.

    The similarities are divided by the lengths, and not the vectors, which have more elements. A product of two vectors
    whose lengths are finite does not overflow, because the squares of the lengths do not.

    Args:
        anchors: (anchor, dim).
        references: (reference, dim).

    >>> cosine_between(torch.tensor([[2.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000]])
    """
    anchors = working_precision(anchors)
    if is_traced() or references.dtype != anchors.dtype:
        return cosine(unit(anchors), unit(references).to(anchors.dtype))
    with without_autocast(anchors.device):
        return _CosineBetween.apply(anchors, references)  # pyright: ignore[reportReturnType]


# Without a `setup_context`, which would take as long as the function itself; for transforms there are the plain forms above.
class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor) -> Tensor:
        length = _length(vectors)
        units = vectors / length
        ctx.save_for_backward(vectors, units, length)
        return units

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        vectors, units, length = ctx.saved_tensors
        if is_one_zero(gradients[0]):
            return torch.zeros_like(vectors)
        if torch.is_grad_enabled():
            # This gradient will be differentiated, and so must know how the length depends on the vectors.
            length = _length(vectors)
        return _by_vectors(gradients[0], units, length)


def one_zero(like: Tensor) -> Tensor:
    """Return a gradient of zeros that share one number, so that the functions before it in the graph can skip their work."""
    return like.new_zeros(()).expand_as(like)


def is_one_zero(gradient: Tensor) -> bool:
    """Return whether a gradient is what `one_zero` returns; never while it will be differentiated or cannot be read.

    >>> with torch.no_grad():
    ...     is_one_zero(one_zero(torch.ones(2, 3))), is_one_zero(torch.zeros(2, 3))
    (True, False)
    """
    if torch.is_grad_enabled() or any(gradient.stride()) or not gradient.numel() or not is_readable(gradient):
        return False
    return gradient.as_strided((), ()).item() == 0


def _length(vectors: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    # Division by infinity makes the unit vector and its gradient 0. F.threshold keeps lengths above the threshold.
    divisor = F.threshold(length, MIN_LENGTH, torch.inf)
    # A length that overflows is infinite itself. Adding 0 · ∞ makes it NaN, so that such a vector is not taken for zero.
    return torch.add(divisor, length, alpha=0)


class _SelfProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor) -> Tensor:
        ctx.save_for_backward(vectors)
        return vectors @ vectors.T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (vectors,) = ctx.saved_tensors
        return one_zero(vectors) if is_one_zero(gradients[0]) else _by_units(gradients[0], vectors)


class _CosineWithin(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor) -> Tensor:
        length = _length(vectors)
        units = vectors / length
        ctx.save_for_backward(vectors, units, length)
        return units @ units.T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        vectors, units, length = ctx.saved_tensors
        if is_one_zero(gradients[0]):
            return torch.zeros_like(vectors)
        if torch.is_grad_enabled():
            # This gradient will be differentiated, and so must know how both depend on the vectors.
            length = _length(vectors)
            units = vectors / length
        return _by_vectors(_by_units(gradients[0], units), units, length)


class _CosineBetween(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, anchors: Tensor, references: Tensor) -> Tensor:
        by_row, by_column = _length(anchors), _length(references).T  # (anchor, 1) and (1, reference)
        both = by_row * by_column
        similarity = (anchors @ references.T).div_(both)
        ctx.save_for_backward(anchors, references, by_row, by_column, both, similarity)
        return similarity

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        anchors, references, by_row, by_column, both, similarity = ctx.saved_tensors
        if is_one_zero(gradients[0]):
            return torch.zeros_like(anchors), torch.zeros_like(references)
        with without_autocast(anchors.device):
            if torch.is_grad_enabled():
                # This gradient will be differentiated, and so must know how all depends on the vectors.
                by_row, by_column = _length(anchors), _length(references).T
                both = by_row * by_column
                similarity = anchors @ references.T / both
            product = gradients[0] / both  # (anchor, reference) gradient by the products of the vectors
            along = gradients[0] * similarity
            # The parts of the gradient along the vectors, which change only their lengths: (anchor, 1), (reference, 1).
            along_anchors = along.sum(dim=1, keepdim=True) / by_row / by_row
            along_references = (along.sum(dim=0) / by_column / by_column).T
            # In place, because the memory of a new tensor of this size takes as long as the sum.
            return (
                (product @ references).addcmul_(anchors, along_anchors, value=-1),
                (product.T @ anchors).addcmul_(references, along_references, value=-1),
            )


def _by_units(gradient: Tensor, units: Tensor) -> Tensor:
    """Return (G + Gᵀ) E, the gradient by E of the (anchor, anchor) products E Eᵀ, whose own gradient is G."""
    # The transpose is copied first, because adding a strided view takes twice as long.
    both = gradient.T.clone(memory_format=torch.contiguous_format).add_(gradient)
    with without_autocast(both.device):
        return both @ units


def _by_vectors(gradient: Tensor, units: Tensor, length: Tensor) -> Tensor:
    """Return the gradient by vectors of (..., 1) length, given that by their unit vectors."""
    # u · g, (..., 1): the part of the gradient along the vector, which changes only its length.
    along = (gradient * units).sum(dim=-1, keepdim=True)
    return torch.addcmul(gradient, units, along, value=-1) / length


class _Product(torch.autograd.Function):
    """A Rᵀ whose backward pass keeps the precision as well, where it is called under autocast."""

    @staticmethod
    def forward(ctx: Any, anchors: Tensor, references: Tensor) -> Tensor:
        ctx.save_for_backward(anchors, references)
        return anchors @ references.mT

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        anchors, references = ctx.saved_tensors
        by_anchors, by_references = ctx.needs_input_grad
        with without_autocast(anchors.device):
            return (
                gradients[0] @ references if by_anchors else None,
                gradients[0].mT @ anchors if by_references else None,
            )


def distance(similarity: Tensor) -> Tensor:
    """Return the Euclidean distance d = √(2 - 2 s) of unit vectors, with gradient 0 where it is 0.

    The squared distance is at least the smallest normal number, so in float32 d is at least 1e-19, and neither the root
    nor 1/d needs a mask.

    >>> distance(torch.tensor([1.0, 0.5, -1.0])).round(decimals=4)
    tensor([0., 1., 2.])
    """
    return torch.rsub(similarity, 2, alpha=2).clamp(min=torch.finfo(similarity.dtype).tiny).sqrt()


def reciprocal(distances: Tensor) -> Tensor:
    """Return 1/d = -dd/ds, 0 where d is 0.

    >>> reciprocal(distance(torch.tensor([1.0, 0.5])))
    tensor([0., 1.])
    """
    # F.threshold is one pass over memory; a comparison and torch.where take seven times as long on a CPU. It keeps values
    # above the threshold, hence the negative sign.
    return F.threshold(-1 / distances, -1 / MIN_DISTANCE, 0.0).abs()
