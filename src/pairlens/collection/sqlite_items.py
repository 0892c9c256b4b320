"""The items of a SQLite collection as rows: reading, adding, changing and removing them."""

import json
import re
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pairlens.collection.filters import Condition
from pairlens.collection.item import Item, NewItem, Region, Value
from pairlens.collection.sqlite_filters import sqlite_condition
from pairlens.collection.sqlite_metadata import forget_metadata, index_metadata
from pairlens.collection.sqlite_models import is_time
from pairlens.collection.vector_blocks import as_json_list
from pairlens.core.untrusted import parse_json

_COLUMNS = (
    "items.id, roots.root, path, digest, region_x, region_y, region_width, region_height, label, metadata, width, height, "
    "look, added, EXISTS (SELECT 1 FROM originals WHERE item = items.id)"
)
_SELECT = f"SELECT {_COLUMNS} FROM items JOIN roots ON roots.number = items.root"
_LISTED = "(SELECT value FROM json_each(?))"
_LOOK_BITS = (1 << 64) - 1
_DIGEST = re.compile("[0-9a-f]{64}")
# What no path contains, under which items wait while others take their paths.
_WAITING = "\x01"


def count_items(db: sqlite3.Connection, where: Mapping[str, Condition] | None) -> int:
    """Return the number of items that a filter lets through."""
    condition, values = sqlite_condition(where)
    return db.execute(f"SELECT count(*) FROM items WHERE {condition}", values).fetchone()[0]


def item_ids(db: sqlite3.Connection, where: Mapping[str, Condition] | None) -> np.ndarray:
    """Return int64 (item,) the ids that a filter lets through, rising."""
    condition, values = sqlite_condition(where)
    rows = db.execute(f"SELECT id FROM items WHERE {condition}", values).fetchall()
    # Sorted here: an index by label or path gives them in the order of the texts.
    return np.sort(np.array(rows, np.int64).reshape(-1))


