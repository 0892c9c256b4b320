"""Care of a collection on PostgreSQL: proving it against itself, giving space back, and its size."""

from typing import TYPE_CHECKING, Any

from pairlens.collection.postgres_hnsw import index_state
from pairlens.collection.postgres_items import count_change
from pairlens.collection.postgres_models import ModelTable, count_missing, lock_models, model_tables
from pairlens.collection.postgres_schema import one_value, vector_index, vector_table
from pairlens.collection.store import Fault
from pairlens.collection.unit_vectors import UNIT_TOLERANCE

if TYPE_CHECKING:
    from psycopg import Cursor

# Rows that no statement of Pairlens can make: written by hand, or a sign of damage.
_WRONG_ITEMS = {
    "octet_length(digest) <> 32": "a digest that is no SHA-256",
    "place <> substring(sha256(convert_to(root, 'UTF8') || '\\x00' || convert_to(path, 'UTF8')) FOR 16)": (
        "a place that does not belong to its path"
    ),
    "region_width < 0 OR region_height < 0 OR (region_width = 0) <> (region_height = 0)": "a region that is none",
    "jsonb_typeof(metadata) <> 'object'": "metadata that are no values by name",
}
_NAMED = 5


def check_store(cursor: "Cursor[Any]") -> list[Fault]:
    """Return what is wrong with the tables, and repair what follows from others; nobody adds items meanwhile."""
    lock_models(cursor, alone=True)
    faults = _check_items(cursor)
    for model in model_tables(cursor):
        faults += _check_vectors(cursor, model)
    faults += _check_pictures(cursor)
    faults += _check_constraints(cursor)
    counted = one_value(cursor.execute("SELECT count(*) FROM items"))
    stated = one_value(cursor.execute("SELECT items FROM state"))
    if counted != stated:
        count_change(cursor, counted - stated)
        faults.append(Fault(f"the collection counted {stated:,} items, but it has {counted:,}", repaired=True))
    return faults


def _check_items(cursor: "Cursor[Any]") -> list[Fault]:
    faults = []
    for condition, what in _WRONG_ITEMS.items():
        text: Any = f"SELECT id FROM items WHERE {condition} ORDER BY id LIMIT {_NAMED}"
        for (number,) in cursor.execute(text).fetchall():
            faults.append(Fault(f"item {number} has {what}"))
    text = "SELECT item FROM originals JOIN items ON id = item WHERE sha256(contents) <> digest ORDER BY item LIMIT %s"
    for (number,) in cursor.execute(text, [_NAMED]).fetchall():
        faults.append(Fault(f"the bytes that are kept of item {number} do not have its digest"))
    return faults


def _check_vectors(cursor: "Cursor[Any]", model: ModelTable) -> list[Fault]:
    """The type of pgvector holds finite numbers only, so the length is what can be wrong."""
    from psycopg import sql

    names = {"table": vector_table(model.number)}
    faults = []
    text = (
        "SELECT item, vector_norm(vector) FROM {table} "
        "WHERE NOT abs(vector_norm(vector) - 1) <= %s ORDER BY item LIMIT %s"
    )
    for number, length in cursor.execute(sql.SQL(text).format(**names), [UNIT_TOLERANCE, _NAMED]).fetchall():
        faults.append(Fault(f"the vector of item {number} has the length {length:.6g} and not 1"))
    missing = count_missing(cursor, model) if model.state == "active" else 0
    if missing:
        faults.append(
            Fault(f"{missing:,} items have no vector of the active model, so no search finds them; add them again")
        )
    return faults


def _check_pictures(cursor: "Cursor[Any]") -> list[Fault]:
    """Only someone who has switched foreign keys off can leave such rows behind."""
    from psycopg import sql

    tables = [sql.Identifier("thumbnails"), sql.Identifier("originals")]
    tables += [vector_table(model.number) for model in model_tables(cursor)]
    faults = []
    for table in tables:
        text = sql.SQL("DELETE FROM {} t WHERE NOT EXISTS (SELECT FROM items i WHERE i.id = t.item)").format(table)
        rows = cursor.execute(text).rowcount
        if rows:
            faults.append(Fault(f"{table.as_string(None)} had {rows:,} rows of items that do not exist", repaired=True))
    return faults


def _check_constraints(cursor: "Cursor[Any]") -> list[Fault]:
    """Indexes that are not valid are ignored by PostgreSQL, the unique ones included."""
    text = (
        "SELECT c.relname FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid "
        "WHERE c.relnamespace = current_schema()::regnamespace AND NOT x.indisvalid AND c.relname NOT LIKE '%%_hnsw' "
        "UNION ALL SELECT conname FROM pg_constraint "
        "WHERE connamespace = current_schema()::regnamespace AND NOT convalidated"
    )
    names = [name for (name,) in cursor.execute(text, []).fetchall()]
    return [
        Fault(f"the index or constraint {name} is not valid; run REINDEX or VALIDATE CONSTRAINT on it")
        for name in names
    ]


def check_index(cursor: "Cursor[Any]") -> list[Fault]:
    """Build the HNSW index of the active model again if an interrupted build has left it invalid.

    Args:
        cursor: of a connection without a transaction.
    """
    from psycopg import sql

    state = index_state(cursor)
    if state is None:
        return []
    exists = one_value(cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [f"vectors_{state.number}_hnsw"]))
    if not exists or state.is_built:
        return []
    cursor.execute(sql.SQL("REINDEX INDEX {}").format(vector_index(state.number)))
    return [Fault("the HNSW index was not valid, so searches were exact", repaired=True)]


def rewrite_tables(cursor: "Cursor[Any]") -> None:
    """Give the space of removed rows back to the disk, and build all indexes again; each table is locked meanwhile."""
    from psycopg import sql

    tables = [sql.Identifier(name) for name in ("state", "models", "items", "thumbnails", "originals", "documents")]
    for table in [*tables, *(vector_table(model.number) for model in model_tables(cursor))]:
        cursor.execute(sql.SQL("VACUUM (FULL, ANALYZE) {}").format(table))


def size_of_tables(cursor: "Cursor[Any]") -> int:
    """Return the bytes of all tables of the collection with their indexes."""
    text = "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class WHERE relkind = 'r'"
    return one_value(cursor.execute(f"{text} AND relnamespace = current_schema()::regnamespace"))
