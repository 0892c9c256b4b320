"""Vectors in blocks: how those of a model are stored in SQLite, found by item, read in bulk and dropped."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairlens.collection.store import ModelState

BLOCK_BYTES = 1 << 19
MIN_ROWS, MAX_ROWS = 16, 1024
MAX_DIM = 1 << 16
# From this share of a block on, reading it whole is faster than seeking its slots.
SHARE_OF_WHOLE = 1 / 8


@dataclass(frozen=True)
class ModelRow:
    """A model as the tables know it: the number that its blocks refer to, and what `StoredModel` tells."""

    number: int
    fingerprint: str
    dim: int
    state: ModelState
    since: float

    @property
    def rows(self) -> int:
        """The number of slots of a block of its vectors.

        >>> ModelRow(1, "", 512, "active", 0.0).rows
        256
        """
        return max(MIN_ROWS, min(MAX_ROWS, BLOCK_BYTES // (4 * self.dim)))


def as_json_list(ids: Sequence[int] | np.ndarray) -> str:
    """Return ids as a JSON list: one parameter for any number of them.

    >>> as_json_list([3, 4])
    '[3, 4]'
    """
    return str(np.asarray(ids, np.int64).reshape(-1).tolist())


def append_vectors(db: sqlite3.Connection, model: ModelRow, ids: np.ndarray, vectors: np.ndarray) -> None:
    """Store float32 (item, dim) vectors of items that have none of this model."""
    done = 0
    last = db.execute(
        "SELECT number, used, ids FROM blocks WHERE model = ? ORDER BY number DESC LIMIT 1", (model.number,)
    ).fetchone()
    if last is not None and last[1] < model.rows:
        number, used, listed = last
        done = min(model.rows - used, len(ids))
        slots = _block_ids(listed, model).copy()
        slots[used : used + done] = ids[:done]
        _write_slots(db, model, number, used, vectors[:done])
        db.execute("UPDATE blocks SET used = ?, ids = ? WHERE number = ?", (used + done, _as_bytes(slots), number))
        _place(db, model, number, used, ids[:done])
    for start in range(done, len(ids), model.rows):
        _append_block(db, model, ids[start : start + model.rows], vectors[start : start + model.rows])


def _append_block(db: sqlite3.Connection, model: ModelRow, ids: np.ndarray, vectors: np.ndarray) -> None:
    slots = np.zeros(model.rows, np.int64)
    slots[: len(ids)] = ids
    number = db.execute(
        "INSERT INTO blocks (model, used, ids) VALUES (?, ?, ?)", (model.number, len(ids), _as_bytes(slots))
    ).lastrowid
    # A block has its full length from the start, so that later vectors are written into it and not around it.
    padded = np.zeros((model.rows, model.dim), "<f4")
    padded[: len(ids)] = vectors
    db.execute("INSERT INTO block_vectors (number, vectors) VALUES (?, ?)", (number, padded.data))
    _place(db, model, number or 0, 0, ids)


def _place(db: sqlite3.Connection, model: ModelRow, block: int, first: int, ids: np.ndarray) -> None:
    rows = [(model.number, item, block, first + position) for position, item in enumerate(ids.tolist())]
    db.executemany("INSERT INTO slots (model, item, block, slot) VALUES (?, ?, ?, ?)", rows)


def _write_slots(db: sqlite3.Connection, model: ModelRow, block: int, slot: int, vectors: np.ndarray) -> None:
    with db.blobopen("block_vectors", "vectors", block) as blob:
        _check_length(len(blob), model)
        blob.seek(4 * model.dim * slot)
        blob.write(np.ascontiguousarray(vectors, "<f4").tobytes())


def overwrite_vectors(db: sqlite3.Connection, model: ModelRow, ids: np.ndarray, vectors: np.ndarray) -> None:
    """Store vectors in the place of those that items have; items without one get one."""
    places = _places(db, model, ids)
    missing = ~np.isin(ids, places[:, 0])
    if missing.any():
        append_vectors(db, model, ids[missing], vectors[missing])
    row_of = {item: row for row, item in enumerate(ids.tolist())}
    for item, block, slot in places.tolist():
        _write_slots(db, model, block, slot, vectors[row_of[item]])


def read_vectors(db: sqlite3.Connection, model: ModelRow, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the (ids, vectors) of those of some distinct items that have a vector, in no promised order."""
    places = _places(db, model, ids)
    places = places[np.argsort(places[:, 1], kind="stable")]  # by block
    vectors = np.empty((len(places), model.dim), np.float32)
    blocks, starts = np.unique(places[:, 1], return_index=True)
    for block, part in zip(blocks.tolist(), np.split(np.arange(len(places)), starts[1:]), strict=False):
        vectors[part] = _read_slots(db, model, block, places[part, 2])
    return places[:, 0], vectors


