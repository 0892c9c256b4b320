"""The proof of a SQLite collection against itself, and the repair of its slots, its index and the file of its lists."""

import sqlite3
from collections.abc import Iterator

import numpy as np
import simplejpeg

from pairlens.collection.inverted_file import drop_lists, read_lists
from pairlens.collection.live_index import LiveIndex, is_stale
from pairlens.collection.sqlite_database import SqliteDatabase
from pairlens.collection.sqlite_items import item_page
from pairlens.collection.sqlite_metadata import is_metadata_indexed, rebuild_metadata_index
from pairlens.collection.sqlite_models import active_model, count_without_vector, model_rows
from pairlens.collection.store import Fault
from pairlens.collection.unit_vectors import UNIT_TOLERANCE
from pairlens.collection.vector_blocks import ModelRow, iterate_blocks, rebuild_slots, slots_of_blocks
from pairlens.core.untrusted import is_plain_text

# Faults of one kind that are listed one by one.
LISTED = 20
PAGE = 1000
DIGEST_BYTES = 32
MAX_THUMBNAIL_BYTES = 1 << 20


def check_database(database: SqliteDatabase, live: LiveIndex) -> list[Fault]:
    """Return the faults of a collection, see `Store.check`."""
    try:
        with database.reading_apart() as db:
            damages = [Fault(f"the database is damaged: {what}") for what in _damages(db)]
            # Nothing else can be believed then.
            if damages:
                return damages
            models = model_rows(db)
            faults = [*_faults_of_rows(db), *_faults_of_items(db), *_faults_of_thumbnails(db)]
            faults += [fault for model in models for fault in _faults_of_vectors(db, model)]
        for model in models:
            faults += _repaired_slots(database, model)
        derived = (*_repaired_metadata_index(database), *_faults_of_index(database, live), *_faults_of_lists(database))
        return [*faults, *derived]
    except ValueError as error:
        return [Fault(str(error))]


def _damages(db: sqlite3.Connection) -> Iterator[str]:
    try:
        yield from (what for (what,) in db.execute(f"PRAGMA integrity_check({LISTED})") if what != "ok")
        for table, _, parent, _ in db.execute("PRAGMA foreign_key_check").fetchmany(LISTED):
            yield f"a row of {table} belongs to no row of {parent}"
    except sqlite3.DatabaseError as error:
        yield str(error)


def _faults_of_rows(db: sqlite3.Connection) -> Iterator[Fault]:
    wrong = db.execute(
        "SELECT id FROM items WHERE typeof(digest) <> 'blob' OR length(digest) <> ? LIMIT ?", (DIGEST_BYTES, LISTED)
    )
    for (id,) in wrong.fetchall():
        yield Fault(f"the digest of item {id} is no SHA-256; replace its photo")


def _faults_of_items(db: sqlite3.Connection) -> Iterator[Fault]:
    """Read every item, which fails where its metadata or its region have no meaning."""
    after, listed = 0, 0
    while listed < LISTED and (page := item_page(db, after, PAGE, None)):
        for item in page:
            texts = (item.root, item.path, item.label or "")
            if not all(map(is_plain_text, texts)) and listed < LISTED:
                listed += 1
                yield Fault(f"the path or label of item {item.id} has control characters; rename or relabel it")
        after = page[-1].id


def _faults_of_thumbnails(db: sqlite3.Connection) -> Iterator[Fault]:
    listed = 0
    for item, size, jpeg in db.execute("SELECT item, length(jpeg), substr(jpeg, 1, ?) FROM thumbnails", (1 << 16,)):
        if (size > MAX_THUMBNAIL_BYTES or not _is_jpeg(jpeg)) and listed < LISTED:
            listed += 1
            yield Fault(f"the thumbnail of item {item} is no JPEG; replace its photo")


def _is_jpeg(start: bytes) -> bool:
    try:
        simplejpeg.decode_jpeg_header(start)
    except (ValueError, TypeError):
        return False
    return True


def _faults_of_vectors(db: sqlite3.Connection, model: ModelRow) -> Iterator[Fault]:
    missing = count_without_vector(db, model)
    if missing and model.state == "active":
        yield Fault(f"{missing:,} items have no vector of the active model {model.fingerprint}; replace their photos")
    for ids, vectors in iterate_blocks(db, model):
        lengths = np.linalg.norm(vectors, axis=1)
        # A length that is no number is not close to 1 either.
        for id in ids[~(np.abs(lengths - 1) <= UNIT_TOLERANCE)][:LISTED].tolist():
            yield Fault(f"the vector of item {id} is not finite or not of length 1; replace its photo")


def _repaired_slots(database: SqliteDatabase, model: ModelRow) -> list[Fault]:
    """Compare where vectors are said to lie with where they lie, and write the former again if they differ."""
    with database.reading() as db:
        if _slots_agree(db, model):
            return []
    if not database.read_only:
        with database.writing() as db:
            rebuild_slots(db, model)
    what = f"the places of vectors of the model {model.fingerprint} do not agree with the vectors"
    return [Fault(what, repaired=not database.read_only)]


def _slots_agree(db: sqlite3.Connection, model: ModelRow) -> bool:
    rows = db.execute("SELECT item, block, slot FROM slots WHERE model = ? ORDER BY item", (model.number,)).fetchall()
    # Another kind of value is a wrong place.
    said = np.array([row if all(isinstance(value, int) for value in row) else (0, 0, 0) for row in rows], np.int64)
    true = slots_of_blocks(db, model)
    orphans = db.execute(
        "SELECT count(*) FROM slots WHERE model = ? AND item NOT IN (SELECT id FROM items)", (model.number,)
    )
    return orphans.fetchone()[0] == 0 and np.array_equal(
        said.reshape(-1, 3), true[np.argsort(true[:, 0], kind="stable")]
    )


def _repaired_metadata_index(database: SqliteDatabase) -> list[Fault]:
    """Compare the index of the metadata with the items, and write it again if they differ."""
    with database.reading() as db:
        if is_metadata_indexed(db):
            return []
    if not database.read_only:
        with database.writing() as db:
            rebuild_metadata_index(db)
    return [Fault("the index of the metadata did not agree with the items", repaired=not database.read_only)]


def _faults_of_index(database: SqliteDatabase, live: LiveIndex) -> Iterator[Fault]:
    """Compare the index in memory, if there is one, with the rows; a wrong one is dropped."""
    with live.lock, database.reading() as db:
        if not live.agrees(db):
            live.drop()
            yield Fault("the index in memory did not agree with the database", repaired=True)


def _faults_of_lists(database: SqliteDatabase) -> Iterator[Fault]:
    with database.reading() as db:
        model = active_model(db)
        try:
            stored = read_lists(database.file)
            if stored is None or (model is not None and not is_stale(db, stored, model)):
                return
            what = "the file of the approximate index is of another state of the collection"
        except (ValueError, OSError) as error:
            what = str(error)
    yield Fault(what, repaired=not database.read_only and drop_lists(database.file))
