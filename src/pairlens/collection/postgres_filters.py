"""Filters as conditions of SQL: every text and number of a filter is a parameter, never a part of the statement."""

import math
from collections.abc import Mapping
from typing import Any

from pairlens.collection.filters import ID, LABEL, PATH, Between, Condition, OneOf, Under, as_conditions

_MAX_ID = (1 << 63) - 1
# The index of labels holds their beginnings, because its entries have a limit; see `postgres_schema`.
_LABEL_BEGINNING = 200


def filter_sql(where: Mapping[str, Condition] | None) -> tuple[Any, list[Any]]:
    """Return a filter as a condition on the table items, called i, and its parameters in order."""
    from psycopg import sql

    parts = [_condition_sql(key, condition) for key, condition in as_conditions(where).items()]
    texts: list[Any] = [text for text, _ in parts]
    condition = sql.SQL(" AND ").join(sql.SQL(text) for text in texts) if texts else sql.SQL("TRUE")
    return condition, [value for _, values in parts for value in values]


def _condition_sql(key: str, condition: Condition) -> tuple[str, list[Any]]:
    match key, condition:
        case "id", Between(low, high):
            # Compared as whole numbers, so that the index of ids is used.
            ends = [math.ceil(-_MAX_ID if low is None else low), math.floor(_MAX_ID if high is None else high)]
            return "i.id BETWEEN %s AND %s", [max(-_MAX_ID, min(_MAX_ID, end)) for end in ends]
        case "id", OneOf(values):
            return "i.id = ANY(%s::bigint[])", [[v for v in values if isinstance(v, int) and abs(v) <= _MAX_ID]]
        case (("label" | "path"), Under(prefix)):
            return f"starts_with(i.{_column(key)}, %s)", [prefix]
        case "label", OneOf(values):
            return _label_sql([v for v in values if isinstance(v, str)], None in values)
        case "path", OneOf(values):
            return "i.path = ANY(%s::text[])", [[v for v in values if isinstance(v, str)]]
        case _, Between(low, high):
            return _range_sql(key, low, high)
        case _, OneOf(values):
            return _metadata_sql(key, [v for v in values if v is not None], None in values)
    raise ValueError(f"the filter of {key!r} asks for a {type(condition).__name__}, which a {key} does not have")


def _column(key: str) -> str:
    return {LABEL: "label", PATH: "path", ID: "id"}[key]


def _label_sql(labels: list[str], or_missing: bool) -> tuple[str, list[Any]]:
    beginnings = [label[:_LABEL_BEGINNING] for label in labels]
    text = f"(left(i.label, {_LABEL_BEGINNING}) = ANY(%s::text[]) AND i.label = ANY(%s::text[]))"
    return f"({text} OR i.label IS NULL)" if or_missing else text, [beginnings, labels]


def _range_sql(key: str, low: float | None, high: float | None) -> tuple[str, list[Any]]:
    """Return the condition that a value of the metadata is a number in a range; a truth value is no number."""
    bounds = [("<=", high), (">=", low)]
    given = [(sign, float(end)) for sign, end in bounds if end is not None]
    tests = " AND ".join(f"(i.metadata -> %s)::float8 {sign} %s" for sign, _ in given)
    # CASE, because otherwise PostgreSQL may convert a text to a number before it looks at the type.
    text = f"CASE WHEN jsonb_typeof(i.metadata -> %s) = 'number' THEN {tests} ELSE false END"
    return text, [key, *(value for _, end in given for value in (key, end))]


def _metadata_sql(key: str, values: list[Any], or_missing: bool) -> tuple[str, list[Any]]:
    from psycopg.types.json import Jsonb

    # An object contains {key: value} if it has this key with an equal value; 3 equals 3.0, and the index serves this.
    text, parameters = "i.metadata @> ANY(%s::jsonb[])", [[Jsonb({key: value}) for value in values]]
    if not or_missing:
        return text, parameters
    return f"({text} OR coalesce(jsonb_typeof(i.metadata -> %s), 'null') = 'null')", [*parameters, key]
