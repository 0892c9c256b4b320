"""The items of a PostgreSQL collection as rows: reading, adding, changing and removing them within a transaction."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pairlens.collection.filters import Condition
from pairlens.collection.item import Item, NewItem, Value
from pairlens.collection.postgres_address import import_psycopg
from pairlens.collection.postgres_filters import filter_sql
from pairlens.collection.postgres_rows import (
    ITEM_COLUMNS,
    STORED_COLUMNS,
    digest_bytes,
    joined_keys,
    place_of,
    read_item,
    stored_values,
    whole_numbers,
)
from pairlens.collection.postgres_schema import one_value

if TYPE_CHECKING:
    from psycopg import Cursor


def as_ids(ids: Sequence[int] | np.ndarray) -> list[int]:
    """Return ids as a parameter of a statement.

    >>> as_ids(np.arange(3))
    [0, 1, 2]
    """
    return np.asarray(ids, np.int64).reshape(-1).tolist()


def count_rows(cursor: "Cursor[Any]", where: Mapping[str, Condition] | None) -> int:
    """Return the number of items that a filter lets through."""
    if not where:
        return one_value(cursor.execute("SELECT items FROM state"))
    from psycopg import sql

    condition, values = filter_sql(where)
    return one_value(cursor.execute(sql.SQL("SELECT count(*) FROM items i WHERE {}").format(condition), values))


def filtered_ids(cursor: "Cursor[Any]", where: Mapping[str, Condition] | None) -> np.ndarray:
    """Return int64 (item,) the ids that a filter lets through, rising; sent as one value, which is faster than rows."""
    from psycopg import sql

    condition, values = filter_sql(where)
    query = sql.SQL("SELECT string_agg(int8send(i.id), ''::bytea ORDER BY i.id) FROM items i WHERE {}").format(
        condition
    )
    return whole_numbers(one_value(cursor.execute(query, values)))


def select_items(cursor: "Cursor[Any]", condition: Any, values: Sequence[Any], limit: int | None = None) -> list[Item]:
    """Return the items that meet a condition in SQL, by rising id."""
    from psycopg import sql

    columns: Any = ITEM_COLUMNS
    query = sql.SQL("SELECT {} FROM items i WHERE {} ORDER BY i.id LIMIT {}").format(
        sql.SQL(columns), condition, sql.Literal(limit)
    )
    return [read_item(row) for row in cursor.execute(query, values).fetchall()]


def items_by_ids(cursor: "Cursor[Any]", ids: Sequence[int] | np.ndarray) -> list[Item]:
    """Return items in the order in which their ids are given."""
    from psycopg import sql

    wanted = as_ids(ids)
    found = {item.id: item for item in select_items(cursor, sql.SQL("i.id = ANY(%s::bigint[])"), [wanted])}
    return [found[number] for number in wanted if number in found]


def items_at_paths(cursor: "Cursor[Any]", root: str, paths: Sequence[str]) -> list[Item]:
    """Return the items of some paths below a root."""
    from psycopg import sql

    return select_items(cursor, sql.SQL("i.place = ANY(%s::bytea[])"), [[place_of(root, path) for path in paths]])


def items_of_digests(cursor: "Cursor[Any]", digests: Sequence[str]) -> list[Item]:
    """Return the items whose photo has one of some digests."""
    from psycopg import sql

    return select_items(cursor, sql.SQL("i.digest = ANY(%s::bytea[])"), [[digest_bytes(digest) for digest in digests]])


def label_positions(cursor: "Cursor[Any]") -> tuple[np.ndarray, list[str | None]]:
    """Return (item, 2) int64 rows of an id and the position of its label in the list, by rising id; and the list."""
    labels = [label for (label,) in cursor.execute("SELECT label FROM items GROUP BY label ORDER BY label").fetchall()]
    numbers = cursor.execute(
        "SELECT string_agg(int8send(id) || int8send(position), ''::bytea ORDER BY id) FROM "
        "(SELECT id, dense_rank() OVER (ORDER BY label) - 1 AS position FROM items) AS ranked"
    )
    # In both statements null comes last.
    return whole_numbers(one_value(numbers)).reshape(-1, 2), labels


def insert_rows(cursor: "Cursor[Any]", items: Sequence[NewItem]) -> list[int]:
    """Add items by COPY, and return their ids, rising; raises ValueError naming an item that exists."""
    from psycopg import sql

    rows = [stored_values(item) for item in items]
    # Taken from the sequence first, because COPY returns nothing.
    drawn = "SELECT nextval(pg_get_serial_sequence('items', 'id')) FROM generate_series(1, %s)"
    ids = sorted(number for (number,) in cursor.execute(drawn, [len(items)]).fetchall())
    columns = {"id": "int8", **STORED_COLUMNS, "added": "float8"}
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    now = time.time()
    try:
        with cursor.copy(sql.SQL("COPY items ({}) FROM STDIN (FORMAT BINARY)").format(names)) as copy:
            copy.set_types(list(columns.values()))
            for number, row in zip(ids, rows, strict=True):
                copy.write_row((number, *row, now))
    except import_psycopg().errors.UniqueViolation as error:
        raise taken_place(error, [(item.root, item.path) for item in items]) from None
    insert_pictures(cursor, ids, items)
    return ids


def insert_pictures(cursor: "Cursor[Any]", ids: Sequence[int], items: Sequence[NewItem]) -> None:
    """Add the thumbnails and the kept files of items that have none yet."""
    pictures = {
        "thumbnails": [(number, item.thumbnail) for number, item in zip(ids, items, strict=True) if item.thumbnail],
        "originals": [(number, item.original) for number, item in zip(ids, items, strict=True) if item.original],
    }
    from psycopg import sql

    for table, rows in pictures.items():
        if rows:
            text = sql.SQL("COPY {} (item, contents) FROM STDIN (FORMAT BINARY)").format(sql.Identifier(table))
            with cursor.copy(text) as copy:
                copy.set_types(["int8", "bytea"])
                for row in rows:
                    copy.write_row(row)


def overwrite_rows(cursor: "Cursor[Any]", ids: Sequence[int], items: Sequence[NewItem]) -> None:
    """Write new items in the place of existing ones; raises ValueError for an unknown id or a place that is taken."""
    from psycopg import sql

    wanted = as_ids(ids)
    rows = [(number, *stored_values(item)) for number, item in zip(wanted, items, strict=True)]
    known = cursor.execute("SELECT id FROM items WHERE id = ANY(%s::bigint[]) ORDER BY id FOR UPDATE", [wanted])
    missing = set(wanted) - {number for (number,) in known.fetchall()}
    if missing:
        raise ValueError(f"item {min(missing)} does not exist, so it cannot be replaced; add it")
    columns = list(map(sql.Identifier, STORED_COLUMNS))
    # In one statement, so that items can exchange their places.
    types: Any = ", ".join(f"%s::{kind}[]" for kind in ("int8", *STORED_COLUMNS.values()))
    text = sql.SQL("UPDATE items SET {} FROM unnest({}) AS new (number, {}) WHERE id = new.number").format(
        sql.SQL(", ").join(sql.SQL("{0} = new.{0}").format(column) for column in columns),
        sql.SQL(types),
        sql.SQL(", ").join(columns),
    )
    _update_places(cursor, text, [list(column) for column in zip(*rows, strict=True)], items)
    for table in ("thumbnails", "originals"):
        delete = sql.SQL("DELETE FROM {} WHERE item = ANY(%s::bigint[])").format(sql.Identifier(table))
        cursor.execute(delete, [wanted])
    insert_pictures(cursor, wanted, items)


def move_rows(cursor: "Cursor[Any]", ids: Sequence[int], root: str, paths: Sequence[str]) -> int:
    """Give items other paths below a root, and return how many there were; raises ValueError for a place that is taken."""
    from psycopg import sql

    wanted = as_ids(ids)
    if len(wanted) != len(paths):
        raise ValueError(f"{len(wanted)} items cannot get {len(paths)} paths; give one path for each")
    text = sql.SQL(
        "UPDATE items SET root = %s, path = new.path, place = new.place "
        "FROM unnest(%s::bigint[], %s::text[], %s::bytea[]) AS new (number, path, place) WHERE id = new.number"
    )
    values = [root, wanted, list(paths), [place_of(root, path) for path in paths]]
    targets = [NewItem(root, path, "") for path in paths]
    return _update_places(cursor, text, values, targets)


def _update_places(cursor: "Cursor[Any]", text: Any, values: list[Any], items: Sequence[NewItem]) -> int:
    try:
        return cursor.execute(text, values).rowcount
    except import_psycopg().errors.UniqueViolation as error:
        raise taken_place(error, [(item.root, item.path) for item in items]) from None


def taken_place(error: Any, places: Sequence[tuple[str, str]]) -> ValueError:
    """Return the error for a place that is taken twice; PostgreSQL names the hash that `place_of` has made of it."""
    detail = str(error.diag.message_detail or "")
    root, path = next((place for place in places if place_of(*place).hex() in detail), ("", "an item of these"))
    shown = f"{root}/{path}" if root else path
    return ValueError(f"the collection has {shown} with this region already; replace that item, or remove it first")


def set_metadata_rows(cursor: "Cursor[Any]", ids: Sequence[int], metadata: Sequence[Mapping[str, Value]]) -> int:
    """Replace the metadata of items, and return how many there were."""
    from psycopg.types.json import Jsonb

    if len(ids) != len(metadata):
        raise ValueError(f"{len(ids)} items cannot get {len(metadata)} metadata; give one mapping for each")
    text = (
        "UPDATE items SET metadata = new.metadata, keys = new.keys "
        "FROM unnest(%s::bigint[], %s::jsonb[], %s::text[]) AS new (number, metadata, keys) WHERE id = new.number"
    )
    values = [[Jsonb(dict(entry)) for entry in metadata], [joined_keys(entry) for entry in metadata]]
    return cursor.execute(text, [as_ids(ids), *values]).rowcount


def count_change(cursor: "Cursor[Any]", more_items: int = 0) -> None:
    """Raise the number of the last change, as the last statement of a transaction that changes something.

    The row stays locked until the transaction ends, so changes get rising numbers in the order in which they become
    visible, which a sequence does not promise. Writers wait for each other only from here to their COMMIT.
    """
    cursor.execute("UPDATE state SET change = change + 1, items = items + %s", [more_items])
