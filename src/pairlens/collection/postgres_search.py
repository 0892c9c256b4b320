"""Searches in PostgreSQL: exact ones over all vectors, and those through the HNSW index with the recall that it reaches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pairlens.collection.filters import Condition
from pairlens.collection.postgres_filters import filter_sql
from pairlens.collection.postgres_hnsw import MAX_EFFORT, MAX_MEASURED_K, IndexState
from pairlens.collection.postgres_items import as_ids, count_rows
from pairlens.collection.postgres_rows import pack_vectors
from pairlens.collection.postgres_schema import MAX_INDEX_DIM, vector_table
from pairlens.collection.store import EXACT, Found, IndexRecall

if TYPE_CHECKING:
    from psycopg import Cursor

# A filtered scan of the index ends at this share of the vectors; beyond it, an exact search is faster.
_SCANNED_SHARE = 0.25
_MIN_SCANNED = 20_000


@dataclass(frozen=True, eq=False)
class VectorQuery:
    """What is searched for.

    Attributes:
        vectors: float32 (query, dim).
        k: number of items.
        where: a filter.
        without: ids that must not be found.
    """

    vectors: np.ndarray
    k: int
    where: Mapping[str, Condition] | None = None
    without: Sequence[int] | np.ndarray = ()


@dataclass(frozen=True)
class _Plan:
    """How the index is used: its effort (hnsw.ef_search), how many vectors it may visit, and the recall to be stated."""

    effort: int
    scanned: int
    recall: IndexRecall


def search_vectors(
    cursor: "Cursor[Any]", state: IndexState, query: VectorQuery, recall: float, index_above: int
) -> Found | None:
    """Return the nearest items, on one snapshot; None if the index must be built or measured first.

    Args:
        cursor: in a transaction.
        state: of the index in this transaction.
        query: what is searched for.
        recall: that the index must reach; 1 searches exactly.
        index_above: up to this number of candidates, those that the filter lets through, the search is exact.
    """
    candidates = count_rows(cursor, query.where) if recall < 1 and state.items > index_above else 0
    if candidates <= index_above or query.k > MAX_MEASURED_K or not state.fits_index:
        return search_exactly(cursor, state, query)
    if not state.is_ready:
        return None
    plan = _plan(state, query, candidates, recall)
    return _search_index(cursor, query, state, plan, candidates) if plan else search_exactly(cursor, state, query)


def _plan(state: IndexState, query: VectorQuery, candidates: int, recall: float) -> _Plan | None:
    """Return the least effort whose interval of the measured recall lies above the asked one; None if there is none."""
    reached = next((step for step in state.steps(query.k) if step[1].low >= recall), None)
    if reached is None:
        return None
    effort, measured = reached
    # Of the vectors that the index visits, a filter lets only this share through.
    share = candidates / max(1, state.items)
    scanned = max(_MIN_SCANNED, round(_SCANNED_SHARE * state.items))
    return _Plan(min(MAX_EFFORT, round(effort / share)), scanned, measured)


def search_exactly(cursor: "Cursor[Any]", state: IndexState, query: VectorQuery) -> Found:
    """Compare each query with every vector that the filter lets through.

    The order is by the negated product, which is no operator of the index: so PostgreSQL cannot take the index for it.
    """
    text = "SELECT v.item, -(v.vector <#> %b) AS score FROM {table} v {rest} ORDER BY score DESC, v.item LIMIT {limit}"
    return _run(cursor, text, query, state, query.k, EXACT)


def _search_index(cursor: "Cursor[Any]", query: VectorQuery, state: IndexState, plan: _Plan, candidates: int) -> Found:
    set_effort(cursor, plan.effort, plan.scanned)
    found = search_through_index(cursor, query, state, plan.recall)
    enough = min(query.k, candidates - len(query.without))
    short = np.flatnonzero((found.ids >= 0).sum(axis=1) < enough)
    if len(short):
        # The filter lets through items that are far from the query: a scan of all of them is faster and complete.
        rest = VectorQuery(query.vectors[short], query.k, query.where, query.without)
        exact = search_exactly(cursor, state, rest)
        found.ids[short], found.scores[short] = exact.ids, exact.scores
    return found


def search_through_index(cursor: "Cursor[Any]", query: VectorQuery, state: IndexState, recall: IndexRecall) -> Found:
    """Walk through the HNSW index, whose effort has been set, to ever farther items until k of them pass the filter."""
    distance = "v.vector <#> %b"
    limit = query.k
    values = 2
    if state.dim > MAX_INDEX_DIM:
        # The index holds float16: twice the items are taken and ordered again by their float32 vectors.
        distance = "v.vector::halfvec({dim}) <#> (%b::vector({dim}))::halfvec({dim})"
        limit = 2 * query.k
    text = "SELECT v.item, -(v.vector <#> %b) FROM {table} v {rest} " + f"ORDER BY {distance} LIMIT {{limit}}"
    return _run(cursor, text, query, state, limit, recall, values)


def no_items(query: VectorQuery) -> Found:
    """Return the result of a search in an empty collection."""
    shape = (len(query.vectors), query.k)
    return Found(np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32), EXACT)


def set_effort(cursor: "Cursor[Any]", effort: int, scanned: int) -> None:
    """Set, for this transaction, how far the index is searched, and that it is used."""
    settings = {
        "hnsw.ef_search": effort,
        "hnsw.iterative_scan": "strict_order",
        "hnsw.max_scan_tuples": scanned,
        "hnsw.scan_mem_multiplier": 16,
        "enable_seqscan": "off",
        "enable_sort": "off",
    }
    values = [part for name, value in settings.items() for part in (name, str(value))]
    statement: Any = "SELECT " + ", ".join(["set_config(%s, %s, true)"] * len(settings))
    cursor.execute(statement, values)


def _run(
    cursor: "Cursor[Any]",
    text: Any,
    query: VectorQuery,
    state: IndexState,
    limit: int,
    recall: IndexRecall,
    vector_uses: int = 1,
) -> Found:
    """Run a statement for each query; the vector is its first parameter and, if it is used twice, its last."""
    from psycopg import sql

    rest, parameters = _rest(query)
    statement: Any = sql.SQL(text).format(
        table=vector_table(state.number), rest=rest, limit=sql.Literal(limit), dim=sql.Literal(state.dim)
    )
    result = replace(no_items(query), recall=recall)
    for row, vector in enumerate(pack_vectors(query.vectors)):
        found = cursor.execute(statement, [vector, *parameters, *[vector] * (vector_uses - 1)]).fetchall()
        # Equal scores are ordered by id, as in an exact search.
        found = sorted(found, key=lambda pair: (-pair[1], pair[0]))[: query.k]
        result.ids[row, : len(found)] = [item for item, _ in found]
        result.scores[row, : len(found)] = [score for _, score in found]
    return result


def _rest(query: VectorQuery) -> tuple[Any, list[Any]]:
    """Return the part of a search between its table and its order, and its parameters."""
    from psycopg import sql

    condition, parameters = filter_sql(query.where)
    text = "JOIN items i ON i.id = v.item WHERE {}" if query.where else "WHERE {}"
    if len(query.without):
        text += " AND v.item <> ALL(%s::bigint[])"
        parameters.append(as_ids(query.without))
    literal: Any = text
    return sql.SQL(literal).format(condition), parameters
