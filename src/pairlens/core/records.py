"""Frozen records to plain data and back, so that a run can be written as JSON and read without running code."""

import dataclasses
import reprlib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from pairlens.core.untrusted import is_plain_text

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"
Record = TypeVar("Record")

TAG = "type"
# Records that were stored under another class name by version 0.1 are still read: old name -> name today.
RENAMED = {"Shape": "EmbeddingStats", "Field": "Benchmark", "FieldResult": "BenchmarkResult"}

_LARGEST = 2**63
# Of a value that is wrong, a sentence shows the beginning.
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 120


def to_plain(value: Any) -> Plain:
    """Return a record as dicts, lists, strings and numbers; each dict names its record under "type".

    >>> from pairlens.losses import Circle
    >>> to_plain(Circle())
    {'type': 'Circle', 'margin': 0.4, 'gamma': 80.0}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value) if _is_stored(f)}
        return {TAG: type(value).__name__, **fields}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"a {type(value).__name__} has no plain form; records hold numbers, strings, paths and records")


def from_plain(kind: type[Record], data: Plain, where: str = "") -> Record:
    """Rebuild a record from its plain form; anything unknown, missing or of another type is an error.

    Args:
        kind: the record's class.
        data: what `to_plain` returned, possibly by way of JSON.
        where: what to call the data in an error, such as the file it was read from.

    Raises:
        ValueError: naming the key, what it holds and what it should hold.

    >>> from pairlens.losses import Circle
    >>> from_plain(Circle, {"margin": 0.25})
    Circle(margin=0.25, gamma=80.0)
    """
    return _build(kind, data, where or kind.__name__)


def _build(kind: Any, data: Any, where: str) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _choose(get_args(kind), data, where)
    if origin is Literal:
        return _expect(data in get_args(kind), data, f"one of {', '.join(map(repr, get_args(kind)))}", where)
    if origin is tuple:
        _expect(isinstance(data, list | tuple), data, "a list", where)
        return tuple(_build(get_args(kind)[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    if _is_record(kind):
        return _build_record(kind, data, where)
    return _build_scalar(kind, data, where)


def _build_scalar(kind: Any, data: Any, where: str) -> Any:
    if kind is Path:
        return Path(_expect(isinstance(data, str), data, "a path", where))
    if kind is float:
        _expect(isinstance(data, int | float) and not isinstance(data, bool), data, "a number", where)
        return float(_expect(isinstance(data, float) or abs(data) <= _LARGEST, data, "at most 2 ** 63", where))
    if kind is int:
        _expect(type(data) is int, data, "of type int", where)
        return _expect(abs(data) <= _LARGEST, data, "at most 2 ** 63", where)
    if kind is type(None):
        return _expect(data is None, data, "null", where)
    if isinstance(data, str):
        # A terminal would obey them where the text is shown.
        plain = is_plain_text(data.replace("\n", "").replace("\t", ""))
        _expect(plain, data, "text without control characters", where)
    return _expect(type(data) is kind, data, f"of type {kind.__name__}", where)


def _build_record(kind: Any, data: Any, where: str) -> Any:
    _expect(isinstance(data, Mapping), data, f"a {kind.__name__} record", where)
    tag = data.get(TAG, kind.__name__)
    _expect(_current_name(tag) == kind.__name__, tag, f"the record type {kind.__name__!r}", where)
    stored = {f.name for f in dataclasses.fields(kind) if _is_stored(f)}
    hints = {name: hint for name, hint in get_type_hints(kind).items() if name in stored}
    unknown = sorted(set(data) - set(hints) - {TAG})
    if unknown:
        raise ValueError(f"{where} has an unknown key {_BRIEF.repr(unknown[0])}; known are {', '.join(sorted(hints))}")
    values = {name: _build(hints[name], data[name], f"{where}.{name}") for name in hints if name in data}
    missing = [f.name for f in dataclasses.fields(kind) if f.name not in values and not _has_default(f)]
    if missing:
        raise ValueError(f"{where} lacks the key {missing[0]!r}; write it or make the record anew")
    return kind(**values)


def _choose(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None and type(None) in kinds:
        return None
    records: dict[str, Any] = {k.__name__: k for k in kinds if _is_record(k)}
    if isinstance(data, Mapping) and records:
        tag = data.get(TAG)
        kind = records.get(_current_name(tag))
        _expect(kind is not None, tag, f"one of the types {', '.join(records)}", where)
        return _build(kind, data, where)
    plain = [k for k in kinds if k is not type(None) and not _is_record(k)]
    for kind in plain[:-1]:
        try:
            return _build(kind, data, where)
        except ValueError:
            continue
    return _build(plain[-1], data, where) if plain else _expect(False, data, f"one of {', '.join(records)}", where)


def _current_name(tag: Any) -> str:
    """Return the class name that a stored type name stands for today; "" for what is no name at all."""
    return RENAMED.get(tag, tag) if isinstance(tag, str) else ""


def _is_record(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind)


def _is_stored(field: dataclasses.Field) -> bool:
    return field.metadata.get("plain", True)


def _has_default(field: dataclasses.Field) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _expect(holds: bool, data: Any, wanted: str, where: str) -> Any:
    if not holds:
        raise ValueError(f"{where} holds {_BRIEF.repr(data)}, but must be {wanted}; correct it there")
    return data


def require(holds: bool, sentence: str) -> None:
    """Raise ValueError with a sentence unless a setting is as it must be (NaN never is)."""
    if not holds:
        raise ValueError(sentence)