def _places(db: sqlite3.Connection, model: ModelRow, ids: np.ndarray) -> np.ndarray:
    """Return (item, 3) int64 rows of an id, its block and its slot."""
    rows = db.execute(
        "SELECT item, block, slot FROM slots WHERE model = ? AND item IN (SELECT value FROM json_each(?))",
        (model.number, as_json_list(ids)),
    ).fetchall()
    places = _as_places(rows)
    if len(places) and not 0 <= places[:, 2].min() <= places[:, 2].max() < model.rows:
        raise ValueError("a vector is said to lie outside of its block; check the collection")
    return places


def _as_places(rows: Sequence[Sequence[Any]]) -> np.ndarray:
    """Return int64 (item, 3) rows; raises ValueError where SQLite holds something else than whole numbers."""
    try:
        return np.array(rows, np.int64).reshape(-1, 3)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("the place of a vector is no whole number; check the collection") from None


def _read_slots(db: sqlite3.Connection, model: ModelRow, block: int, slots: np.ndarray) -> np.ndarray:
    """Return float32 (slot, dim) vectors of a block."""
    with db.blobopen("block_vectors", "vectors", block, readonly=True) as blob:
        _check_length(len(blob), model)
        if len(slots) > SHARE_OF_WHOLE * model.rows:
            return np.frombuffer(blob.read(), "<f4").reshape(-1, model.dim)[slots]
        parts = []
        for slot in slots.tolist():
            blob.seek(4 * model.dim * slot)
            parts.append(np.frombuffer(blob.read(4 * model.dim), "<f4"))
        return np.stack(parts)


