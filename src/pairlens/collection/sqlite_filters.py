"""Filters as conditions of SQLite: every value, and every key of the metadata, is a parameter."""

import json
from collections.abc import Mapping, Sequence

from pairlens.collection.filters import ID, LABEL, PATH, Between, Condition, OneOf, Under
from pairlens.collection.item import Value
from pairlens.collection.sqlite_metadata import INDEXED_VALUE

# Values come as one JSON list, because SQLite limits the number of parameters. Numbers of the metadata are compared with
# numbers that SQLite has read from JSON too, so that both are rounded in the same way.
_LISTED = "(SELECT value FROM json_each(?))"
_COLUMNS = {LABEL: "items.label", PATH: "items.path", ID: "items.id"}


def sqlite_condition(where: Mapping[str, Condition] | None) -> tuple[str, list[str | float]]:
    """Return the text of a condition on `items`, and its parameters.

    >>> sqlite_condition({"label": OneOf(("dress", None))})
    ('(items.label IN (SELECT value FROM json_each(?)) OR items.label IS NULL)', ['["dress"]'])
    """
    conditions = (where or {}).items()
    # One condition decides which items are read. A value of the metadata that half of the items have is looked up only for
    # the items that another condition lets through.
    is_narrowed = any(key in _COLUMNS or isinstance(condition, Between) for key, condition in conditions)
    parts = []
    for key, condition in conditions:
        parts.append(_part(key, condition, is_narrowed))
        is_narrowed = True
    text = " AND ".join(part for part, _ in parts)
    return text or "TRUE", [value for _, values in parts for value in values]


def _part(key: str, condition: Condition, is_narrowed: bool) -> tuple[str, list[str | float]]:
    match condition:
        case Under(prefix):
            return _under(_COLUMNS[key], prefix)
        case Between(low, high):
            return _between(key, low, high)
        case OneOf(values) if key in _COLUMNS:
            return _one_of_column(_COLUMNS[key], values)
        case OneOf(values):
            return _one_of_metadata(key, values, is_narrowed)


def _under(column: str, prefix: str) -> tuple[str, list[str | float]]:
    """The texts that begin with a prefix lie in a range of an index; texts of SQLite are ordered by code points."""
    end = _after(prefix)
    if end is None:
        return f"{column} >= ?", [prefix]
    return f"({column} >= ? AND {column} < ?)", [prefix, end]


def _after(prefix: str) -> str | None:
    """Return the first text after all those that begin with a prefix; None if there is none."""
    start = prefix.rstrip("\U0010ffff")
    if not start:
        return None
    # Half characters are no texts in UTF-8.
    following = 0xE000 if start[-1] == "\ud7ff" else ord(start[-1]) + 1
    return start[:-1] + chr(following)


def _between(key: str, low: float | None, high: float | None) -> tuple[str, list[str | float]]:
    ends = [(sign, end) for sign, end in ((">=", low), ("<=", high)) if end is not None]
    if key == ID:
        return " AND ".join(f"items.id {sign} ?" for sign, _ in ends), [end for _, end in ends]
    # All numbers come before all texts, so only a range without an upper end must be kept from those.
    parts = [f"value {sign} json_extract(?, '$[0]')" for sign, _ in ends] + ["value < ''"] * (high is None)
    return _with_value(" AND ".join(parts)), [key, *(json.dumps([end]) for _, end in ends)]


def _with_value(condition: str) -> str:
    """Return the condition that an item has a value of the metadata; its first parameter is the key."""
    return f"items.id IN (SELECT item FROM metadata_values WHERE key = ? AND {condition})"


def _one_of_column(column: str, values: Sequence[Value]) -> tuple[str, list[str | float]]:
    text = f"{column} IN {_LISTED}"
    if None in values:
        text = f"({text} OR {column} IS NULL)"
    return text, [json.dumps([value for value in values if value is not None])]


def _one_of_metadata(key: str, values: Sequence[Value], is_narrowed: bool) -> tuple[str, list[str | float]]:
    """A truth value is no number and a number no text, and `INDEXED_VALUE` keeps them apart on both sides."""
    is_listed = f"value IN (SELECT {INDEXED_VALUE} FROM json_each(?))"
    looked_up = f"EXISTS (SELECT 1 FROM metadata_values WHERE key = ? AND {is_listed} AND item = items.id)"
    parts = [looked_up if is_narrowed else _with_value(is_listed)]
    parameters: list[str | float] = [key, json.dumps([value for value in values if value is not None])]
    if None in values:
        parts.append("items.id NOT IN (SELECT item FROM metadata_values WHERE key = ?)")
        parameters.append(key)
    return f"({' OR '.join(parts)})", parameters
