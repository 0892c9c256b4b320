"""A collection on a PostgreSQL server with pgvector: for many writers, and more readers than one machine serves."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from pairlens.collection import postgres_items as rows
from pairlens.collection import postgres_models as models
from pairlens.collection import postgres_writing as writing
from pairlens.collection.filters import Condition
from pairlens.collection.item import Item, NewItem, Value
from pairlens.collection.postgres_address import parse_address
from pairlens.collection.postgres_care import check_index, check_store, rewrite_tables, size_of_tables
from pairlens.collection.postgres_filters import filter_sql
from pairlens.collection.postgres_schema import check_schema, make_schema
from pairlens.collection.postgres_search import VectorQuery
from pairlens.collection.postgres_searcher import PostgresSearcher
from pairlens.collection.postgres_sessions import PostgresSessions
from pairlens.collection.store import Fault, Found, SearchMode, StoredModel

if TYPE_CHECKING:
    from psycopg import Cursor

# Seconds that another process may write before this one gives up.
WAIT = 30.0
# Up to this many items, a search is exact: it takes a few hundredths of a second.
INDEX_ABOVE = 20_000
BLOCK = 4096


class PostgresStore:
    """A store on a PostgreSQL server; any number of processes may have it open, and threads may share it.

    The HNSW index is built by the first search that needs it, which takes a minute for 60,000 vectors of 512 dimensions, and
    by `build_index`. Searches of other processes are exact until then.
    """

    def __init__(self, sessions: PostgresSessions, identity: str, index_above: int) -> None:
        self._sessions = sessions
        self._identity = identity
        self._searcher = PostgresSearcher(sessions, index_above)

    @classmethod
    def create(
        cls, url: str, name: str | None = None, wait: float = WAIT, index_above: int = INDEX_ABOVE
    ) -> "PostgresStore":
        """Make an empty collection in a database that exists, and open it.

        Args:
            url: as `postgresql://user@host/database?collection=NAME`.
            name: of the collection, instead of the one in the URL; the default of both is "photos".
            wait: seconds that another process may write before this one gives up.
            index_above: number of items up to which searches are exact.

        Raises:
            ValueError: if the collection exists, or the database cannot hold one.
            OSError: if the server cannot be reached or refuses it.
        """
        sessions = PostgresSessions(parse_address(url, name), wait)
        with closing(sessions):
            sessions.write(lambda cursor: make_schema(cursor, sessions.address))
        return cls.open(url, name, wait, index_above)

    @classmethod
    def open(
        cls,
        url: str,
        name: str | None = None,
        wait: float = WAIT,
        index_above: int = INDEX_ABOVE,
        read_only: bool = False,
    ) -> "PostgresStore":
        """Open a collection; arguments and errors as in `create`, and FileNotFoundError if it does not exist.

        With `read_only`, everything that writes is refused.
        """
        sessions = PostgresSessions(parse_address(url, name), wait, read_only)
        try:
            sessions.extension_schema, identity = sessions.read(lambda cursor: check_schema(cursor, sessions.address))
        except BaseException:
            sessions.close()
            raise
        return cls(sessions, identity, index_above)

    @property
    def name(self) -> str:
        """The URL of the collection without a password."""
        return self._sessions.address.shown

    @property
    def identity(self) -> str:
        """A random number that the collection got when it was made."""
        return self._identity

    def close(self) -> None:
        """Close all connections; another call does nothing."""
        self._sessions.close()

    # Reading.

    def count(self, where: Mapping[str, Condition] | None = None) -> int:
        """Return the number of items that a filter lets through."""
        return self._sessions.read(lambda cursor: rows.count_rows(cursor, where))

    def ids(self, where: Mapping[str, Condition] | None = None) -> np.ndarray:
        """Return int64 (item,) the ids that a filter lets through, rising."""
        return self._sessions.read(lambda cursor: rows.filtered_ids(cursor, where))

    def items(self, ids: Sequence[int] | np.ndarray) -> list[Item]:
        """Return items in the order of their ids."""
        return self._sessions.read(lambda cursor: rows.items_by_ids(cursor, ids))

    def page(self, after: int, limit: int, where: Mapping[str, Condition] | None = None) -> list[Item]:
        """Return at most `limit` items with an id above `after`, by rising id."""
        from psycopg import sql

        condition, values = filter_sql(where)
        both = sql.SQL("i.id > %s AND {}").format(condition)
        return self._sessions.read(lambda cursor: rows.select_items(cursor, both, [after, *values], limit))

    def at(self, root: str, paths: Sequence[str]) -> list[Item]:
        """Return all items of some paths below a root."""
        return self._sessions.read(lambda cursor: rows.items_at_paths(cursor, root, paths))

    def with_digests(self, digests: Sequence[str]) -> list[Item]:
        """Return all items whose photo has one of some digests."""
        return self._sessions.read(lambda cursor: rows.items_of_digests(cursor, digests))

    def roots(self) -> dict[str, int]:
        """Return the roots with their numbers of items."""
        return dict(self._all("SELECT root, count(*) FROM items GROUP BY root ORDER BY root"))

    def labels(self) -> dict[str | None, int]:
        """Return the labels with their numbers of items, most frequent first."""
        return dict(self._all("SELECT label, count(*) FROM items GROUP BY label ORDER BY count(*) DESC, label"))

    def metadata_keys(self) -> dict[str, int]:
        """Return the keys of the metadata with their numbers of items, most frequent first."""
        text = "SELECT key, count(*) FROM items, jsonb_object_keys(metadata) AS key GROUP BY key"
        return dict(self._all(f"{text} ORDER BY count(*) DESC, key"))

    def label_array(self) -> tuple[np.ndarray, list[str | None]]:
        """Return (item, 2) int64 rows of an id and the position of its label in the list; and the list."""
        return self._sessions.read(rows.label_positions)

    def thumbnails(self, ids: Sequence[int] | np.ndarray) -> dict[int, bytes]:
        """Return the JPEG thumbnails by id."""
        text = "SELECT item, contents FROM thumbnails WHERE item = ANY(%s::bigint[])"
        return {number: bytes(contents) for number, contents in self._all(text, [rows.as_ids(ids)])}

    def original(self, id: int) -> bytes | None:
        """Return the bytes of a photo that the collection keeps."""
        found = self._all("SELECT contents FROM originals WHERE item = %s", [int(id)])
        return bytes(found[0][0]) if found else None

    def change(self) -> int:
        """Return the number of the last change."""
        return self._all("SELECT change FROM state")[0][0]

    def _all(self, text: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        statement: Any = text
        return self._sessions.read(lambda cursor: cursor.execute(statement, values).fetchall())

    # Writing.

    def add(self, items: Sequence[NewItem], vectors: np.ndarray, model: str) -> list[int]:
        """Add items with their vectors, and return their ids."""
        return self._sessions.write(lambda cursor: writing.add_items(cursor, items, vectors, model))

    def replace(self, ids: Sequence[int], items: Sequence[NewItem], vectors: np.ndarray, model: str) -> None:
        """Replace the photo and the vector of items that exist."""
        self._sessions.write(lambda cursor: writing.replace_items(cursor, ids, items, vectors, model))

    def move(self, ids: Sequence[int], root: str, paths: Sequence[str]) -> None:
        """Give items other paths."""
        self._change(lambda cursor: rows.move_rows(cursor, ids, root, paths))

    def relabel(self, ids: Sequence[int], label: str | None) -> int:
        """Set the label of items; returns how many there were."""
        text = "UPDATE items SET label = %s WHERE id = ANY(%s::bigint[])"
        return self._change(lambda cursor: cursor.execute(text, [label, rows.as_ids(ids)]).rowcount)

    def set_metadata(self, ids: Sequence[int], metadata: Sequence[Mapping[str, Value]]) -> int:
        """Replace the metadata of items; returns how many there were."""
        return self._change(lambda cursor: rows.set_metadata_rows(cursor, ids, metadata))

    def remove(self, ids: Sequence[int] | np.ndarray) -> int:
        """Remove items with everything that belongs to them; returns how many there were."""
        return self._sessions.write(lambda cursor: writing.remove_items(cursor, ids))

    def _change(self, work: "Callable[[Cursor[Any]], int]") -> int:
        """Do something in a transaction, and count it as a change if it changes at least one row."""

        def counted(cursor: "Cursor[Any]") -> int:
            changed = work(cursor)
            if changed:
                rows.count_change(cursor)
            return changed

        return self._sessions.write(counted)

    # Vectors.

    def models(self) -> list[StoredModel]:
        """Return the models whose vectors are stored, the active one first."""
        found = self._sessions.read(models.model_tables)
        return [StoredModel(model.fingerprint, model.dim, model.state, model.since) for model in found]

    def start_model(self, fingerprint: str, dim: int) -> None:
        """Declare a model."""
        self._change(lambda cursor: models.declare_model(cursor, fingerprint, dim))

    def without_vector(self, model: str, limit: int) -> np.ndarray:
        """Return at most `limit` ids of items that have no vector of a model, rising."""
        return self._sessions.read(lambda cursor: models.missing_ids(cursor, models.model_table(cursor, model), limit))

    def add_vectors(self, model: str, ids: Sequence[int], vectors: np.ndarray) -> None:
        """Store vectors of a model that is not active, for items that have none yet."""
        self._change(lambda cursor: writing.add_missing(cursor, model, ids, vectors))

    def activate_model(self, model: str) -> None:
        """Make a new or former model the active one, in one step."""
        self._change(lambda cursor: models.make_active(cursor, model))

    def drop_model(self, model: str) -> None:
        """Delete the vectors of a model that is not active."""
        self._change(lambda cursor: writing.drop_named(cursor, model))

    def vectors(self, ids: Sequence[int] | np.ndarray, model: str | None = None) -> np.ndarray:
        """Return float32 (item, dim) vectors of items in the order of the ids."""
        return self._sessions.read(lambda cursor: models.vectors_of(cursor, models.model_table(cursor, model), ids))

    def vector_blocks(self, model: str | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield all (ids, vectors) of a model in blocks, by rising id; no transaction is open between two blocks."""
        table = self._sessions.read(lambda cursor: models.model_table(cursor, model))
        last = 0
        while True:
            after = last
            ids, vectors = self._sessions.read(
                lambda cursor, after=after: models.vector_block(cursor, table, after, BLOCK)
            )
            if not len(ids):
                return
            yield ids, vectors
            last = int(ids[-1])

    def search(
        self,
        queries: np.ndarray,
        k: int,
        where: Mapping[str, Condition] | None = None,
        without: Sequence[int] | np.ndarray = (),
        mode: SearchMode = "auto",
        recall: float = 0.95,
    ) -> Found:
        """Return the k nearest items of float32 (query, dim) unit vectors; see `Store.search`."""
        if k < 1:
            raise ValueError(f"k is {k}, but at least 1 item must be searched for")
        if not 0 < recall <= 1 or mode not in ("auto", "exact"):
            raise ValueError(f"the recall {recall} must be above 0 and up to 1, and the mode {mode!r} auto or exact")
        query = VectorQuery(np.asarray(queries, np.float32), int(k), where, without)
        if not np.isfinite(query.vectors).all():
            raise ValueError("a query has values that are not finite; embed the photo again, or check its model")
        return self._searcher.search(query, recall, is_exact=mode == "exact")

    def build_index(self) -> None:
        """Build the HNSW index of the active model unless it exists, and measure its recall, while others go on.

        Raises:
            OSError: if this user may not do that.
        """
        self._searcher.build()

    # Documents.

    def write_document(self, name: str, contents: bytes) -> None:
        """Store a document, in place of an earlier one of this name."""
        text = "INSERT INTO documents (name, contents) VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET contents = %s"
        self._change(lambda cursor: cursor.execute(text, [name, contents, contents]).rowcount)

    def document(self, name: str) -> bytes | None:
        """Return a document, None if there is none."""
        found = self._all("SELECT contents FROM documents WHERE name = %s", [name])
        return bytes(found[0][0]) if found else None

    def documents(self) -> list[str]:
        """Return the names of all documents, sorted."""
        return [name for (name,) in self._all("SELECT name FROM documents ORDER BY name")]

    def remove_document(self, name: str) -> None:
        """Remove a document if it exists."""
        text = "DELETE FROM documents WHERE name = %s"
        self._change(lambda cursor: cursor.execute(text, [name]).rowcount)

    # Care.

    def check(self) -> list[Fault]:
        """Prove the tables against each other and repair what is derived."""
        faults = self._sessions.write(check_store)
        with self._sessions.alone() as cursor:
            return faults + check_index(cursor)

    def compact(self) -> None:
        """Rewrite all tables without what was removed, and their indexes; others wait meanwhile."""
        with self._sessions.alone() as cursor:
            rewrite_tables(cursor)

    def size(self) -> int:
        """Return the bytes that the collection takes in the database."""
        return self._sessions.read(size_of_tables)

    def snapshot(self, target: str) -> None:
        """Raise ValueError: PostgreSQL has its own copies."""
        raise ValueError(
            f"a collection on PostgreSQL is copied by its own tools, not into {target}; run: pg_dump --format=custom "
            f"--schema={self._sessions.address.schema} --file=FILE DATABASE"
        )
