"""The HNSW index of the active model on PostgreSQL: what is known of it, and building it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pairlens.collection.postgres_address import import_psycopg
from pairlens.collection.postgres_schema import MAX_HALF_INDEX_DIM, MAX_INDEX_DIM, one_value, vector_index, vector_table
from pairlens.collection.store import IndexRecall

if TYPE_CHECKING:
    from psycopg import Cursor

# The range of hnsw.ef_search in pgvector ends here.
MAX_EFFORT = 1000
EFFORTS = (40, 80, 160, 320, 640, MAX_EFFORT)
# Recall is measured at these numbers of neighbours; a search for more is exact.
MEASURED_K = (10, 100)
MAX_MEASURED_K = MEASURED_K[-1]
# The measurement is repeated when the number of items has changed by this share.
STALE_SHARE = 0.1
_LINKS, _BUILD_EFFORT = 16, 64
_MAX_BUILD_KIB = 2 << 20


@dataclass(frozen=True)
class IndexState:
    """The active model, and what is known of its index.

    Attributes:
        number: of the table.
        dim: of its vectors.
        items: number of items in the collection.
        is_built: whether the index exists and is valid.
        measured: {"items", "queries", "steps": [[effort, k, recall, low, high]]}, None before the first measurement.
    """

    number: int
    dim: int
    items: int
    is_built: bool
    measured: dict[str, Any] | None

    @property
    def fits_index(self) -> bool:
        """Whether vectors of this dimension can be indexed."""
        return self.dim <= MAX_HALF_INDEX_DIM

    @property
    def is_ready(self) -> bool:
        """Whether there is an index whose recall was measured on about as many items."""
        if not self.is_built or self.measured is None:
            return False
        return abs(self.items - self.measured["items"]) <= STALE_SHARE * self.measured["items"]

    def steps(self, k: int) -> Iterator[tuple[int, IndexRecall]]:
        """Yield the measured efforts, rising, with their recall at the least measured number of neighbours from k on."""
        measured = self.measured or {"queries": 0, "steps": []}
        at = next(number for number in MEASURED_K if number >= k)
        for effort, neighbors, recall, low, high in measured["steps"]:
            if neighbors == at:
                yield effort, IndexRecall(recall, low, high, neighbors, measured["queries"])


def index_state(cursor: "Cursor[Any]", measured: tuple[int, dict[str, Any]] | None = None) -> IndexState | None:
    """Return the state of the index of the active model, None if no model has been started.

    Args:
        cursor: in a transaction, or without one.
        measured: the number of a model with its measurement, where the stored one is not of use.
    """
    row = cursor.execute(
        "SELECT m.number, m.dim, s.items, EXISTS (SELECT FROM pg_index x "
        "WHERE x.indexrelid = to_regclass('vectors_' || m.number || '_hnsw') AND x.indisvalid), m.measured "
        "FROM models m, state s WHERE m.state = 'active'"
    ).fetchone()
    if row is None:
        return None
    state = IndexState(*row)
    if state.is_ready or measured is None or measured[0] != state.number:
        return state
    return replace(state, measured=measured[1])


def build_index(cursor: "Cursor[Any]", state: IndexState) -> bool:
    """Build the index while others read and write; returns False if another process is doing it.

    Args:
        cursor: of a connection without a transaction.
        state: of the index.
    """
    from psycopg import sql

    key = f"{one_value(cursor.execute('SELECT identity FROM state'))} {state.number}"
    # The lock goes with the connection.
    if not one_value(cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [key])):
        return False
    now = index_state(cursor)
    if now is None or now.is_built:
        return True
    # In memory, a vector takes its numbers and about 20 bytes for each of the links of its layers.
    needed = state.items * (4 * state.dim + 40 * _LINKS) * 5 // 4 >> 10
    memory: Any = f"SET maintenance_work_mem = '{max(64 << 10, min(_MAX_BUILD_KIB, needed))}kB'"
    cursor.execute(memory)
    names = {"index": vector_index(state.number), "table": vector_table(state.number), "dim": sql.Literal(state.dim)}
    # An index that is left over from an interrupted build is not valid.
    cursor.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {index}").format(**names))
    column = "vector vector_ip_ops"
    if state.dim > MAX_INDEX_DIM:
        column = "(vector::halfvec({dim})) halfvec_ip_ops"
    text: Any = "CREATE INDEX CONCURRENTLY {index} ON {table} USING hnsw (" + column + ")"
    create = sql.SQL(text + f" WITH (m = {_LINKS}, ef_construction = {_BUILD_EFFORT})").format(**names)
    try:
        cursor.execute(create)
    except import_psycopg().errors.DiskFull:
        # Containers often have a shared memory of 64 MiB, in which several processes cannot build an index together.
        cursor.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {index}").format(**names))
        cursor.execute("SET max_parallel_maintenance_workers = 0")
        cursor.execute(create)
    return True
