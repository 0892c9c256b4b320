"""Conversion of frozen records (dataclasses) to plain data for JSON and back, without running code that was stored."""

import dataclasses
import reprlib
import types
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import (
    Any,
    ClassVar,
    Literal,
    Protocol,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pairlens.core.suggestion import closest, suggest
from pairlens.core.untrusted import is_plain_text

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"
Record = TypeVar("Record")

TAG = "type"
VERSION = "version"
# Class names of records that version 0.1 stored -> their names today. What people have stored stays readable, so an entry
# is never removed.
RENAMED = {"Shape": "EmbeddingStats", "Field": "Benchmark", "FieldResult": "BenchmarkResult"}

MAX_NUMBER = 2**63
# The end of the sentence about a wrong value, unless there is a better one.
CORRECT = "correct it there"
# An error message quotes only the beginning of a wrong value, which may be megabytes long.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120


class Versioned(Protocol):
    """A record whose stored form has changed since an earlier version of Pairlens.

    Attributes:
        VERSION: number of the present form; a stored record without a number has form 1.
    """

    VERSION: ClassVar[int]

    @classmethod
    def upgrade(cls, data: dict[str, Any], version: int, where: str) -> dict[str, Any]:
        """Return the present form of data that was stored in an earlier one; raises ValueError that names a wrong key."""
        ...


def to_plain(value: Any) -> Plain:
    """Return a record as dicts, lists, strings and numbers; each dict has the class name of its record under "type".

    >>> from pairlens.losses import Circle
    >>> to_plain(Circle())
    {'type': 'Circle', 'margin': 0.4, 'gamma': 80.0}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: to_plain(_stored_value(f, value)) for f in dataclasses.fields(value) if _is_written(f, value)}
        # A record whose stored form has changed says which form this is, and reads the earlier ones (`Versioned`).
        number = getattr(value, "VERSION", None)
        version: dict[str, Plain] = {} if number is None else {VERSION: number}
        return {TAG: type(value).__name__, **version, **fields}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, Path):
        return value.as_posix()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(
        f"a {type(value).__name__} has no plain form; a record may hold numbers, strings, paths, lists, tables and records"
    )


def from_plain(kind: type[Record], data: Plain, where: str = "") -> Record:
    """Rebuild a record from its plain form; an unknown key, a missing key or a value of another type is an error.

    Args:
        kind: the record's class.
        data: the plain form that `to_plain` returned, also after it was written to JSON and read back.
        where: the name of the data in error messages, such as the file that it was read from.

    Raises:
        ValueError: naming the key, its value and what the value must be.

    >>> from pairlens.losses import Circle
    >>> from_plain(Circle, {"margin": 0.25})
    Circle(margin=0.25, gamma=80.0)
    """
    return _build(kind, data, where or kind.__name__)


def _build(kind: Any, data: Any, where: str) -> Any:
    """Build the value of one field, whose annotated type is `kind`."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _choose(get_args(kind), data, where)
    if origin is Literal:
        choices = get_args(kind)
        meant = closest(data, choices) if isinstance(data, str) else None
        remedy = CORRECT if meant is None else f"did you mean {meant}?"
        return _expect(data in choices, data, f"one of {', '.join(map(repr, choices))}", where, remedy)
    if origin is tuple:
        _expect(isinstance(data, list | tuple), data, "a list", where)
        # All tuples of records are homogeneous: tuple[kind, ...].
        item_kind = get_args(kind)[0]
        return tuple(_build(item_kind, item, f"{where}[{i}]") for i, item in enumerate(data))
    if origin is dict:
        _expect(isinstance(data, Mapping), data, "a table of names and values", where)
        item_kind = get_args(kind)[1]
        return {_build_scalar(str, key, where): _build(item_kind, item, f"{where}.{key}") for key, item in data.items()}
    if _is_record(kind):
        return _build_record(kind, data, where)
    return _build_scalar(kind, data, where)


def _build_scalar(kind: Any, data: Any, where: str) -> Any:
    if kind is Path:
        return Path(_expect(isinstance(data, str), data, "a path", where))
    if kind is float:
        # In Python a bool is an int; in a record it is not a number.
        _expect(isinstance(data, int | float) and not isinstance(data, bool), data, "a number", where)
        # A JSON integer can be too large for a float, and the conversion would raise OverflowError.
        return float(_expect(isinstance(data, float) or abs(data) <= MAX_NUMBER, data, "at most 2 ** 63", where))
    if kind is int:
        _expect(type(data) is int, data, "of type int", where)
        return _expect(abs(data) <= MAX_NUMBER, data, "at most 2 ** 63", where)
    if kind is type(None):
        return _expect(data is None, data, "null", where)
    if isinstance(data, str):
        # A terminal would execute control characters where the text is shown.
        printable = is_plain_text(data.replace("\n", "").replace("\t", ""))
        _expect(printable, data, "text without control characters", where)
    return _expect(type(data) is kind, data, f"of type {kind.__name__}", where)


def _build_record(kind: Any, data: Any, where: str) -> Any:
    _expect(isinstance(data, Mapping), data, f"a {kind.__name__} record", where)
    tag = data.get(TAG, kind.__name__)
    _expect(_current_name(tag) == kind.__name__, tag, f"the record type {kind.__name__!r}", where)
    if hasattr(kind, "VERSION"):
        data = _upgraded(kind, data, where)
    stored = {f.name for f in dataclasses.fields(kind) if _is_stored(f)}
    hints = {name: hint for name, hint in field_types(kind).items() if name in stored}
    unknown = sorted(set(data) - set(hints) - {TAG})
    if unknown:
        remedy = suggest(str(unknown[0]), sorted(hints))
        raise ValueError(f"{where} has an unknown key {_SHORT.repr(unknown[0])}; {remedy}")
    values = {name: _build(hints[name], data[name], f"{where}.{name}") for name in hints if name in data}
    missing = [f.name for f in dataclasses.fields(kind) if f.name not in values and not _has_default(f)]
    if missing:
        raise ValueError(f"{where} lacks the key {missing[0]!r}; add it, or make the record again")
    return kind(**values)


@cache
def field_types(kind: type) -> Mapping[str, Any]:
    """Return the types of the fields of a record class."""
    # get_type_hints resolves annotations that are strings, which dataclasses.fields does not. That takes longer than all
    # checks of a record, so it is done once for each class.
    return types.MappingProxyType(get_type_hints(kind))


def _upgraded(kind: type[Versioned], data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the present stored form of a record that was stored in this form or in an earlier one."""
    version = data.get(VERSION, 1)
    if type(version) is not int or not 1 <= version <= kind.VERSION:
        raise ValueError(
            f"{where} has version {_SHORT.repr(version)}, but this Pairlens reads 1 to {kind.VERSION}; install the Pairlens "
            "that wrote it, or a newer one"
        )
    plain = {key: value for key, value in data.items() if key not in (TAG, VERSION)}
    return plain if version == kind.VERSION else kind.upgrade(plain, version, where)


def _choose(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    """Build the value of a field whose annotation is a union of types."""
    if data is None and type(None) in kinds:
        return None
    records: dict[str, Any] = {k.__name__: k for k in kinds if _is_record(k)}
    if isinstance(data, Mapping) and records:
        # Of several record types, the stored class name says which one it is.
        tag = data.get(TAG)
        kind = records.get(_current_name(tag))
        _expect(kind is not None, tag, f"one of the types {', '.join(records)}", where)
        return _build(kind, data, where)
    # A function is never made from data. Protocols in an annotation tell type checkers what a user may pass; stored data is
    # never of such a type.
    scalars = [k for k in kinds if k is not type(None) and not _is_record(k) and not _is_only_for_callers(k)]
    if not scalars:
        return _expect(False, data, f"one of {', '.join(records)}", where)
    for kind in scalars[:-1]:
        try:
            return _build(kind, data, where)
        except ValueError:
            continue
    # The last type is tried outside the loop, so that its error is the one that is reported.
    return _build(scalars[-1], data, where)


def _current_name(tag: Any) -> str:
    """Return today's class name for a stored type name; "" if the stored value is not a text."""
    return RENAMED.get(tag, tag) if isinstance(tag, str) else ""


def _is_record(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind)


def _is_stored(field: dataclasses.Field) -> bool:
    return field.metadata.get("plain", True)


def _is_written(field: dataclasses.Field, record: Any) -> bool:
    # A later field that is left out where it has its default leaves files of earlier versions as they were.
    is_default = field.metadata.get("omit_default", False) and getattr(record, field.name) == field.default
    return _is_stored(field) and not is_default


def _is_only_for_callers(kind: Any) -> bool:
    return get_origin(kind) is Callable or getattr(kind, "_is_protocol", False)


def _stored_value(field: dataclasses.Field, record: Any) -> Any:
    """Return the value of a field in its stored form."""
    # A field may hold objects that are no records of Pairlens, such as the loss of another project; its metadata then names
    # the function that returns the record to be stored in their place.
    value = getattr(record, field.name)
    stored_as = field.metadata.get("stored_as")
    return value if stored_as is None else stored_as(value)


def _has_default(field: dataclasses.Field) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _expect(holds: bool, data: Any, expected: str, where: str, remedy: str = CORRECT) -> Any:
    """Return the data if it is as expected; raises ValueError with its place and its value otherwise."""
    if not holds:
        raise ValueError(f"{where} holds {_SHORT.repr(data)}, but must be {expected}; {remedy}")
    return data


def require(holds: bool, sentence: str) -> None:
    """Raise ValueError with a sentence unless the condition holds; comparisons with NaN never do."""
    if not holds:
        raise ValueError(sentence)
