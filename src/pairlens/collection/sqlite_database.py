"""The connections to the SQLite file of a collection, its transactions, and its errors in one sentence each."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, RLock

from pairlens.collection.sqlite_schema import (
    PAGE_BYTES,
    VERSION,
    check_tables,
    create_tables,
    read_older_tables,
    version_of,
)
from pairlens.core.files import UnwritableError, atomic_write
from pairlens.core.untrusted import regular_file

# The write-ahead log is copied into the database beyond this many pages, and is cut to the same size afterwards.
LOG_PAGES = 128
CACHE_KIB = 32 << 10
# For reading everything once: pages that stay in the processor's cache are read twice as fast as many.
BULK_CACHE_KIB = 512
# SQLITE_DBCONFIG_DEFENSIVE, which Python 3.11 does not name.
_DEFENSIVE = 1010


class SqliteDatabase:
    """The file of a collection: one connection for reading, one for writing, each used by one thread at a time.

    In SQLite's write-ahead mode readers see the last finished transaction and wait for nobody; writers wait for each other.
    """

    def __init__(self, file: Path, wait: float = 30.0, read_only: bool = False) -> None:
        """Open an existing database; raises ValueError or OSError with the reason if it is not one that can be used."""
        self.file = file
        self.wait = wait
        self.read_only = read_only
        self._read_lock = RLock()
        self._write_lock = Lock()
        self._writer: sqlite3.Connection | None = None
        _check_file(file)
        with self.errors():
            self._reader = self._opened(read_only)
            try:
                check_tables(self._reader, str(file))
                if not read_only:
                    self._start_writing()
                else:
                    read_older_tables(self._reader)
            except BaseException:
                self.close()
                raise

    @classmethod
    def create(cls, file: Path, wait: float = 30.0) -> "SqliteDatabase":
        """Make a database with empty tables, which exists completely or not at all."""
        if file.exists() or file.is_symlink():
            raise ValueError(f"{file} exists already; open it, or choose another path")
        with atomic_write(file) as part:
            part.close()
            db = sqlite3.connect(part.name, isolation_level=None)
            try:
                db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("BEGIN")
                create_tables(db, VERSION)
                db.execute("COMMIT")
            except sqlite3.Error as error:
                raise _as_sentence(error, file) from error
            finally:
                # The last connection copies the log into the database and removes it.
                db.close()
        return cls(file, wait)

    def close(self) -> None:
        """Close all connections; another call does nothing."""
        # The writer last: it can copy the log into the database.
        with self._read_lock:
            self._reader.close()
        with self._write_lock:
            if self._writer is not None:
                self._writer.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection that sees the database as it is now, unchanged until the end of the block."""
        with self._read_lock, self.errors():
            if self._reader.in_transaction:
                # A block inside a block of the same thread sees the same state.
                yield self._reader
                return
            try:
                self._reader.execute("BEGIN")
                yield self._reader
            finally:
                _end(self._reader, "ROLLBACK")

    @contextmanager
    def reading_apart(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection of its own, for long reading beside which others read, too."""
        with self.errors():
            db = self._opened(read_only=True, cache_kib=BULK_CACHE_KIB)
            try:
                db.execute("BEGIN")
                yield db
            finally:
                db.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection in a transaction, which is durable after the block, or has no effect if the block fails.

        Raises:
            ValueError: if the collection is open for reading only, or another process writes for longer than `wait`.
            UnwritableError: if the disk is full or cannot be written to.
        """
        if self._writer is None:
            raise ValueError(f"{self.file} is open for reading only; open it for writing")
        with self._write_lock, self.errors():
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                _end(self._writer, "ROLLBACK")
                raise
            self._cut_log(self._writer)

    @contextmanager
    def maintaining(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection for writing without a transaction, for VACUUM and the log."""
        if self._writer is None:
            raise ValueError(f"{self.file} is open for reading only; open it for writing")
        with self._write_lock, self.errors():
            yield self._writer

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn errors of SQLite into sentences."""
        try:
            yield
        except sqlite3.Error as error:
            raise _as_sentence(error, self.file) from error

    def copy(self, target: str) -> None:
        """Write the database as it is now into an empty file."""
        with self.errors():
            db = self._opened(read_only=True)
            try:
                db.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 10)
                db.execute("VACUUM INTO ?", (target,))
            finally:
                db.close()

    def size(self) -> int:
        """Return the bytes of the database and its log."""
        parts = (self.file, self.file.with_name(f"{self.file.name}-wal"))
        return sum(part.stat().st_size for part in parts if part.is_file())

    def _cut_log(self, db: sqlite3.Connection) -> None:
        """Give a long log back to the disk, as a large transaction leaves it, unless another process is reading from it."""
        if self.size() - self.file.stat().st_size > 2 * LOG_PAGES * PAGE_BYTES:
            db.execute("PRAGMA busy_timeout = 0")
            with suppress(sqlite3.OperationalError):
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.execute(f"PRAGMA busy_timeout = {int(1000 * self.wait)}")

    def _start_writing(self) -> None:
        self._writer = self._opened(read_only=False)
        # A snapshot has no log yet.
        self._writer.execute("PRAGMA journal_mode = WAL")
        if version_of(self._writer) < VERSION:
            with self.writing() as db:
                create_tables(db, VERSION)

    def _opened(self, read_only: bool, cache_kib: int = CACHE_KIB) -> sqlite3.Connection:
        address = f"{self.file.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
        if read_only and _is_on_read_only_disk(self.file):
            address += "&immutable=1"
        db = sqlite3.connect(
            address, timeout=self.wait, isolation_level=None, check_same_thread=False, uri=True, cached_statements=256
        )
        try:
            _set_up(db)
            db.execute(f"PRAGMA cache_size = -{cache_kib}")
        except BaseException:
            db.close()
            raise
        return db


def _set_up(db: sqlite3.Connection) -> None:
    """Set what SQLite does not store in the file: durability, and caution against an untrusted file."""
    for setting in (
        "trusted_schema = OFF",
        "cell_size_check = ON",
        # Without the memory map, a file that is cut by another program is an error and not the end of the process.
        "mmap_size = 0",
        "foreign_keys = ON",
        "synchronous = FULL",
        # Zeroes what is deleted within a page; whole pages are given back by `compact`.
        "secure_delete = FAST",
        f"wal_autocheckpoint = {LOG_PAGES}",
        f"journal_size_limit = {LOG_PAGES * PAGE_BYTES}",
    ):
        db.execute(f"PRAGMA {setting}")
    db.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 1)
    # Python 3.12 can forbid statements that damage the file.
    set_config = getattr(db, "setconfig", None)
    if set_config is not None:
        set_config(_DEFENSIVE, True)


