"""Empty stores of each kind, and items and vectors to fill them with; the tests of the contract run on every kind."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pairlens.collection.item import NewItem
from pairlens.collection.postgres_store import PostgresStore
from pairlens.collection.sqlite_store import SqliteStore
from pairlens.collection.store import Store
from pairlens.core.jpeg import encode_jpeg
from support.postgres_server import new_url

DIM = 8
THUMBNAIL = encode_jpeg(np.zeros((8, 8, 3), np.uint8), 90)
MODEL = "model-a"


@contextmanager
def sqlite_stores(folder: Path) -> Iterator[Callable[[], Store]]:
    """Yield a function that opens one new SQLite collection, as another process would: each call is a further object."""
    file = folder / "collection.sqlite"
    opened = [SqliteStore.create(file)]

    def open_again() -> Store:
        opened.append(SqliteStore.open(file))
        return opened[-1]

    yield open_again
    for store in opened:
        store.close()


@contextmanager
def postgres_stores(folder: Path) -> Iterator[Callable[[], Store]]:
    """Yield a function that opens one new collection on the PostgreSQL server of the session."""
    url = new_url()
    opened = [PostgresStore.create(url)]

    def open_again() -> Store:
        opened.append(PostgresStore.open(url))
        return opened[-1]

    yield open_again
    for store in opened:
        store.close()


# By name: from a new folder to a context that yields a function, which opens the same empty store at every call.
STORES = {"sqlite": sqlite_stores, "postgres": postgres_stores}


def unit_vectors(count: int, dim: int = DIM, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def photo(number: int, **changed) -> NewItem:
    """An item with a place of its own."""
    values = {
        "root": "/photos",
        "path": f"{'cat' if number % 2 else 'dog'}/{number}.jpg",
        "digest": f"{number:064x}",
        "label": "cat" if number % 2 else "dog",
        "metadata": {"price": number, "sold": number % 3 == 0},
        "width": 640,
        "height": 480,
        "look": (number << 50) % (1 << 64),
        "thumbnail": THUMBNAIL,
    }
    return NewItem(**{**values, **changed})


def fill(store: Store, count: int, dim: int = DIM, seed: int = 0) -> tuple[list[int], np.ndarray]:
    """Add photos with their vectors, and return both their ids and the vectors."""
    vectors = unit_vectors(count, dim, seed)
    store.start_model(MODEL, dim)
    return store.add([photo(number) for number in range(count)], vectors, MODEL), vectors
