"""The way of places on the disk into a collection: what is found there, and how it is read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairlens.collection.collection_model import CollectionModel
from pairlens.collection.ingest import IndexEngine, Ingest, Progress, Reader
from pairlens.collection.ingested import Ingested, Removal
from pairlens.collection.sources import find_sources
from pairlens.collection.store import Store


@dataclass(frozen=True, eq=False)
class Indexing:
    """How places are indexed; see `Collection.add`.

    Attributes:
        store: where to.
        model: its active model.
        workers: number of threads, or of Ray's processes; None for one for each core.
        engine: what reads and embeds.
        follow_links: whether links that lead out of a folder are followed.
    """

    store: Store
    model: CollectionModel
    workers: int | None
    engine: IndexEngine
    follow_links: bool

    def index(
        self,
        places: Sequence[str | Path],
        labels: Any,
        metadata: Any,
        *,
        sync: bool,
        confirm: Callable[[Removal], bool] | None,
        progress: Progress,
    ) -> Ingested:
        """Index places; see `find_sources` and `Ingest.run`."""
        if not (isinstance(labels, str | Path) and (metadata is None or isinstance(metadata, str | Path))):
            raise ValueError("labels and metadata of files come from folders or a table; give the table's path")
        sources = find_sources(
            places,
            labels=labels if labels in ("auto", "folders", "none") else Path(labels),  # pyright: ignore[reportArgumentType]
            metadata=None if metadata is None else Path(metadata),
            follow_links=self.follow_links,
            known_roots=self.store.roots(),
        )
        ingest = Ingest(self.store, self.model, self.workers, self._reader())
        return ingest.run(sources, sync=sync, confirm=confirm, progress=progress)

    def _reader(self) -> Reader | None:
        """Return what reads and embeds photos in place of this process; None for this process."""
        match self.engine:
            case "threads":
                return None
            case "ray":
                # Imported here, because Ray is an extra.
                from pairlens.collection.ray_reader import RayReader

                return RayReader(self.store, self.model, self.workers)
        raise ValueError(f"engine {self.engine!r} must be threads or ray")
