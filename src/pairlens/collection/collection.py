"""A collection: photos that can be searched at once, with everything that is done to them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pairlens.collection.arguments import as_item_ids, as_region, checked_label, listed_photos
from pairlens.collection.collection_model import CollectionModel, as_model, load_model, save_model
from pairlens.collection.expand_query import expand_query
from pairlens.collection.filters import Wanted, as_conditions
from pairlens.collection.given_photos import add_given_photos
from pairlens.collection.indexing import Indexing
from pairlens.collection.ingest import IndexEngine, Progress, show_nothing
from pairlens.collection.ingested import Ingested, Removal
from pairlens.collection.item import Item, Region, Value, checked_metadata
from pairlens.collection.location import WAIT_SECONDS, create_store, open_store
from pairlens.collection.search import QueryEmbedder, SearchResult
from pairlens.collection.searcher import Searcher
from pairlens.collection.sources import Labels
from pairlens.collection.store import Fault, SearchMode, Store, StoredModel
from pairlens.core.whole_number import as_whole_number
from pairlens.model.photo_input import single_photos

if TYPE_CHECKING:
    from pairlens.collection.calibration import Calibration
    from pairlens.collection.duplicate_photos import DuplicatePhotos
    from pairlens.collection.http_client import RemoteCollection
    from pairlens.collection.label_suspects import LabelSuspects
    from pairlens.collection.migration import Migrated

Photos = Any


class Collection:
    """Photos with their vectors, labels and metadata, in a folder or a PostgreSQL database.

    Open or make one with `Collection.open` and `Collection.create`, and use it in a `with` statement. What a method has
    returned from is on the disk. Other processes may read and write at the same time.

    Example:
        with pl.Collection.create("shop") as shop:
            shop.add("photos/")
            result = shop.search("query.jpg", k=10, where={"label": ["dress", "skirt"]})
            print(result.verdict, result[0].path, result[0].score)
    """

    def __init__(self, store: Store, model: CollectionModel | None = None) -> None:
        """Wrap an open store; use `Collection.open` or `Collection.create` instead."""
        self.store = store
        self._given_model = model

    @classmethod
    def create(
        cls, location: str | Path, model: str | Path | CollectionModel | None = None, *, wait: float = WAIT_SECONDS
    ) -> Self:
        """Make an empty collection.

        Args:
            location: a folder that does not exist yet, or `postgresql://user@host/database?collection=NAME`.
            model: the folder of a run, an ONNX file or the name of a backbone; by default the best backbone whose weights
                are installed, as it comes. "none" for vectors that were computed elsewhere.
            wait: seconds that a writer waits for another one.

        Raises:
            ValueError: if there is a collection already, or the model cannot be opened.
            OSError: if it cannot be written there.
        """
        # Opened first, so that a wrong name leaves no empty collection behind.
        opened = None if model == "none" else as_model(model)
        collection = cls(create_store(location, wait), opened)
        if opened is not None:
            collection.start(opened)
        return collection

    @classmethod
    def open(cls, location: str | Path, *, wait: float = WAIT_SECONDS, read_only: bool = False) -> Self:
        """Open a collection.

        Args:
            location: the folder or the address that it was made with.
            wait: seconds that a writer waits for another one.
            read_only: whether everything that changes the collection is refused.

        Raises:
            ValueError: if there is none, or it is damaged or of a newer version.
        """
        return cls(open_store(location, wait, read_only))

    def start(self, model: CollectionModel) -> None:
        """Give a collection without vectors its model."""
        save_model(model, self.store)
        self.store.start_model(model.fingerprint, model.dim)
        self._given_model = model

    @classmethod
    def connect(cls, address: str, *, token: str | None = None, timeout: float = 60.0) -> "RemoteCollection":
        """Return a collection that `pairlens serve` serves, with the same verbs; see `RemoteCollection.connect`."""
        from pairlens.collection.http_client import RemoteCollection

        return RemoteCollection.connect(address, token=token, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release files and connections; another call does nothing."""
        self.store.close()

    def __len__(self) -> int:
        """Return the number of photos, or of regions of photos."""
        return self.store.count()

    @property
    def name(self) -> str:
        """Where the collection is."""
        return self.store.name

    @property
    def active(self) -> StoredModel:
        """The model whose vectors are searched; raises ValueError if there is none yet."""
        models = self.store.models()
        if not models:
            raise ValueError(f"{self.name} has no vectors yet; import some with pairlens collection import")
        return models[0]

    @property
    def model(self) -> CollectionModel:
        """The network of the active model, opened once; raises NoModelError if the vectors were computed elsewhere."""
        fingerprint = self.active.fingerprint
        if self._given_model is None or self._given_model.fingerprint != fingerprint:
            self._given_model = load_model(self.store, fingerprint)
        return self._given_model

    def get(self, id: int) -> Item:
        """Return a photo by its number; raises ValueError if there is none."""
        items = self.store.items([as_whole_number(id, "id")])
        if not items:
            raise ValueError(f"{self.name} has no photo with the id {id}; pairlens collection list shows them")
        return items[0]

    def photos(self, where: Mapping[str, Wanted] | None = None, *, after: int = 0, limit: int = 100) -> list[Item]:
        """Return photos that a filter lets through, by rising id, beginning after an id."""
        limit = as_whole_number(limit, "limit", least=1)
        return self.store.page(as_whole_number(after, "after", least=0), limit, as_conditions(where))

    def count(self, where: Mapping[str, Wanted] | None = None) -> int:
        """Return the number of photos that a filter lets through."""
        return self.store.count(as_conditions(where))

    def info(self) -> dict[str, Any]:
        """Return what the collection holds, as plain data."""
        from pairlens.collection.collection_info import plain_info

        return plain_info(self.store)

    def labels(self) -> dict[str | None, int]:
        """Return the labels with their numbers of photos; None is the missing label."""
        return self.store.labels()

    def add(  # noqa: PLR0913 (all but the photos are named options)
        self,
        photos: Photos,
        *,
        labels: Labels | str | Path | Sequence[str | None] = "auto",
        metadata: Path | Sequence[Mapping[str, Any]] | None = None,
        sync: bool = False,
        confirm: Callable[[Removal], bool] | None = None,
        follow_links: bool = False,
        workers: int | None = None,
        engine: IndexEngine = "threads",
        progress: Progress = show_nothing,
    ) -> Ingested:
        """Add photos; those that are there already are left as they are, and those that have changed are embedded again.

        Args:
            photos: a folder, a picture file, a table, or a list of these; or pictures, arrays, tensors or the bytes of
                picture files, which the collection then keeps.
            labels: "auto", "folders", "none" or a table, see `find_sources`; for pictures that are no files a list.
            metadata: a table; for pictures that are no files a list of mappings.
            sync: also remove the photos of the folder that are gone.
            confirm: asked before more than a tenth is removed; without it, that is refused.
            follow_links: whether links that lead out of a folder are followed.
            workers: number of threads, or of Ray's processes, that read and embed photos; by default one for each core.
            engine: "threads" on this machine, or "ray" on a cluster of machines that see the same files.
            progress: called after each photo with the numbers of photos that are done and of all.

        Raises:
            OSError, ValueError: if a place does not exist, there is nothing to add, or an argument has no meaning. A photo
                that cannot be read is no error; the result names it.
        """
        places = single_photos(photos)[0]
        if not all(isinstance(place, str | Path) for place in places):
            if sync:
                raise ValueError("sync is for folders, whose photos can be gone; give a folder, or leave it out")
            return add_given_photos(self.store, self.model, places, labels, metadata, progress=progress)
        count = None if workers is None else as_whole_number(workers, "workers", least=0)
        how = Indexing(self.store, self.model, count, engine, follow_links)
        return how.index(places, labels, metadata, sync=sync, confirm=confirm, progress=progress)

    def remove(self, ids: int | Iterable[int] | None = None, *, where: Mapping[str, Wanted] | None = None) -> int:
        """Remove photos by their ids, or all that a filter lets through; returns how many there were.

        Raises:
            ValueError: if not exactly one of ids and a filter is given.
        """
        if (ids is None) == (not where):
            raise ValueError("give either ids or a filter; a collection is emptied by removing its folder")
        return self.store.remove(as_item_ids(ids) if ids is not None else self.store.ids(as_conditions(where)))

    def relabel(self, ids: int | Iterable[int], label: str | None) -> int:
        """Set the label of photos, None to remove it; returns how many there were."""
        return self.store.relabel(as_item_ids(ids).tolist(), checked_label(label))

    def set_metadata(self, id: int, metadata: Mapping[str, Value]) -> int:
        """Replace the metadata of a photo; returns whether there was one, as 0 or 1."""
        return self.store.set_metadata([as_whole_number(id, "id")], [checked_metadata(metadata)])

    @cached_property
    def _searcher(self) -> Searcher:
        return Searcher(self.store, lambda: self.model)

    @property
    def _embedder(self) -> QueryEmbedder:
        return QueryEmbedder(self.store, lambda: self.model, self.active.dim)

    def search(  # noqa: PLR0913 (all but the photos are named options)
        self,
        photos: Photos,
        k: int = 10,
        *,
        where: Mapping[str, Wanted] | None = None,
        unlike: Photos = (),
        region: Region | Sequence[int] | None = None,
        index: SearchMode = "auto",
        group: bool = False,
        rate: float | None = None,
        expand: int = 0,
    ) -> SearchResult:
        """Return the k photos that are most similar to a photo.

        Args:
            photos: a file, a picture, an array, bytes, a vector, or the id or path of an item; of a list of these the mean.
            k: number of results; fewer only if the filter lets fewer through.
            where: a filter such as {"label": ["dress", "skirt"], "price": pl.between(3, 10), "path": pl.under("cat/")}.
            unlike: what the results should not look like, in the same forms.
            region: (x, y, width, height) in pixels of the upright photo, the part that is searched for.
            index: "exact" searches all photos; "auto" may use an index in large collections, whose recall is measured.
            group: whether near-duplicates are collapsed into one result.
            rate: false accept rate of the verdict; by default the largest one of the calibration that is at most 0.05.
            expand: number of nearest photos that are mixed into the query first, see `expand_query`; then there is no
                verdict.

        Raises:
            ValueError: if an argument has no meaning, or a photo cannot be read.
        """
        query = self._embedder.embed(listed_photos(photos), listed_photos(unlike), as_region(region))
        conditions = as_conditions(where)
        if as_whole_number(expand, "expand", least=0):
            query = expand_query(self.store, query, expand, conditions, index)
        k = as_whole_number(k, "k", least=1)
        return self._searcher.search(query, k, conditions, index=index, group=group, rate=rate)

    def embed(self, photos: Photos) -> np.ndarray:
        """Return float32 (photo, dim) unit vectors of the active model."""
        return np.stack([self._embedder.embed([photo]).vector for photo in listed_photos(photos)])

    def check(self) -> list[Fault]:
        """Prove the collection against itself, and repair what is derived; an empty list if all is well."""
        from pairlens.collection.collection_check import check_collection

        return check_collection(self.store)

    def reindex(self) -> None:
        """Rewrite the database without what was removed, and build its indexes from scratch."""
        self.store.compact()

    def snapshot(self, folder: str | Path) -> None:
        """Write a consistent copy of the collection into a new folder, while others may go on writing."""
        from pairlens.collection.snapshot import write_snapshot

        write_snapshot(self.store, Path(folder))

    def calibrate(
        self, rates: Sequence[float] = (0.05, 0.01, 0.001), *, run: str | Path | None = None, seed: int = 0
    ) -> "Calibration":
        """Learn how probable matches are, and when to answer "no match", and keep it; see `calibrate_collection`.

        Args:
            rates: false accept rates for queries of classes that the collection does not hold.
            run: a run of the same model, whose held-out classes are used in place of the collection's labels.
            seed: of the divisions of the classes.

        Raises:
            ValueError: with the number that is missing, if there are too few classes or photos.
        """
        from pairlens.collection.stored_calibration import calibrate_collection

        return calibrate_collection(self.store, rates, seed, None if run is None else Path(run))

    def calibration(self) -> "Calibration | None":
        """Return the calibration of the active model; None if there is none."""
        return self._searcher.judge.calibration()

    def migrate(
        self, model: str | Path | CollectionModel, *, workers: int | None = None, progress: Progress = show_nothing
    ) -> "Migrated":
        """Embed everything again with another model, and change over to it in one step; see `migration.migrate`.

        Raises ValueError if the model cannot be opened, or is active already.
        """
        from pairlens.collection.migration import migrate

        return migrate(self.store, as_model(model), workers, progress)

    def return_to_former_model(self) -> StoredModel:
        """Make the model before the last migration the active one again; raises ValueError if there is none."""
        from pairlens.collection.migration import return_to_former_model

        return return_to_former_model(self.store)

    def export_vectors(self, file: str | Path) -> int:
        """Write a Parquet table of ids, paths, labels, metadata and vectors; returns its rows."""
        from pairlens.collection.vector_table import export_vectors

        return export_vectors(self.store, Path(file))

    def import_vectors(self, file: str | Path, fingerprint: str | None = None) -> int:
        """Add the vectors of a Parquet table with the columns path and vector; returns how many there were."""
        from pairlens.collection.vector_table import import_vectors

        return import_vectors(self.store, Path(file), fingerprint)

    def duplicates(self, near: float | None = None) -> "DuplicatePhotos":
        """Return groups of equal photos, of equal pictures in other encodings, and of near photos, see `find_duplicates`."""
        from pairlens.collection.duplicate_photos import find_duplicates

        return find_duplicates(self.store, lambda: self.model, near)

    def suspects(self, threshold: float | None = None) -> "LabelSuspects":
        """Return the photos whose labels their nearest photos contradict, most suspicious first; see `find_suspects`."""
        from pairlens.collection.label_suspects import find_suspects

        return find_suspects(self.store, threshold)
