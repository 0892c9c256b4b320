"""A collection in one SQLite file, searched by an index in memory: the store that needs no server."""

# ruff: noqa: D102 (the methods are described in the contract)

import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from pairlens.collection import sqlite_items as rows
from pairlens.collection import sqlite_models as models
from pairlens.collection import sqlite_statistics as statistics
from pairlens.collection.change_log import ChangeKind, last_change, log_change, shorten_log
from pairlens.collection.filters import Condition
from pairlens.collection.inverted_file import drop_lists
from pairlens.collection.item import Item, NewItem, Value
from pairlens.collection.live_index import LiveIndex, identity_of
from pairlens.collection.sqlite_check import check_database
from pairlens.collection.sqlite_database import SqliteDatabase
from pairlens.collection.store import Fault, Found, SearchMode, StoredModel
from pairlens.collection.unit_vectors import unit_rows
from pairlens.collection.vector_blocks import (
    append_vectors,
    as_json_list,
    forget_vectors,
    iterate_blocks,
    overwrite_vectors,
    read_vectors,
    rewrite_blocks,
)
from pairlens.core.files import atomic_write

# An exact search of more vectors than this takes longer than people like to wait for.
IVF_ABOVE = 200_000


class SqliteStore:
    """The contract of `Store`, kept by a SQLite file; the methods are described there.

    Several processes may read while one writes; a second one that writes waits. An object may be used by several threads.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     store = SqliteStore.create(Path(folder) / "collection.sqlite")
    ...     store.start_model("model", 2)
    ...     ids = store.add([NewItem("/photos", "a.jpg", "0" * 64)], np.array([[0.0, 1.0]], np.float32), "model")
    ...     found = store.search(np.array([[0.6, 0.8]], np.float32), k=1)
    ...     store.close()
    >>> ids, found.ids.tolist(), found.scores.round(2)
    ([1], [[1]], array([[0.8]], dtype=float32))
    """

    def __init__(self, database: SqliteDatabase, ivf_above: int = IVF_ABOVE) -> None:
        self._database = database
        self._index = LiveIndex(database, ivf_above)

    @classmethod
    def create(cls, file: Path, wait: float = 30.0, ivf_above: int = IVF_ABOVE) -> "SqliteStore":
        """Make an empty collection in a file that does not exist yet; raises ValueError if it does.

        Args:
            file: its path; SQLite writes two further files beside it.
            wait: seconds that a writer waits for another one.
            ivf_above: number of items above which the mode "auto" searches approximately.
        """
        database = SqliteDatabase.create(file, wait)
        with database.writing() as db:
            db.execute("INSERT INTO facts (name, value) VALUES ('identity', ?)", (secrets.token_hex(16),))
        return cls(database, ivf_above)

    @classmethod
    def open(cls, file: Path, wait: float = 30.0, read_only: bool = False, ivf_above: int = IVF_ABOVE) -> "SqliteStore":
        """Open a collection; raises ValueError or OSError if the file is none, is damaged or cannot be used."""
        return cls(SqliteDatabase(file, wait, read_only), ivf_above)

    @property
    def name(self) -> str:
        # The folder of the collection is what its user knows; the name of the file is always the same.
        return str(self._database.file.parent)

    @property
    def identity(self) -> str:
        with self._database.reading() as db:
            return identity_of(db)

    def close(self) -> None:
        self._database.close()

    # Reading.

    def count(self, where: Mapping[str, Condition] | None = None) -> int:
        with self._database.reading() as db:
            return rows.count_items(db, where)

    def ids(self, where: Mapping[str, Condition] | None = None) -> np.ndarray:
        with self._database.reading() as db:
            return rows.item_ids(db, where)

    def items(self, ids: Sequence[int] | np.ndarray) -> list[Item]:
        with self._database.reading() as db:
            return rows.items_by_id(db, ids)

    def page(self, after: int, limit: int, where: Mapping[str, Condition] | None = None) -> list[Item]:
        with self._database.reading() as db:
            return rows.item_page(db, after, limit, where)

    def at(self, root: str, paths: Sequence[str]) -> list[Item]:
        with self._database.reading() as db:
            return rows.items_at(db, root, paths)

    def with_digests(self, digests: Sequence[str]) -> list[Item]:
        with self._database.reading() as db:
            return rows.items_with_digests(db, digests)

    def roots(self) -> dict[str, int]:
        with self._database.reading() as db:
            return statistics.root_counts(db)

    def labels(self) -> dict[str | None, int]:
        with self._database.reading() as db:
            return statistics.label_counts(db)

    def metadata_keys(self) -> dict[str, int]:
        with self._database.reading() as db:
            return statistics.metadata_key_counts(db)

    def label_array(self) -> tuple[np.ndarray, list[str | None]]:
        with self._database.reading() as db:
            return statistics.labels_by_id(db)

    def thumbnails(self, ids: Sequence[int] | np.ndarray) -> dict[int, bytes]:
        with self._database.reading() as db:
            found = db.execute(
                "SELECT item, CAST(jpeg AS BLOB) FROM thumbnails WHERE item IN (SELECT value FROM json_each(?))",
                (as_json_list(ids),),
            )
            return dict(found.fetchall())

    def original(self, id: int) -> bytes | None:
        with self._database.reading() as db:
            row = db.execute("SELECT CAST(contents AS BLOB) FROM originals WHERE item = ?", (int(id),)).fetchone()
        return None if row is None else row[0]

    def change(self) -> int:
        with self._database.reading() as db:
            return last_change(db)

    # Writing.

    def add(self, items: Sequence[NewItem], vectors: np.ndarray, model: str) -> list[int]:
        if not items:
            return []
        with self._database.writing() as db:
            active = models.checked_active_model(db, model)
            vectors = unit_rows(vectors, len(items), active.dim)
            ids = rows.insert_items(db, items)
            append_vectors(db, active, np.array(ids, np.int64), vectors)
            log_change(db, ChangeKind.VECTORS, ids)
        return ids

    def replace(self, ids: Sequence[int], items: Sequence[NewItem], vectors: np.ndarray, model: str) -> None:
        if not len(ids):
            return
        numbers = np.asarray(ids, np.int64)
        with self._database.writing() as db:
            active = models.checked_active_model(db, model)
            vectors = unit_rows(vectors, len(items), active.dim)
            rows.overwrite_items(db, numbers.tolist(), items)
            overwrite_vectors(db, active, numbers, vectors)
            for other in models.model_rows(db):
                if other != active:
                    forget_vectors(db, other, numbers)
            log_change(db, ChangeKind.VECTORS, numbers)

    def move(self, ids: Sequence[int], root: str, paths: Sequence[str]) -> None:
        with self._database.writing() as db:
            rows.move_items(db, ids, root, paths)
            log_change(db, ChangeKind.OTHER)

    def relabel(self, ids: Sequence[int], label: str | None) -> int:
        with self._database.writing() as db:
            count = rows.relabel_items(db, ids, label)
            log_change(db, ChangeKind.OTHER)
        return count

    def set_metadata(self, ids: Sequence[int], metadata: Sequence[Mapping[str, Value]]) -> int:
        with self._database.writing() as db:
            count = rows.set_item_metadata(db, ids, metadata)
            log_change(db, ChangeKind.OTHER)
        return count

    def remove(self, ids: Sequence[int] | np.ndarray) -> int:
        with self._database.writing() as db:
            existing = rows.existing_ids(db, ids)
            for model in models.model_rows(db):
                forget_vectors(db, model, existing)
            rows.delete_items(db, existing)
            log_change(db, ChangeKind.VECTORS, existing)
        return len(existing)

    # Vectors.

    def models(self) -> list[StoredModel]:
        with self._database.reading() as db:
            return models.stored_models(db)

    def start_model(self, fingerprint: str, dim: int) -> None:
        with self._database.writing() as db:
            models.start_model(db, fingerprint, dim)

    def without_vector(self, model: str, limit: int) -> np.ndarray:
        with self._database.reading() as db:
            return models.ids_without_vector(db, models.named_model(db, model), limit)

    def add_vectors(self, model: str, ids: Sequence[int], vectors: np.ndarray) -> None:
        with self._database.writing() as db:
            named = models.named_model(db, model)
            numbers = np.asarray(ids, np.int64)
            models.add_missing_vectors(db, named, numbers, unit_rows(vectors, len(ids), named.dim))

    def activate_model(self, model: str) -> None:
        with self._database.writing() as db:
            models.activate_model(db, model)

    def drop_model(self, model: str) -> None:
        with self._database.writing() as db:
            models.drop_model(db, models.named_model(db, model))

    def vectors(self, ids: Sequence[int] | np.ndarray, model: str | None = None) -> np.ndarray:
        wanted, inverse = np.unique(np.asarray(ids, np.int64), return_inverse=True)
        with self._database.reading() as db:
            named = models.chosen_model(db, model)
            found, vectors = read_vectors(db, named, wanted)
        missing = np.setdiff1d(wanted, found, assume_unique=True)
        if len(missing):
            raise ValueError(f"item {missing[0]} has no vector of the model {named.fingerprint}")
        return vectors[np.argsort(found)][inverse]

    def vector_blocks(self, model: str | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        with self._database.reading_apart() as db:
            yield from iterate_blocks(db, models.chosen_model(db, model))

    def search(
        self,
        queries: np.ndarray,
        k: int,
        where: Mapping[str, Condition] | None = None,
        without: Sequence[int] | np.ndarray = (),
        mode: SearchMode = "auto",
        recall: float = 0.95,
    ) -> Found:
        if k < 1:
            raise ValueError(f"k is {k}, but at least one item must be searched for")
        queries = np.asarray(queries, np.float32)
        if not np.isfinite(queries).all():
            raise ValueError("a query is not finite; look for NaN or overflow where it was embedded")
        approximate = mode == "auto" and not where
        with self._index.lock:
            self._index.prepare(approximate)
            # One state of the database for the vectors and the filter.
            with self._database.reading() as db:
                self._index.refresh(db)
                allowed = self._index.allowed(db, where) if where else None
            excluded = np.asarray(without, np.int64).reshape(-1)
            return self._index.search(queries, k, allowed, excluded, recall if approximate else None)

    # Documents.

    def write_document(self, name: str, contents: bytes) -> None:
        with self._database.writing() as db:
            statistics.write_document(db, name, contents)
            log_change(db, ChangeKind.OTHER)

    def document(self, name: str) -> bytes | None:
        with self._database.reading() as db:
            return statistics.read_document(db, name)

    def documents(self) -> list[str]:
        with self._database.reading() as db:
            return statistics.document_names(db)

    def remove_document(self, name: str) -> None:
        with self._database.writing() as db:
            db.execute("DELETE FROM documents WHERE name = ?", (name,))
            log_change(db, ChangeKind.OTHER)

    # Care.

    def check(self) -> list[Fault]:
        return check_database(self._database, self._index)

    def compact(self) -> None:
        with self._database.writing() as db:
            for model in models.model_rows(db):
                rewrite_blocks(db, model)
            rows.drop_unused_roots(db)
            shorten_log(db, 1)
        with self._database.maintaining() as db:
            db.execute("VACUUM")
            # The log holds old pages until it is copied into the database and cut.
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        drop_lists(self._database.file)

    def size(self) -> int:
        return self._database.size()

    def snapshot(self, target: str) -> None:
        file = Path(target)
        if file.exists() or file.is_symlink():
            raise ValueError(f"{file} exists already; choose another path for the snapshot")
        with atomic_write(file) as part:
            part.close()
            self._database.copy(part.name)
