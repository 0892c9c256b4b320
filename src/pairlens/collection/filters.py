"""Filters of a search: which labels, paths and metadata the results may have.

A filter is a mapping. A store turns it into the parameters of a query; no text of a filter becomes part of the query itself.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from unicodedata import normalize

from pairlens.collection.item import Value, checked_key

# Keys that are no metadata.
LABEL, PATH, ID = "label", "path", "id"
MAX_VALUES = 10_000
_MOST = 1e300
# Databases count items in 64 bits.
_MAX_ID = (1 << 63) - 1


@dataclass(frozen=True)
class Between:
    """A range of numbers, both ends included; an end that is None is open."""

    low: float | None
    high: float | None

    def __post_init__(self) -> None:
        # Scalars of NumPy become Python's own, which databases know. A frozen dataclass sets a field this way.
        object.__setattr__(self, "low", _plain_scalar(self.low))
        object.__setattr__(self, "high", _plain_scalar(self.high))
        ends = [end for end in (self.low, self.high) if end is not None]
        if not ends or not all(_is_number(end) for end in ends):
            raise ValueError(f"the range {self.low}..{self.high} has no number as an end; give at least one")
        if len(ends) == 2 and ends[0] > ends[1]:
            raise ValueError(f"the range {self.low}..{self.high} ends before it begins; exchange its ends")


def _plain_scalar(value: Any) -> Any:
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def _is_number(value: Any) -> bool:
    # A whole number beyond the range of floats would overflow in a database.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= _MOST and math.isfinite(value)


@dataclass(frozen=True)
class Under:
    """Texts that begin with a prefix, such as the paths in a folder."""

    prefix: str

    def __post_init__(self) -> None:
        if not isinstance(self.prefix, str):
            raise ValueError(f"the beginning {self.prefix!r} of a path is no text; write it as under('cat/')")
        object.__setattr__(self, "prefix", normalize("NFC", self.prefix))


@dataclass(frozen=True)
class OneOf:
    """A value out of several; None stands for a missing value."""

    values: tuple[Value, ...]


Condition: TypeAlias = Between | Under | OneOf
# What a caller may write for a condition.
Wanted: TypeAlias = Condition | Value | Sequence[Value]


def between(low: float | None = None, high: float | None = None) -> Between:
    """Return the condition that a number lies in a range, both ends included; None leaves an end open.

    >>> between(3, 10)
    Between(low=3, high=10)
    """
    return Between(low, high)


def under(prefix: str) -> Under:
    """Return the condition that a path begins with a text, such as a folder with its slash.

    >>> under("cat/")
    Under(prefix='cat/')
    """
    return Under(prefix)


def as_conditions(where: Mapping[str, Wanted] | None) -> dict[str, Condition]:
    """Return a filter with every condition as a record; all conditions must hold.

    Args:
        where: by key (label, path, id, or a key of the metadata) a value, a list of values, `between` or `under`.

    Raises:
        ValueError: naming the key whose condition has no meaning.

    >>> as_conditions({"label": ["dress", "skirt"], "price": between(3, 10)})
    {'label': OneOf(values=('dress', 'skirt')), 'price': Between(low=3, high=10)}
    """
    if where is None:
        return {}
    if not isinstance(where, Mapping):
        raise ValueError(f"a filter is a mapping such as {{'label': ['dress']}}, not a {type(where).__name__}")
    return {checked_key(key): _condition(key, wanted) for key, wanted in where.items()}


def _condition(key: str, wanted: Any) -> Condition:
    match wanted:
        case Under():
            if key not in (PATH, LABEL):
                raise ValueError(f"the filter of {key!r} asks for a beginning, which only path and label have")
            return wanted
        case Between():
            if key in (PATH, LABEL):
                raise ValueError(f"the filter of {key!r} asks for a range of numbers, but a {key} is a text")
            return _range_of_ids(wanted) if key == ID else wanted
        case OneOf():
            values = wanted.values
        case str() | bool() | int() | float() | None:
            values = (wanted,)
        case Mapping() | bytes() | bytearray():
            raise ValueError(
                f"the filter of {key!r} has a {type(wanted).__name__}; give a value, a list of values, between or under"
            )
        case Iterable() if getattr(wanted, "ndim", 1):
            values = tuple(wanted)
        case _:
            values = (wanted,)
    return OneOf(tuple(_checked(key, value) for value in _not_too_many(key, values)))


def _range_of_ids(wanted: Between) -> Between:
    """Return a range whose ends 64 bits can hold."""
    low, high = (None if end is None else max(-_MAX_ID, min(_MAX_ID, end)) for end in (wanted.low, wanted.high))
    return Between(low, high)


def _not_too_many(key: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(values) > MAX_VALUES:
        raise ValueError(
            f"the filter of {key!r} has {len(values):,} values, but at most {MAX_VALUES:,} are searched for"
        )
    return values


def _checked(key: str, value: Any) -> Value:
    value = _plain_scalar(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and not _is_number(value):
        raise ValueError(f"the filter of {key!r} has the value {str(value)[:40]}; give a finite number")
    if not isinstance(value, str | bool | int | float | None):
        raise ValueError(f"the filter of {key!r} has a {type(value).__name__}; give texts, numbers, between or under")
    if key == ID and (isinstance(value, bool) or not isinstance(value, int) or abs(value) > _MAX_ID):
        raise ValueError(f"the filter of id has the value {value!r}; an id is a whole number")
    if key in (LABEL, PATH) and value is not None and not isinstance(value, str):
        # A label that looks like a number was stored as a text.
        return str(value)
    return normalize("NFC", value) if isinstance(value, str) else value


def parse_filter(words: Iterable[str]) -> dict[str, Condition]:
    """Return the filter that words of the command line write.

    `key=a,b` is one of several values, `key=3..10`, `key=3..` and `key=..10` are ranges, `path=cat/` is a beginning, `key=`
    is a missing value; a text in double quotes is taken as it is. Numbers and true and false are such, except of label and
    path.

    Raises:
        ValueError: naming the word without a key, or whose condition has no meaning.

    >>> parse_filter(["label=dress,skirt", "price=3..10", "path=cat/"])["price"]
    Between(low=3.0, high=10.0)
    """
    where: dict[str, Wanted] = {}
    for word in words:
        key, sign, text = word.partition("=")
        if not sign:
            raise ValueError(f"the filter {word!r} has no =; write it as label=dress,skirt or price=3..10")
        if key in where:
            raise ValueError(f"the filter has {key!r} twice; write its values as {key}=a,b")
        where[key] = _parsed(key, text)
    return as_conditions(where)


def _parsed(key: str, text: str) -> Wanted:
    if key == PATH and text.endswith("/"):
        return under(text)
    low, dots, high = text.partition("..")
    if dots and key not in (LABEL, PATH) and _is_range_end(low) and _is_range_end(high):
        return Between(float(low) if low else None, float(high) if high else None)
    return [_parsed_value(key, part) for part in split_values(text)]


def _is_range_end(text: str) -> bool:
    try:
        return not text or math.isfinite(float(text))
    except ValueError:
        return False


def split_values(text: str) -> list[str]:
    """Return the values of a list with commas; a comma inside double quotes belongs to its value.

    >>> split_values('a,"b,c"')
    ['a', '"b,c"']
    """
    values, inside = [""], False
    for letter in text:
        inside ^= letter == '"'
        if letter == "," and not inside:
            values.append("")
        else:
            values[-1] += letter
    return values


def _parsed_value(key: str, text: str) -> Value:
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    if not text:
        return None
    if key in (LABEL, PATH):
        return text
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        # "infinity" and "nan" are words; no stored number is either.
        return number if isinstance(number, int) or math.isfinite(number) else text
    return text
