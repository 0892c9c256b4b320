"""Indexing: photos are read, embedded, and written into a collection in batches that are each complete and durable."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal, TypeAlias

import numpy as np

from pairlens.collection.collection_model import BATCH, CollectionModel
from pairlens.collection.gone import GoneItems
from pairlens.collection.ingested import Ingested, Removal
from pairlens.collection.item import Item, NewItem, Region, Value
from pairlens.collection.known_changes import KnownChanges
from pairlens.collection.photo_view import MAX_FILE_BYTES, PhotoView, view_photo
from pairlens.collection.read_photo import Asked, ReadPhoto, in_batches, read_and_embed, refusal
from pairlens.collection.sources import PhotoSource, Sources
from pairlens.collection.store import Store
from pairlens.core.threads import available_cores, map_in_order, share_of_cores
from pairlens.core.untrusted import read_bytes
from pairlens.data.account import Exclusion

# A batch is written when it has this many photos, or when this many seconds have passed since the last one.
ITEMS_PER_WRITE, SECONDS_PER_WRITE = 512, 10.0

IndexEngine: TypeAlias = Literal["threads", "ray"]
# Reads photos and embeds those that are new.
Reader = Callable[[Iterable[Asked]], Iterator[ReadPhoto]]
# Called with the number of photos that are done, and the number of all.
Progress = Callable[[int, int], None]


def show_nothing(done: int, total: int) -> None:
    """Show no progress."""


@dataclass(eq=False)
class _Batch:
    """Photos on their way into the store: read ones, embedded ones with their (dim,) vectors, and changes of known ones."""

    read: list[ReadPhoto] = field(default_factory=list)
    embedded: list[tuple[NewItem, Item | None, np.ndarray]] = field(default_factory=list)
    known: KnownChanges = field(default_factory=KnownChanges)
    written: float = field(default_factory=time.monotonic)

    def take(self, read: ReadPhoto) -> None:
        """Take a photo that was read, and perhaps embedded where it was read."""
        if read.vector is not None and read.view is not None:
            self.embedded.append((new_item(read.source, read.digest, read.view), read.old, read.vector))
        else:
            self.read.append(read)

    @property
    def is_due(self) -> bool:
        waiting = len(self.embedded) + len(self.known)
        return waiting >= ITEMS_PER_WRITE or time.monotonic() - self.written > SECONDS_PER_WRITE


class Ingest:
    """One indexing of sources into a store; `run` does it, and can be repeated after any interruption."""

    def __init__(
        self, store: Store, model: CollectionModel, workers: int | None = None, read_elsewhere: Reader | None = None
    ) -> None:
        """Prepare an indexing by the active model of a store.

        Args:
            store: where to.
            model: its active model.
            workers: number of threads that read and embed photos, among which the cores are divided; by default one for
                each core.
            read_elsewhere: reads and embeds photos in place of this process, such as on the machines of a cluster.
        """
        self.store = store
        self.model = model
        self.workers = available_cores() if workers is None else workers
        self._reader = read_elsewhere or self._read_here
        self._start = time.monotonic()
        self._counts: dict[str, int] = defaultdict(int)
        self._refused: list[Exclusion] = []
        self._left_out: list[Exclusion] = []
        self._labels_from = ""
        self._ids: list[int] = []
        self._gone: GoneItems | None = None
        # Regions by their place, because two boxes may be cut to one region.
        self._regions: set[tuple[str, str, Region]] = set()

    def so_far(self) -> Ingested:
        """Return what has been done, also after an interruption."""
        seconds = time.monotonic() - self._start
        outcome = {name: self._counts[name] for name in ("added", "updated", "moved", "unchanged", "removed")}
        return Ingested(
            **outcome,
            refused=tuple(self._refused),
            left_out=tuple(self._left_out),
            seconds=seconds,
            ids=tuple(self._ids),
            labels_from=self._labels_from,
        )

    def run(
        self,
        sources: Sources,
        *,
        sync: bool = False,
        confirm: Callable[[Removal], bool] | None = None,
        progress: Progress = show_nothing,
    ) -> Ingested:
        """Add what is new, and update what has changed.

        Args:
            sources: what was found.
            sync: also remove the items below the indexed folders whose photo is gone.
            confirm: asked before more than a tenth of the items is removed; without it, that is refused.
            progress: called after each photo.

        Raises:
            ValueError: if a removal of more than a tenth is not confirmed; what is new is in the collection then.
        """
        self._left_out, self._labels_from = list(sources.left_out), sources.labels_from
        self._gone = GoneItems(self.store, sources) if sync else None
        self._index(sources.photos, progress)
        if self._gone is not None:
            self._remove(self._gone, confirm)
        return self.so_far()

    def _index(self, photos: Sequence[PhotoSource], progress: Progress) -> None:
        """Read and embed photos, and write what is complete."""
        batch = _Batch()
        try:
            for done, read in enumerate(self._reader(self._with_old(photos)), 1):
                if self._needs_embedding(read, batch.known):
                    batch.take(read)
                if len(batch.read) >= BATCH:
                    self._embed(batch)
                if batch.is_due:
                    self._write(batch)
                progress(done, len(photos))
            self._embed(batch)
        finally:
            # After an interruption, too: what was embedded is not lost.
            self._write(batch)

    def _with_old(self, photos: Iterable[PhotoSource]) -> Iterator[Asked]:
        """Yield each source with the items that the collection has at its path."""
        for chunk in in_batches(photos, ITEMS_PER_WRITE):
            held: dict[tuple[str, str], list[Item]] = defaultdict(list)
            for root in {source.root for source in chunk}:
                paths = [source.name for source in chunk if source.root == root]
                for item in self.store.at(root, paths):
                    held[root, item.path].append(item)
            for source in chunk:
                yield source, tuple(held.get((source.root, source.name), ()))

    def _read_here(self, asked: Iterable[Asked]) -> Iterator[ReadPhoto]:
        """Read and embed photos in threads, in their order.

        Each thread does both for a batch of its own, so no thread waits for another one.
        """
        was_moved = self._gone.has if self._gone is not None else (lambda digest: False)
        batches = map_in_order(
            lambda batch: read_and_embed(batch, self.model, was_moved),
            in_batches(asked, BATCH),
            self.workers,
            cores=share_of_cores(self.workers),
        )
        return chain.from_iterable(batches)

    def _needs_embedding(self, read: ReadPhoto, known: KnownChanges) -> bool:
        """Count a source that needs no embedding; returns whether it needs one."""
        if read.refused is not None:
            self._refused.append(read.refused)
            return False
        if self._is_second_region(read):
            reason = "another box is cut to the same region of this photo; remove one of them"
            self._left_out.append(Exclusion(read.source.path, "repeated box", reason))
            return False
        if read.old is not None and read.is_known:
            changed = known.describe(read.old, read.source.label, read.source.metadata)
            self._counts["updated" if changed else "unchanged"] += 1
            return False
        is_new = read.old is None and read.source.box is None
        item = self._gone.take(read.digest) if self._gone is not None and is_new else None
        if item is None:
            # Also where two new paths have the photo of one that is gone: the second one is a new photo.
            return True
        known.move(item, read.source.root, read.source.name)
        known.describe(item, read.source.label, read.source.metadata)
        self._counts["moved"] += 1
        return False

    def _is_second_region(self, read: ReadPhoto) -> bool:
        known = None if read.old is None else read.old.region
        region = known if read.view is None else read.view.region
        if region is None:
            return False
        place = read.source.root, read.source.name, region
        is_second = place in self._regions
        self._regions.add(place)
        return is_second

    def _embed(self, batch: _Batch) -> None:
        """Embed the photos that were read."""
        views = [(read, view) for read in batch.read if (view := read.view or self._late_view(read)) is not None]
        batch.read = []
        if not views:
            return
        vectors = self.model.embed(np.stack([view.seen for _, view in views]))
        for (read, view), vector in zip(views, vectors, strict=True):
            batch.embedded.append((new_item(read.source, read.digest, view), read.old, vector))

    def _late_view(self, read: ReadPhoto) -> PhotoView | None:
        """Decode a photo that was taken for a moved one."""
        try:
            return view_photo(read_bytes(read.source.file, MAX_FILE_BYTES), self.model.view)
        except (OSError, ValueError) as error:
            self._refused.append(refusal(read.source, error))
            return None

    def _write(self, batch: _Batch) -> None:
        """Write what was embedded: one transaction for new photos, and one for those that have changed."""
        known, batch.known = batch.known, KnownChanges()
        known.write(self.store)
        new = [(item, vector) for item, old, vector in batch.embedded if old is None]
        changed = [(item, old, vector) for item, old, vector in batch.embedded if old is not None]
        batch.embedded = []
        batch.written = time.monotonic()
        if new:
            self._add(new)
        if changed:
            ids = [old.id for _, old, _ in changed]
            items = [_with_kept_values(item, old) for item, old, _ in changed]
            vectors = np.stack([vector for _, _, vector in changed])
            self.store.replace(ids, items, vectors, self.model.fingerprint)
            self._counts["updated"] += len(changed)

    def _add(self, new: list[tuple[NewItem, np.ndarray]]) -> None:
        items = [item for item, _ in new]
        try:
            self._ids += self.store.add(items, np.stack([vector for _, vector in new]), self.model.fingerprint)
            self._counts["added"] += len(new)
        except ValueError:
            # Another process may have indexed the same photos meanwhile.
            free = without_held(self.store, items)
            if len(free) == len(items):
                raise
            self._counts["unchanged"] += len(items) - len(free)
            if free:
                self._add([new[n] for n in free])

    def _remove(self, gone: GoneItems, confirm: Callable[[Removal], bool] | None) -> None:
        items = gone.left()
        ids = tuple(item.id for item in items)
        removal = Removal(ids, gone.held, tuple(item.path for item in items[:3]), self.so_far())
        if removal.needs_confirmation and (confirm is None or not confirm(removal)):
            raise ValueError(
                f"{removal.sentence()}; they were not removed, confirm it with --yes. {self.so_far().sentence()}"
            )
        self._counts["removed"] += self.store.remove(ids) if ids else 0


def without_held(store: Store, items: Sequence[NewItem]) -> list[int]:
    """Return the positions of the items whose place (root, path and region) the store does not hold."""
    held = set()
    for root in {item.root for item in items}:
        paths = [item.path for item in items if item.root == root]
        held.update((item.root, item.path, item.region) for item in store.at(root, paths))
    return [n for n, item in enumerate(items) if (item.root, item.path, item.region) not in held]


def new_item(source: PhotoSource, digest: str, view: PhotoView, original: bytes = b"") -> NewItem:
    """Return the item of a photo that was read; `original` are its bytes if the collection is to keep them."""
    return NewItem(
        root=source.root,
        path=source.name,
        digest=digest,
        region=view.region,
        label=source.label,
        metadata=source.metadata,
        width=view.width,
        height=view.height,
        look=view.look,
        thumbnail=view.thumbnail,
        original=original,
    )


def _with_kept_values(item: NewItem, old: Item) -> NewItem:
    """Return a photo that has changed, with the label and the metadata that only its item has."""
    metadata: dict[str, Value] = {**old.metadata, **item.metadata}
    return replace(item, label=item.label if item.label is not None else old.label, metadata=metadata)
