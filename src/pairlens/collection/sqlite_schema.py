"""The tables of a collection in SQLite, their version, and the proof that a file has these tables and nothing else.

Vectors lie in blocks of about 512 KiB: a row apiece would fill pages badly, and reading a row costs far more than copying
its bytes. The ids of a block have a table of their own, so that a removal does not rewrite the vectors.
"""

import sqlite3

from pairlens.collection.sqlite_metadata import ALL_VALUES

# "PLCO", in the header of the file.
APPLICATION_ID = 0x504C434F
PAGE_BYTES = 1 << 14

# Each step leads from the version of its position to the next one; a published step is never changed.
#
# A region of width 0 is the whole photo: SQLite stores a zero in no byte, and unlike NULL it is equal to itself.
# The ids of a block are int64, one a slot, 0 for an empty one; slots from `used` on were never filled. Its vectors are
# float32 (slot, dim).
STEPS = (
    """
    CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE roots (number INTEGER PRIMARY KEY, root TEXT NOT NULL UNIQUE);
    CREATE TABLE items (
        id INTEGER PRIMARY KEY AUTOINCREMENT, root INTEGER NOT NULL REFERENCES roots (number), path TEXT NOT NULL,
        digest BLOB NOT NULL, region_x INTEGER NOT NULL, region_y INTEGER NOT NULL, region_width INTEGER NOT NULL,
        region_height INTEGER NOT NULL, label TEXT, metadata TEXT, width INTEGER NOT NULL, height INTEGER NOT NULL,
        look INTEGER NOT NULL, added REAL NOT NULL
    );
    CREATE UNIQUE INDEX items_by_place ON items (path, root, region_x, region_y, region_width, region_height);
    CREATE INDEX items_by_label ON items (label);
    CREATE INDEX items_by_digest ON items (digest);
    CREATE TABLE thumbnails (
        item INTEGER PRIMARY KEY REFERENCES items (id) ON DELETE CASCADE, jpeg BLOB NOT NULL
    );
    CREATE TABLE originals (
        item INTEGER PRIMARY KEY REFERENCES items (id) ON DELETE CASCADE, contents BLOB NOT NULL
    );
    CREATE TABLE documents (name TEXT PRIMARY KEY, contents BLOB NOT NULL);
    CREATE TABLE models (
        number INTEGER PRIMARY KEY AUTOINCREMENT, fingerprint TEXT NOT NULL UNIQUE, dim INTEGER NOT NULL,
        state TEXT NOT NULL, since REAL NOT NULL
    );
    CREATE TABLE blocks (
        number INTEGER PRIMARY KEY AUTOINCREMENT, model INTEGER NOT NULL REFERENCES models (number),
        used INTEGER NOT NULL, ids BLOB NOT NULL
    );
    CREATE INDEX blocks_by_model ON blocks (model);
    CREATE TABLE block_vectors (
        number INTEGER PRIMARY KEY REFERENCES blocks (number) ON DELETE CASCADE, vectors BLOB NOT NULL
    );
    CREATE TABLE slots (
        model INTEGER NOT NULL, item INTEGER NOT NULL, block INTEGER NOT NULL, slot INTEGER NOT NULL,
        PRIMARY KEY (model, item)
    ) WITHOUT ROWID;
    CREATE TABLE changes (number INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, ids BLOB NOT NULL)
    """,
    # An index of the metadata, see `sqlite_metadata`.
    f"""
    CREATE TABLE metadata_values (
        key TEXT NOT NULL, value NOT NULL, item INTEGER NOT NULL, PRIMARY KEY (key, value, item)
    ) WITHOUT ROWID;
    INSERT OR IGNORE INTO metadata_values {ALL_VALUES}
    """,
)
VERSION = len(STEPS)
# The first version that has an index of the metadata.
VERSION_WITH_VALUES = 2


def version_of(db: sqlite3.Connection) -> int:
    """Return the version of the tables; 0 of an empty database."""
    return db.execute("PRAGMA user_version").fetchone()[0]


def create_tables(db: sqlite3.Connection, version: int) -> None:
    """Lead the tables of a database from its version to another one; the caller has begun a transaction."""
    for step in STEPS[version_of(db) : version]:
        for statement in step.split(";"):
            db.execute(statement)
    # A pragma takes no parameters; both are our own numbers.
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {version}")


def read_older_tables(db: sqlite3.Connection) -> None:
    """Let a connection that only reads find in the tables of an older version what the present one asks for."""
    if version_of(db) < VERSION_WITH_VALUES:
        db.execute(f"CREATE TEMP VIEW metadata_values AS {ALL_VALUES}")


def check_tables(db: sqlite3.Connection, name: str) -> None:
    """Prove that a database is a collection of a version that can be read.

    Tables, triggers and views that an untrusted file contains would run with our statements.

    Raises:
        ValueError: naming the file, if it is something else, newer, or has other tables.
    """
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise ValueError(f"{name} is a database, but no collection of Pairlens; give another path")
    version = version_of(db)
    if version > VERSION:
        raise ValueError(
            f"{name} is a collection of version {version}, and this Pairlens reads versions up to {VERSION}; "
            "update Pairlens"
        )
    if version < 1 or _schema(db) != _expected(version):
        raise ValueError(
            f"{name} has other tables, views or triggers than a collection of version {version}; "
            "restore the collection from a snapshot"
        )


def _expected(version: int) -> set[tuple[str, str, str, str]]:
    memory = sqlite3.connect(":memory:", isolation_level=None)
    try:
        create_tables(memory, version)
        return _schema(memory)
    finally:
        memory.close()


def _schema(db: sqlite3.Connection) -> set[tuple[str, str, str, str]]:
    """Return type, name, table and text of everything in a database but the statistics of ANALYZE."""
    rows = db.execute("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema LIMIT 1000")
    return {tuple(row) for row in rows if row[1] not in ("sqlite_stat1", "sqlite_stat4")}