def _is_on_read_only_disk(file: Path) -> bool:
    """Return whether SQLite can make no files for its log, and nobody else has made them who could write."""
    has_log = any(file.with_name(f"{file.name}{end}").exists() for end in ("-wal", "-shm"))
    return not has_log and not os.access(file.parent, os.W_OK)


def _check_file(file: Path) -> None:
    """Raise ValueError or OSError unless the file and its log are files and no links."""
    for part in (file, file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")):
        if part.is_symlink():
            raise ValueError(f"{part} is a link, and Pairlens opens no collection through one; give the file itself")
        if part == file or part.exists():
            regular_file(part)


def _end(db: sqlite3.Connection, statement: str) -> None:
    # After some errors SQLite has ended the transaction itself.
    with suppress(sqlite3.Error):
        if db.in_transaction:
            db.execute(statement)


def _as_sentence(error: sqlite3.Error, file: Path) -> Exception:
    """Return what to raise in place of an error of SQLite; its code is that of https://sqlite.org/rescode.html."""
    # The lowest byte is the primary code.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    match code:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return ValueError(
                f"{file} is being written to by another process; wait until it is done, or give a larger --wait"
            )
        case sqlite3.SQLITE_NOTADB:
            return ValueError(f"{file} is no database of SQLite, or its beginning is damaged; give another path")
        case sqlite3.SQLITE_CORRUPT:
            return ValueError(f"{file} is damaged ({error}); restore the collection from a snapshot")
        case sqlite3.SQLITE_FULL:
            return UnwritableError(
                f"{file} cannot be written (the disk is full), and its previous content is unchanged; free some space"
            )
        case sqlite3.SQLITE_NOMEM:
            return MemoryError(str(error))
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_IOERR | sqlite3.SQLITE_PERM:
            return UnwritableError(
                f"{file} cannot be opened or written ({error}), and its previous content is unchanged; get permission to "
                "write in its folder, which SQLite needs for reading too, or check the disk"
            )
        case _ if "closed" in str(error):
            return ValueError(f"{file} has been closed; open it again")
        case _:
            return ValueError(f"{file} cannot be used ({error}); check the collection")
