"""What people have (arrays, lists, tensors and scalars of any kind) as the tensors and numbers that functions compute with.

Every public function converts its arguments here. So all of them accept the same kinds of values, and refuse all others with
one sentence that names the argument.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import torch
from torch import Tensor

from pairlens.core.similarity import working_precision
from pairlens.core.whole_number import as_whole_number as as_whole_number
from pairlens.core.whole_number import shown_value, whole_number_of

# Vectors and labels as a public function takes them. Lists may be nested; a list of tensors is stacked.
Numbers: TypeAlias = Tensor | np.ndarray | Sequence[Any]

_FLOATS = frozenset((torch.float16, torch.bfloat16, torch.float32, torch.float64))
# The kinds of NumPy arrays that are numbers: truth values, integers of both signs, floats, complex numbers.
_NUMBER_KINDS = "biufc"
_WANTED_MATRIX = "{} must be a matrix of real numbers with one row per photo"


class NotFiniteError(ValueError, FloatingPointError):
    """An embedding, a proxy or a similarity is infinite or NaN: the input is wrong, or training has diverged."""


def as_vectors(values: Numbers, name: str) -> Tensor:
    """Return a (row, dim) matrix of floats; a tensor of floats is returned as it is, with its graph.

    Integers become float32, because a vector of counts or of quantised values has a plain meaning. Arrays and lists become
    float32 as well, because most of them are float64 only by NumPy's default.

    Args:
        values: a tensor, an array or nested lists of real numbers, or a list of (dim,) tensors.
        name: what an error calls them.

    Raises:
        ValueError: for anything else: truth values, complex numbers, texts, rows of different lengths, another shape.

    >>> as_vectors([[1, 2], [3, 4]], "queries")
    tensor([[1., 2.],
            [3., 4.]])
    """
    vectors = as_matrix(values, name)
    if not vectors.shape[1]:
        raise ValueError(f"{_WANTED_MATRIX.format(name)} with at least one column, not of shape {tuple(vectors.shape)}")
    return vectors


def as_matrix(values: Numbers, name: str) -> Tensor:
    """Return a matrix of floats as `as_vectors` does, which may also have no columns, such as similarities to nothing.

    Args:
        values: a tensor, an array or nested lists of real numbers, or a list of vectors.
        name: what an error calls them.

    Raises:
        ValueError: for anything else; see `as_vectors`.

    >>> as_matrix(np.zeros((2, 0)), "similarity").shape
    torch.Size([2, 0])
    """
    # The common case comes first, because a criterion asks at every step.
    if _is_strided(values) and values.dtype in _FLOATS and values.ndim == 2:
        return values
    wanted = _WANTED_MATRIX.format(name)
    tensor = _tensor_of(values, wanted)
    if tensor.ndim != 2:
        raise ValueError(f"{wanted}, not of shape {tuple(tensor.shape)}")
    return _as_floats(tensor, wanted, is_tensor=_holds_tensors(values))


def as_labels(values: Numbers, name: str = "labels") -> Tensor:
    """Return (row,) labels as int64; truth values become 0 and 1.

    Args:
        values: a tensor, an array or a list of integers or truth values.
        name: what an error calls them.

    Raises:
        ValueError: for anything else: floats, because float32 cannot tell labels above 2**24 apart, texts, another shape.

    >>> as_labels([True, False])
    tensor([1, 0])
    """
    if _is_strided(values) and values.dtype is torch.int64 and values.ndim == 1:
        return values
    wanted = f"{name} must be integers, one per photo"
    tensor = _tensor_of(values, wanted)
    # An empty list has no type of its own; NumPy makes floats of it.
    has_floats = (tensor.is_floating_point() or tensor.is_complex()) and tensor.numel() > 0
    if tensor.ndim != 1 or has_floats:
        why = "because above 2**24 different floats become equal" if has_floats else "as in [0, 0, 1]"
        raise ValueError(
            f"{wanted}, not {tensor.dtype} of shape {tuple(tensor.shape)}; number the classes from 0, {why}"
        )
    labels = _converted(tensor, torch.int64, wanted)
    if tensor.dtype is torch.uint64 and bool((labels < 0).any()):
        raise ValueError(f"{wanted}, up to 2**63 - 1; number the classes from 0")
    return labels


def as_batch(embeddings: Numbers, labels: Numbers) -> tuple[Tensor, Tensor]:
    """Return (photo, dim) embeddings and their (photo,) labels on one device; see `as_vectors` and `as_labels`.

    Raises:
        ValueError: if they are no embeddings and no labels, or not one label per embedding.

    >>> as_batch([[1, 0]], [True])
    (tensor([[1., 0.]]), tensor([1]))
    """
    vectors = as_vectors(embeddings, "embeddings")
    known = as_labels(labels)
    if vectors.shape[0] != known.shape[0]:
        raise ValueError(f"{len(vectors)} embeddings have {len(known)} labels; give one label per embedding")
    return vectors, known if known.device == vectors.device else known.to(vectors.device)


def as_values(values: Numbers, name: str) -> Tensor:
    """Return further (row, ...) values of any type; a tensor is returned as it is.

    Args:
        values: a tensor, an array or a list of numbers or truth values.
        name: what an error calls them.

    Raises:
        ValueError: if they are no numbers.

    >>> as_values([True, False], "weight")
    tensor([ True, False])
    """
    return _tensor_of(values, f"{name} must be numbers")


def as_mask(values: Numbers, name: str) -> Tensor:
    """Return an (anchor, reference) boolean matrix.

    Args:
        values: a tensor, an array or nested lists of truth values.
        name: what an error calls them.

    Raises:
        ValueError: for values of another type, also 0 and 1, or of another shape.

    >>> as_mask([[True, False]], "positive")
    tensor([[ True, False]])
    """
    if _is_strided(values) and values.dtype is torch.bool and values.ndim == 2:
        return values
    wanted = f"the {name} mask of Pairs must be a boolean (anchor, reference) matrix"
    mask = _tensor_of(values, wanted)
    if mask.dtype != torch.bool or mask.ndim != 2:
        raise ValueError(f"{wanted}, not {mask.dtype} of shape {tuple(mask.shape)}; make it by comparing labels")
    return mask


def as_whole_numbers(values: Any, name: str) -> tuple[int, ...]:
    """Return one integer, or a list, a tuple, a range, an array or a tensor of integers, as a tuple.

    Args:
        values: the number or the numbers.
        name: what an error calls them.

    Raises:
        ValueError: if they are no integers.

    >>> as_whole_numbers(1, "recalls"), as_whole_numbers(np.array([1, 2]), "recalls")
    ((1,), (1, 2))
    """
    single = whole_number_of(values)
    if single is not None:
        return (single,)
    try:
        # A text and a mapping can be iterated too, but their items are no numbers that somebody meant.
        listed = [None] if isinstance(values, str | bytes | Mapping) else list(values)
    except TypeError:
        listed = [None]
    numbers = [whole_number_of(value) for value in listed]
    found = tuple(number for number in numbers if number is not None)
    if len(found) < len(numbers):
        raise ValueError(f"{name} {shown_value(values)} must be whole numbers, such as 1 or (1, 2, 4, 8)")
    return found


def not_finite_words(vectors: Tensor, what: str) -> str | None:
    """Return a clause that names the first vector whose length is not finite; None if there is none.

    The length is NaN or infinite if a coordinate is, and infinite if the square of a coordinate overflows. Such a vector has
    no direction that could be compared.

    Args:
        vectors: (row, dim).
        what: its name in the clause, with {} for the number of the row.

    >>> not_finite_words(torch.tensor([[1.0, 0.0], [1e30, 0.0]]), "vector {}")
    'vector 1 is not finite (its length overflows float32; 1 of 2 are not finite)'
    """
    exact = working_precision(vectors.detach())
    # One number per vector, without a copy of the vectors.
    lengths = torch.linalg.vector_norm(exact, dim=1)
    # Reading one number takes a third of the time of a test of all.
    if math.isfinite(float(lengths.sum())):
        return None
    # Lengths that are finite may still have a sum that is not.
    finite = torch.isfinite(lengths)
    if bool(finite.all()):
        return None
    bad = (~finite).nonzero().squeeze(1)
    first = int(bad[0])
    dtype = str(exact.dtype).removeprefix("torch.")
    overflow = f"its length overflows {dtype}; " if bool(torch.isfinite(exact[first]).all()) else ""
    return f"{what.format(first)} is not finite ({overflow}{len(bad)} of {len(vectors)} are not finite)"


def _is_strided(values: Any) -> TypeGuard[Tensor]:
    """Return whether a value is an ordinary tensor, neither sparse nor nested."""
    return isinstance(values, Tensor) and values.layout is torch.strided and not values.is_nested


def _tensor_of(values: Any, wanted: str) -> Tensor:
    """Return numbers as a tensor of their own type; arrays are copied, because they may be read-only."""
    if isinstance(values, Tensor):
        if not _is_strided(values) or values.is_quantized:
            raise ValueError(f"{wanted}, not a {_layout_words(values)} tensor; make it an ordinary tensor first")
        return values
    if _holds_tensors(values):
        try:
            return torch.stack(tuple(values))
        # Tensors of different shapes, or on different devices.
        except RuntimeError as error:
            raise ValueError(f"{wanted}; the tensors of the list do not fit each other") from error
    array = _array_of(values, wanted)
    # The byte order of another machine, and the long double of C, which torch does not know.
    native = array.astype(np.float64) if array.dtype.kind == "f" and array.dtype.itemsize > 8 else array
    return torch.from_numpy(native.astype(native.dtype.newbyteorder("=")))


def _array_of(values: Any, wanted: str) -> np.ndarray:
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        # The values under a mask are arbitrary, and a conversion would bring them back.
        raise ValueError(f"{wanted}, but entries of the array are masked; leave their rows out")
    try:
        array = np.array(values)
    # Lists of different lengths; objects that cannot become an array.
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{wanted}, with rows of one length") from error
    if array.dtype.kind not in _NUMBER_KINDS:
        # An array of texts or of objects, also what NumPy makes of None or of a dict.
        shown = type(values).__name__ if array.ndim == 0 else f"an array of {array.dtype}"
        raise ValueError(f"{wanted}, not {shown}")
    return array


def _as_floats(tensor: Tensor, wanted: str, is_tensor: bool) -> Tensor:
    if tensor.is_complex() or tensor.dtype == torch.bool:
        kind = "complex numbers" if tensor.is_complex() else "truth values"
        remedy = (
            "give its real part, or both parts side by side" if tensor.is_complex() else "convert them with .float()"
        )
        raise ValueError(f"{wanted}, not {kind} ({tensor.dtype}); {remedy}")
    # A tensor keeps its precision, which somebody has chosen.
    return tensor if is_tensor and tensor.dtype in _FLOATS else _converted(tensor, torch.float32, wanted)


def _converted(tensor: Tensor, dtype: torch.dtype, wanted: str) -> Tensor:
    try:
        return tensor.to(dtype)
    # Some number formats, such as packed integers of four bits, exist without a conversion.
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{wanted}, not {tensor.dtype}") from error


def _holds_tensors(values: Any) -> bool:
    """Return whether a value is a tensor or a list of tensors."""
    if isinstance(values, Tensor):
        return True
    return isinstance(values, list | tuple) and bool(values) and all(isinstance(value, Tensor) for value in values)


def _layout_words(tensor: Tensor) -> str:
    if tensor.is_nested:
        return "nested"
    return "quantised" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")