def existing_ids(db: sqlite3.Connection, ids: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return those of some ids that exist, each once, rising."""
    rows = db.execute(f"SELECT id FROM items WHERE id IN {_LISTED} ORDER BY id", (as_json_list(ids),)).fetchall()
    return np.array(rows, np.int64).reshape(-1)


def items_by_id(db: sqlite3.Connection, ids: Sequence[int] | np.ndarray) -> list[Item]:
    """Return items in the order in which their ids are given."""
    found = {item.id: item for item in _items(db, f"WHERE items.id IN {_LISTED}", (as_json_list(ids),))}
    return [found[id] for id in np.asarray(ids, np.int64).reshape(-1).tolist() if id in found]


def item_page(db: sqlite3.Connection, after: int, limit: int, where: Mapping[str, Condition] | None) -> list[Item]:
    """Return at most `limit` items behind an id, by rising id."""
    condition, values = sqlite_condition(where)
    return _items(db, f"WHERE items.id > ? AND {condition} ORDER BY items.id LIMIT ?", (after, *values, limit))


def items_at(db: sqlite3.Connection, root: str, paths: Sequence[str]) -> list[Item]:
    """Return the items of some paths below a root, by rising id."""
    condition = f"WHERE path IN {_LISTED} AND roots.root = ? ORDER BY items.id"
    return _items(db, condition, (json.dumps(list(paths)), root))


def items_with_digests(db: sqlite3.Connection, digests: Sequence[str]) -> list[Item]:
    """Return the items whose photo has one of some digests, by rising id."""
    found: list[Item] = []
    for digest in dict.fromkeys(digests):
        found += _items(db, "WHERE digest = ?", (_digest(digest),))
    return sorted(found, key=lambda item: item.id)


def _items(db: sqlite3.Connection, rest: str, values: Sequence[Any]) -> list[Item]:
    return [_as_item(row) for row in db.execute(f"{_SELECT} {rest}", values)]


def _as_item(row: tuple[Any, ...]) -> Item:
    id, root, path, digest, x, y, region_width, region_height, label, metadata, width, height, look, added, kept = row
    try:
        # SQLite holds any kind of value in any column.
        if not isinstance(digest, bytes) or not all(isinstance(text, str) for text in (root, path, label or "")):
            raise ValueError("its path, label or digest is of another kind")
        numbers = (x, y, region_width, region_height, width, height, look)
        if not all(isinstance(number, int) for number in numbers) or not is_time(added):
            raise ValueError("its size, region, look or time is of another kind")
        region = Region(x, y, region_width, region_height) if region_width else None
        values = parse_json(metadata) if metadata else {}
        if not isinstance(values, dict) or any(isinstance(value, dict | list) for value in values.values()):
            raise ValueError("its metadata are no values by name")
    except (ValueError, TypeError) as error:
        raise ValueError(f"item {id} cannot be read: {error}; check the collection") from error
    return Item(
        id, root, path, digest.hex(), region, label, values, width, height, look & _LOOK_BITS, added, bool(kept)
    )


def insert_items(db: sqlite3.Connection, items: Iterable[NewItem]) -> list[int]:
    """Write new items, and return their ids; raises ValueError naming one whose place is taken."""
    roots: dict[str, int] = {}
    now = time.time()
    ids = []
    for item in items:
        values = (*_row(db, item, roots), now)
        try:
            id = db.execute(
                "INSERT INTO items (root, path, digest, region_x, region_y, region_width, region_height, label, metadata, "
                "width, height, look, added) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            ).lastrowid
        except sqlite3.IntegrityError:
            raise _taken(item.root, item.path) from None
        ids.append(id or 0)
        _write_pictures(db, id or 0, item)
    index_metadata(db, ids)
    return ids


def overwrite_items(db: sqlite3.Connection, ids: Sequence[int], items: Sequence[NewItem]) -> None:
    """Write new items in the place of existing ones; raises ValueError for an unknown id or a place that is taken."""
    known = set(existing_ids(db, ids).tolist())
    unknown = [id for id in ids if id not in known]
    if unknown:
        raise ValueError(f"item {unknown[0]} does not exist, so it cannot be replaced; add it")
    roots: dict[str, int] = {}
    _leave_places(db, ids)
    forget_metadata(db, ids)
    for id, item in zip(ids, items, strict=True):
        try:
            db.execute(
                "UPDATE items SET root = ?, path = ?, digest = ?, region_x = ?, region_y = ?, region_width = ?, "
                "region_height = ?, label = ?, metadata = ?, width = ?, height = ?, look = ? WHERE id = ?",
                (*_row(db, item, roots), int(id)),
            )
        except sqlite3.IntegrityError:
            raise _taken(item.root, item.path) from None
        db.execute("DELETE FROM thumbnails WHERE item = ?", (int(id),))
        db.execute("DELETE FROM originals WHERE item = ?", (int(id),))
        _write_pictures(db, int(id), item)
    index_metadata(db, ids)


def move_items(db: sqlite3.Connection, ids: Sequence[int], root: str, paths: Sequence[str]) -> None:
    """Give items other paths below a root."""
    _leave_places(db, ids)
    number = _root_number(db, root, {})
    for id, path in zip(ids, paths, strict=True):
        try:
            db.execute("UPDATE items SET root = ?, path = ? WHERE id = ?", (number, path, int(id)))
        except sqlite3.IntegrityError:
            raise _taken(root, path) from None


def _leave_places(db: sqlite3.Connection, ids: Sequence[int]) -> None:
    """Free the places of items, which may exchange them."""
    db.execute(f"UPDATE items SET path = ? || id WHERE id IN {_LISTED}", (_WAITING, as_json_list(ids)))


def relabel_items(db: sqlite3.Connection, ids: Sequence[int], label: str | None) -> int:
    """Set the label of items, and return how many there were."""
    return db.execute(f"UPDATE items SET label = ? WHERE id IN {_LISTED}", (label, as_json_list(ids))).rowcount


def set_item_metadata(db: sqlite3.Connection, ids: Sequence[int], metadata: Sequence[Mapping[str, Value]]) -> int:
    """Replace the metadata of items, and return how many there were."""
    forget_metadata(db, ids)
    count = sum(
        db.execute("UPDATE items SET metadata = ? WHERE id = ?", (_metadata_text(values), int(id))).rowcount
        for id, values in zip(ids, metadata, strict=True)
    )
    index_metadata(db, ids)
    return count


def delete_items(db: sqlite3.Connection, ids: np.ndarray) -> None:
    """Delete items with their thumbnails and kept bytes."""
    forget_metadata(db, ids)
    db.execute(f"DELETE FROM items WHERE id IN {_LISTED}", (as_json_list(ids),))


def _row(db: sqlite3.Connection, item: NewItem, roots: dict[str, int]) -> tuple[Any, ...]:
    """Return the columns from root to look."""
    box = item.region
    region = (box.x, box.y, box.width, box.height) if box else (0, 0, 0, 0)
    if not 0 <= item.look <= _LOOK_BITS:
        raise ValueError(f"the look {item.look} of {item.path} has more than 64 bits")
    # SQLite's integers are signed.
    look = item.look - (1 << 64) if item.look >> 63 else item.look
    number = _root_number(db, item.root, roots)
    metadata = _metadata_text(item.metadata)
    return number, item.path, _digest(item.digest), *region, item.label, metadata, item.width, item.height, look


def _metadata_text(metadata: Mapping[str, Value]) -> str | None:
    return json.dumps(dict(metadata), ensure_ascii=False, separators=(",", ":")) if metadata else None


def _digest(digest: str) -> bytes:
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"{digest[:80]!r} is no SHA-256 of 64 hexadecimal digits")
    return bytes.fromhex(digest)


def _root_number(db: sqlite3.Connection, root: str, known: dict[str, int]) -> int:
    if root not in known:
        db.execute("INSERT OR IGNORE INTO roots (root) VALUES (?)", (root,))
        known[root] = db.execute("SELECT number FROM roots WHERE root = ?", (root,)).fetchone()[0]
    return known[root]


def drop_unused_roots(db: sqlite3.Connection) -> None:
    """Delete the roots that no item has."""
    db.execute("DELETE FROM roots WHERE number NOT IN (SELECT root FROM items)")


def _write_pictures(db: sqlite3.Connection, id: int, item: NewItem) -> None:
    if item.thumbnail:
        db.execute("INSERT INTO thumbnails (item, jpeg) VALUES (?, ?)", (id, item.thumbnail))
    if item.original:
        db.execute("INSERT INTO originals (item, contents) VALUES (?, ?)", (id, item.original))


def _taken(root: str, path: str) -> ValueError:
    place = f"{root}/{path}" if root else path
    return ValueError(f"the collection has {place} with this region already; replace that item, or remove it first")
