"""A whole number of any library as an integer of Python; without PyTorch, which a process may not need."""

import operator
from typing import Any

import numpy as np

_MAX_SHOWN = 60


def as_whole_number(value: Any, name: str, least: int | None = None) -> int:
    """Return an integer of Python, of NumPy or of a tensor with one element.

    Args:
        value: the number; a truth value and a float are none, not even 2.0.
        name: what an error calls it.
        least: the smallest value that is possible; None if there is no limit.

    Raises:
        ValueError: if it is no integer, or smaller.

    >>> as_whole_number(np.int64(3), "k")
    3
    """
    number = whole_number_of(value)
    # No count is larger than what 64 bits hold, and torch fails at such a number.
    if number is None or (least is not None and number < least) or abs(number) >= 2**63:
        limit = "" if least is None else f", {least} or more"
        raise ValueError(f"{name} {shown_value(value)} must be a whole number{limit}")
    return number


def whole_number_of(value: Any) -> int | None:
    """Return an integer of any library, or None; the truth values of Python, NumPy and PyTorch are no integers."""
    # The dtype of a truth value of PyTorch is compared as text, because PyTorch need not be there.
    if isinstance(value, bool | np.bool_) or str(getattr(value, "dtype", "")) in ("torch.bool", "bool"):
        return None
    try:
        return operator.index(value)
    # What has no `__index__`, and tensors of floats or of several elements.
    except (TypeError, ValueError, RuntimeError):
        return None


def shown_value(value: Any) -> str:
    """Return a value as one short line, for an error message.

    >>> shown_value([1, 2])
    '[1, 2]'
    """
    return " ".join(repr(value).split())[:_MAX_SHOWN]