def iterate_blocks(db: sqlite3.Connection, model: ModelRow) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the (ids, vectors) of a model block by block, without empty slots."""
    rows = db.execute(
        "SELECT used, ids, vectors FROM blocks JOIN block_vectors USING (number) WHERE model = ? ORDER BY number",
        (model.number,),
    )
    for used, listed, contents in rows:
        _check_length(len(contents) if isinstance(contents, bytes) else 0, model)
        ids = _block_ids(listed, model)[: int(used)]
        vectors = np.frombuffer(contents, "<f4").reshape(-1, model.dim)[: len(ids)]
        filled = ids != 0
        yield (ids, vectors) if filled.all() else (ids[filled], vectors[filled])


def forget_vectors(db: sqlite3.Connection, model: ModelRow, ids: np.ndarray) -> None:
    """Mark the vectors of items as removed; their bytes go with their block, or when the collection is compacted."""
    places = _places(db, model, ids)
    for block in np.unique(places[:, 1]).tolist():
        listed = db.execute("SELECT ids FROM blocks WHERE number = ?", (block,)).fetchone()
        if listed is None:
            continue
        slots = _block_ids(listed[0], model).copy()
        slots[places[places[:, 1] == block, 2]] = 0
        if slots.any():
            db.execute("UPDATE blocks SET ids = ? WHERE number = ?", (_as_bytes(slots), block))
        else:
            db.execute("DELETE FROM blocks WHERE number = ?", (block,))
    db.execute(
        "DELETE FROM slots WHERE model = ? AND item IN (SELECT value FROM json_each(?))",
        (model.number, as_json_list(ids)),
    )


def drop_vectors(db: sqlite3.Connection, model: ModelRow) -> None:
    """Delete all vectors of a model."""
    db.execute("DELETE FROM slots WHERE model = ?", (model.number,))
    db.execute("DELETE FROM blocks WHERE model = ?", (model.number,))


def rewrite_blocks(db: sqlite3.Connection, model: ModelRow) -> None:
    """Write the vectors of blocks with removed ones into new blocks, so that their bytes are in the database no more."""
    numbers = db.execute("SELECT number FROM blocks WHERE model = ?", (model.number,)).fetchall()
    for (number,) in numbers:
        # Read here, because vectors of an earlier block may have been appended to this one.
        used, listed = db.execute("SELECT used, ids FROM blocks WHERE number = ?", (number,)).fetchone()
        ids = _block_ids(listed, model)[:used]
        kept = np.flatnonzero(ids)
        if len(kept) == len(ids):
            continue
        vectors = _read_slots(db, model, number, kept) if len(kept) else np.empty((0, model.dim), np.float32)
        db.execute("DELETE FROM blocks WHERE number = ?", (number,))
        db.execute("DELETE FROM slots WHERE model = ? AND block = ?", (model.number, number))
        append_vectors(db, model, ids[kept], vectors)


def slots_of_blocks(db: sqlite3.Connection, model: ModelRow) -> np.ndarray:
    """Return int64 (item, 3) rows of an id, its block and its slot, as the blocks themselves say."""
    rows = db.execute("SELECT number, used, ids FROM blocks WHERE model = ? ORDER BY number", (model.number,))
    parts = [np.empty((0, 3), np.int64)]
    for number, used, listed in rows:
        ids = _block_ids(listed, model)[:used]
        filled = np.flatnonzero(ids)
        parts.append(np.stack([ids[filled], np.full(len(filled), number), filled], axis=1))
    return np.concatenate(parts)


def rebuild_slots(db: sqlite3.Connection, model: ModelRow) -> None:
    """Write the slots of a model again from its blocks, after removing vectors of no item and second ones of an item."""
    existing = np.array(db.execute("SELECT id FROM items").fetchall(), np.int64).reshape(-1)
    places = slots_of_blocks(db, model)
    _, first = np.unique(places[:, 0], return_index=True)
    is_kept = np.zeros(len(places), bool)
    is_kept[first] = np.isin(places[first, 0], existing)
    for block in np.unique(places[~is_kept, 1]).tolist():
        listed = db.execute("SELECT ids FROM blocks WHERE number = ?", (block,)).fetchone()[0]
        slots = _block_ids(listed, model).copy()
        slots[places[~is_kept & (places[:, 1] == block), 2]] = 0
        db.execute("UPDATE blocks SET ids = ? WHERE number = ?", (_as_bytes(slots), block))
    db.execute("DELETE FROM slots WHERE model = ?", (model.number,))
    rows = [(model.number, *place) for place in places[is_kept].tolist()]
    db.executemany("INSERT INTO slots (model, item, block, slot) VALUES (?, ?, ?, ?)", rows)


def _block_ids(listed: bytes, model: ModelRow) -> np.ndarray:
    length = len(listed) if isinstance(listed, bytes) else 0
    if length != 8 * model.rows:
        raise ValueError(f"a block has {length} bytes of ids, not {8 * model.rows}; check the collection")
    return np.frombuffer(listed, "<i8")


def _check_length(length: int, model: ModelRow) -> None:
    if length != 4 * model.dim * model.rows:
        raise ValueError(
            f"a block has {length:,} bytes of vectors, not {4 * model.dim * model.rows:,}; check the collection"
        )


def _as_bytes(ids: np.ndarray) -> bytes:
    return ids.astype("<i8").tobytes()
