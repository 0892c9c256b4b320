"""The contract of a store: where the items, vectors and documents of a collection lie, and how they are searched.

Two stores keep it: `SqliteStore`, one file with a FAISS index in memory, and `PostgresStore`, a PostgreSQL server with
pgvector. Every method that writes is one transaction: when it returns, its work survives a kill of the process and, with the
settings that the stores use, a loss of power; before, none of it is visible.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np

from pairlens.collection.filters import Condition
from pairlens.collection.item import Item, NewItem, Value

# How a search is done: over all vectors, or over a part that an index chooses if the store has one.
SearchMode: TypeAlias = Literal["auto", "exact"]
# What the vectors of a model are for: searches use those of the active model, a migration writes those of a new one, and
# those of the former one are kept for a return.
ModelState: TypeAlias = Literal["active", "new", "former"]


@dataclass(frozen=True)
class StoredModel:
    """A model whose vectors a store holds: its fingerprint, the dimension of its vectors, and what they are for."""

    fingerprint: str
    dim: int
    state: ModelState
    since: float


@dataclass(frozen=True)
class IndexRecall:
    """The share of the exact nearest items that a search finds.

    Attributes:
        recall: 1 for an exact search; else as measured on a sample of the collection's own items.
        low, high: its interval at 95 %.
        k: number of neighbours in the measurement.
        queries: number of items that were searched for in the measurement; 0 for an exact search.
    """

    recall: float = 1.0
    low: float = 1.0
    high: float = 1.0
    k: int = 0
    queries: int = 0

    @property
    def is_exact(self) -> bool:
        """Whether the search misses nothing."""
        return self.queries == 0


EXACT = IndexRecall()


@dataclass(frozen=True, eq=False)
class Found:
    """The nearest items of several queries.

    Attributes:
        ids: int64 (query, k) numbers of items, nearest first; -1 where there are fewer than k.
        scores: float32 (query, k) cosines; -inf where there is no item.
        recall: of the search.
    """

    ids: np.ndarray
    scores: np.ndarray
    recall: IndexRecall


@dataclass(frozen=True)
class Fault:
    """Something that a check of a store has found.

    Attributes:
        what: one sentence that names the item or part and what is wrong.
        repaired: whether the check has put it right, which it does with everything that is derived.
    """

    what: str
    repaired: bool = False


class Store(Protocol):
    """Where a collection lies.

    Ids are int64 and rise; vectors are float32 (item, dim) of length 1, of the model that is named by its fingerprint.
    Methods that take ids ignore those that do not exist, unless they say otherwise. Filters are those of `as_conditions`.
    """

    @property
    def name(self) -> str:
        """Where the store is, for messages; without a password."""
        ...

    @property
    def identity(self) -> str:
        """A random number, in hexadecimal digits, that the collection got when it was made."""
        ...

    def close(self) -> None:
        """Release everything; another call does nothing."""
        ...

    # Reading.

    def count(self, where: Mapping[str, Condition] | None = None) -> int:
        """Return the number of items that a filter lets through."""
        ...

    def ids(self, where: Mapping[str, Condition] | None = None) -> np.ndarray:
        """Return int64 (item,) the ids that a filter lets through, rising."""
        ...

    def items(self, ids: Sequence[int] | np.ndarray) -> list[Item]:
        """Return items in the order of their ids; an id that does not exist is left out."""
        ...

    def page(self, after: int, limit: int, where: Mapping[str, Condition] | None = None) -> list[Item]:
        """Return at most `limit` items with an id above `after`, by rising id."""
        ...

    def at(self, root: str, paths: Sequence[str]) -> list[Item]:
        """Return all items of some paths below a root, regions included."""
        ...

    def with_digests(self, digests: Sequence[str]) -> list[Item]:
        """Return all items whose photo has one of some digests."""
        ...

    def roots(self) -> dict[str, int]:
        """Return the roots with their numbers of items."""
        ...

    def labels(self) -> dict[str | None, int]:
        """Return the labels with their numbers of items, most frequent first; None is the missing label."""
        ...

    def metadata_keys(self) -> dict[str, int]:
        """Return the keys of the metadata with the number of items that have each, most frequent first."""
        ...

    def label_array(self) -> tuple[np.ndarray, list[str | None]]:
        """Return (item, 2) int64 rows of an id and the position of its label in the list, by rising id; and the list."""
        ...

    def thumbnails(self, ids: Sequence[int] | np.ndarray) -> dict[int, bytes]:
        """Return the JPEG thumbnails by id; items without one are left out."""
        ...

    def original(self, id: int) -> bytes | None:
        """Return the bytes of a photo that the collection keeps, None if it keeps none."""
        ...

    def change(self) -> int:
        """Return the number of the last change; it rises with every change that any process makes."""
        ...

    # Writing.

    def add(self, items: Sequence[NewItem], vectors: np.ndarray, model: str) -> list[int]:
        """Add items with their (item, dim) vectors, and return their ids.

        Raises:
            ValueError: if the active model is another one, a vector has another dimension, is not finite or not of length
                1, or an item with this root, path and region exists.
        """
        ...

    def replace(self, ids: Sequence[int], items: Sequence[NewItem], vectors: np.ndarray, model: str) -> None:
        """Replace the photo and the vector of items that exist; ids stay. Label and metadata become those of the new items.

        Vectors of other models, of a migration, are dropped for these items. Raises as `add`, and for an unknown id.
        """
        ...

    def move(self, ids: Sequence[int], root: str, paths: Sequence[str]) -> None:
        """Give items other paths, for photos that were renamed."""
        ...

    def relabel(self, ids: Sequence[int], label: str | None) -> int:
        """Set the label of items; returns how many there were."""
        ...

    def set_metadata(self, ids: Sequence[int], metadata: Sequence[Mapping[str, Value]]) -> int:
        """Replace the metadata of items; returns how many there were."""
        ...

    def remove(self, ids: Sequence[int] | np.ndarray) -> int:
        """Remove items with everything that belongs to them; returns how many there were."""
        ...

    # Vectors.

    def models(self) -> list[StoredModel]:
        """Return the models whose vectors are stored, the active one first; an empty list in a new store."""
        ...

    def start_model(self, fingerprint: str, dim: int) -> None:
        """Declare a model; the first one of a store becomes active, a later one is new. Does nothing if it is declared.

        Raises:
            ValueError: if it is declared with another dimension, or another model is new already.
        """
        ...

    def without_vector(self, model: str, limit: int) -> np.ndarray:
        """Return at most `limit` ids of items that have no vector of a model, rising."""
        ...

    def add_vectors(self, model: str, ids: Sequence[int], vectors: np.ndarray) -> None:
        """Store vectors of a model that is not active, for items that have none yet; unknown ids are left out."""
        ...

    def activate_model(self, model: str) -> None:
        """Make a new or former model the active one, in one step, and the active one the former; an older former is dropped.

        Raises:
            ValueError: naming how many items have no vector of this model; then nothing is changed.
        """
        ...

    def drop_model(self, model: str) -> None:
        """Delete the vectors of a model that is not active."""
        ...

    def vectors(self, ids: Sequence[int] | np.ndarray, model: str | None = None) -> np.ndarray:
        """Return float32 (item, dim) vectors of items in the order of the ids, by default of the active model.

        Raises:
            ValueError: naming an id that has none.
        """
        ...

    def vector_blocks(self, model: str | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield all (ids, vectors) of a model in blocks, in no promised order; each item once."""
        ...

    def search(
        self,
        queries: np.ndarray,
        k: int,
        where: Mapping[str, Condition] | None = None,
        without: Sequence[int] | np.ndarray = (),
        mode: SearchMode = "auto",
        recall: float = 0.95,
    ) -> Found:
        """Return the k nearest items of float32 (query, dim) unit vectors, as the store is at this moment.

        Args:
            queries: of the active model.
            k: number of items, at least 1; more than there are is filled up with -1.
            where: a filter; with it and in exact mode, k items are found if k exist.
            without: ids that must not be found.
            mode: "exact" searches all vectors; "auto" may use an approximate index, which the store measures.
            recall: the share of the exact results that an approximate index must reach in its measurement.

        Raises:
            ValueError: if the queries have another dimension than the active model.
        """
        ...

    # Documents: small named texts and files that belong to the collection, such as its calibration and its model.

    def write_document(self, name: str, contents: bytes) -> None:
        """Store a document, in place of an earlier one of this name."""
        ...

    def document(self, name: str) -> bytes | None:
        """Return a document, None if there is none."""
        ...

    def documents(self) -> list[str]:
        """Return the names of all documents, sorted."""
        ...

    def remove_document(self, name: str) -> None:
        """Remove a document if it exists."""
        ...

    # Care.

    def check(self) -> list[Fault]:
        """Prove the store against itself and repair what is derived; an empty list if all is well."""
        ...

    def compact(self) -> None:
        """Rewrite what removals have left behind, drop derived indexes, and give the space back to the disk."""
        ...

    def size(self) -> int:
        """Return the bytes that the store takes on its disk."""
        ...

    def snapshot(self, target: str) -> None:
        """Write a consistent copy of the store to a file that does not exist yet, while others may go on writing.

        Raises:
            ValueError: if the store cannot do that itself; the message says what does.
        """
        ...
