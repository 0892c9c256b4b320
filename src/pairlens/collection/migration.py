"""Migration: a collection is embedded again by another model while searches go on, and changes over in one step."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain

import numpy as np

from pairlens.collection.collection_model import BATCH, CollectionModel, load_model, remove_model, save_model
from pairlens.collection.ingest import Progress, show_nothing
from pairlens.collection.item import Item
from pairlens.collection.photo_bytes import photo_bytes
from pairlens.collection.photo_view import view_photo
from pairlens.collection.read_photo import in_batches
from pairlens.collection.store import Store, StoredModel
from pairlens.collection.stored_calibration import drop_calibration
from pairlens.core.threads import available_cores, map_in_order, share_of_cores

# Items that are embedded and written at a time.
_CHUNK = 256
# The report compares this many neighbours of this many items.
_NEIGHBOURS, _SAMPLE = 10, 1000
# The best of a block of vectors that are sorted; more than neighbours, so that of equal scores the first ids stay.
_CANDIDATES = 64
_EXAMPLES = 5


@dataclass(frozen=True)
class ChangedItem:
    """An item with its nearest items before and after a migration, nearest first."""

    id: int
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def overlap(self) -> float:
        """The share of the former nearest items that are still among the nearest."""
        return len(set(self.before) & set(self.after)) / max(1, len(self.before))

    @property
    def has_same_nearest(self) -> bool:
        """Whether the nearest item is still the same."""
        return self.before[:1] == self.after[:1]


@dataclass(frozen=True)
class Migrated:
    """What a migration has changed.

    Attributes:
        former: fingerprint of the model that was active.
        active: fingerprint of the model that is active now.
        embedded: items that were embedded again, or whose vectors were mapped.
        from_thumbnails: of them, those whose photo is gone or has changed, which were embedded from their thumbnail.
        overlap: mean share of the 10 nearest items that stayed, over a sample.
        nearest_changed: share of the sample whose nearest item is another one.
        compared: size of the sample.
        examples: items of the sample that changed most.
    """

    former: str
    active: str
    embedded: int
    from_thumbnails: int
    overlap: float
    nearest_changed: float
    compared: int
    examples: tuple[ChangedItem, ...]

    def sentence(self) -> str:
        """Return the report in words."""
        thumbnails = f", {self.from_thumbnails:,} of them from their thumbnails" if self.from_thumbnails else ""
        return (
            f"Embedded {self.embedded:,} photos with {self.active}{thumbnails}. Of the {_NEIGHBOURS} nearest photos "
            f"{100 * self.overlap:.1f} % stayed, and {100 * self.nearest_changed:.1f} % of {self.compared:,} photos have "
            f"another nearest one."
        )


def migrate(
    store: Store, model: CollectionModel, workers: int | None = None, progress: Progress = show_nothing
) -> Migrated:
    """Embed a collection with another model, and change over to it.

    Until the last step searches answer from the old vectors, and photos may be added and removed. After an interruption the
    same call goes on. The old vectors and their model are kept for `return_to_former_model`.

    Args:
        store: of the collection.
        model: the new model.
        workers: number of threads that read and embed photos; by default one for each core.
        progress: called with the numbers of photos that are embedded and of all.

    Raises:
        ValueError: if the model is active already, another migration is under way, or there are no photos.
    """
    models = store.models()
    if not models:
        raise ValueError(f"{store.name} has no photos and no model yet; index photos with --model {model.name}")
    if models[0].fingerprint == model.fingerprint:
        raise ValueError(f"{store.name} speaks {model.name} already; its fingerprint is {model.fingerprint}")
    begun = _begun(store)
    if begun is not None and begun.fingerprint != model.fingerprint:
        raise ValueError(
            f"a migration of {store.name} to {begun.fingerprint} has begun; finish it with the same model, or give it up "
            "with pairlens collection migrate --back"
        )
    save_model(model, store)
    store.start_model(model.fingerprint, model.dim)
    mapped = _map_stored(store, model)
    embedded, from_thumbnails = _embed_missing(store, model, workers, progress)
    sample = _sample(store)
    before = _neighbours(store, sample, None)
    after = _neighbours(store, sample, model.fingerprint)
    former = _change_over(store, model, workers)
    changed = [
        ChangedItem(id, before[id], after[id]) for id in sample.tolist() if before.get(id) and after.get(id) is not None
    ]
    # Of few photos all are among the nearest, whose order changes all the same.
    worst = sorted(changed, key=lambda item: (item.overlap, item.has_same_nearest, item.id))[:_EXAMPLES]
    return Migrated(
        former="" if former is None else former.fingerprint,
        active=model.fingerprint,
        embedded=embedded + mapped,
        from_thumbnails=from_thumbnails,
        overlap=float(np.mean([item.overlap for item in changed])) if changed else 1.0,
        nearest_changed=float(np.mean([not item.has_same_nearest for item in changed])) if changed else 0.0,
        compared=len(changed),
        examples=tuple(item for item in worst if item.overlap < 1 or not item.has_same_nearest),
    )


def return_to_former_model(store: Store, workers: int | None = None) -> StoredModel:
    """Make the former model the active one again; photos that were added since are embedded with it first.

    If a migration has begun and is not finished, it is given up instead, and the active model stays.

    Raises:
        ValueError: if there is neither.
    """
    begun = _begun(store)
    if begun is not None:
        store.drop_model(begun.fingerprint)
        remove_model(store, begun.fingerprint)
        return store.models()[0]
    former = next((model for model in store.models() if model.state == "former"), None)
    if former is None:
        raise ValueError(f"{store.name} keeps no former model, so there is nothing to return to")
    if len(store.without_vector(former.fingerprint, 1)):
        _embed_missing(store, load_model(store, former.fingerprint), workers, show_nothing)
    store.activate_model(former.fingerprint)
    drop_calibration(store)
    return former


def _begun(store: Store) -> StoredModel | None:
    """Return the model of a migration that is not finished."""
    return next((stored for stored in store.models() if stored.state == "new"), None)


def _change_over(store: Store, model: CollectionModel, workers: int | None) -> StoredModel | None:
    """Make the new model the active one; returns the one that was active."""
    kept = {stored.fingerprint for stored in store.models()}
    active = store.models()[0]
    for attempt in range(10):
        try:
            store.activate_model(model.fingerprint)
            break
        except ValueError:
            # Photos were added after the last look; the tenth time, somebody adds faster than this machine embeds.
            if attempt == 9 or not len(store.without_vector(model.fingerprint, 1)):
                raise
            _embed_missing(store, model, workers, show_nothing)
    drop_calibration(store)
    for fingerprint in kept - {stored.fingerprint for stored in store.models()}:
        remove_model(store, fingerprint)
    return active if active.fingerprint != model.fingerprint else None


def _embed_missing(store: Store, model: CollectionModel, workers: int | None, progress: Progress) -> tuple[int, int]:
    """Embed all items that have no vector of a model; returns how many, and how many of them from their thumbnails."""
    total = store.count()
    threads = available_cores() if workers is None else workers
    embedded = from_thumbnails = 0
    while len(ids := store.without_vector(model.fingerprint, _CHUNK)):
        batches = map_in_order(
            lambda items: _embedded(store, model, items),
            in_batches(store.items(ids), BATCH),
            threads,
            cores=share_of_cores(threads),
        )
        done = list(chain.from_iterable(batches))
        # Photos that were removed or replaced meanwhile keep no vector of what they were.
        now = {item.id: item.digest for item in store.items([item.id for item, _, _ in done])}
        kept = [(item, vector, small) for item, vector, small in done if now.get(item.id) == item.digest]
        vectors = np.array([vector for _, vector, _ in kept], np.float32).reshape(len(kept), model.dim)
        store.add_vectors(model.fingerprint, [item.id for item, _, _ in kept], vectors)
        embedded += len(kept)
        from_thumbnails += sum(small for _, _, small in kept)
        progress(min(embedded, total), total)
    return embedded, from_thumbnails


def _map_stored(store: Store, model: CollectionModel) -> int:
    """Map the vectors of the same network that are stored already, in the place of embedding photos; returns how many."""
    active = store.models()[0].fingerprint
    if model.mapped is None or model.fingerprint != f"{active}-{model.mapped.digest}":
        return 0
    count = 0
    for ids, vectors in store.vector_blocks():
        digests = {item.id: item.digest for item in store.items(ids)}
        mapped = model.mapped(vectors)
        # Photos that are removed or replaced meanwhile keep no vector of what they were.
        now = {item.id: item.digest for item in store.items(ids)}
        kept = [row for row, id in enumerate(ids.tolist()) if id in now and now[id] == digests.get(id)]
        store.add_vectors(model.fingerprint, ids[kept].tolist(), mapped[kept])
        count += len(kept)
    return count


def _embedded(store: Store, model: CollectionModel, items: Sequence[Item]) -> list[tuple[Item, np.ndarray, bool]]:
    """Return items with their (dim,) vectors, and whether they came from their thumbnails, without those removed since."""
    views = [view for item in items if (view := _seen(store, model, item)) is not None]
    if not views:
        return []
    vectors = model.embed(np.stack([seen for _, seen, _ in views]))
    return [(item, vector, small) for (item, _, small), vector in zip(views, vectors, strict=True)]


def _seen(store: Store, model: CollectionModel, item: Item) -> tuple[Item, np.ndarray, bool] | None:
    """Return an item as a model sees it, and whether it came from its thumbnail; None if the item was removed."""
    contents = photo_bytes(store, item)
    if contents is not None:
        # A file that this version of a decoder refuses has a thumbnail all the same.
        with suppress(ValueError):
            box = None if item.region is None else item.region.box
            return item, view_photo(contents, model.view, box).seen, False
    thumbnail = store.thumbnails([item.id]).get(item.id, b"")
    if thumbnail:
        return item, view_photo(thumbnail, model.view).seen, True
    if not store.items([item.id]):
        return None
    raise ValueError(
        f"{store.name} has no pixels of the photo {item.id} ({item.path}), so it cannot be embedded again; remove it, or "
        "index its file again"
    )


def _sample(store: Store) -> np.ndarray:
    """Return ids that are evenly spaced among all."""
    ids = store.ids()
    return ids[np.linspace(0, len(ids) - 1, min(_SAMPLE, len(ids))).astype(int)] if len(ids) else ids


def _neighbours(store: Store, sample: np.ndarray, model: str | None) -> dict[int, tuple[int, ...]]:
    """Return the nearest items of a sample by the vectors of a model, from a scan of all blocks.

    Items of the sample that have no vector, because other processes go on writing, are left out.
    """
    sample, queries = _vectors_of(store, sample, model)
    if not len(sample):
        return {}
    best_ids = np.full((len(sample), _NEIGHBOURS), -1, np.int64)
    best = np.full((len(sample), _NEIGHBOURS), -np.inf, np.float32)
    for ids, vectors in store.vector_blocks(model):
        scores = queries @ vectors.T  # (sample, block)
        # An item is not its own neighbour.
        scores[sample[:, None] == ids[None]] = -np.inf
        best, best_ids = _merged(best, best_ids, scores, ids)
    return {
        id: tuple(int(other) for other in row if other >= 0) for id, row in zip(sample.tolist(), best_ids, strict=True)
    }


def _vectors_of(store: Store, sample: np.ndarray, model: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of the sample that have a vector, and float32 (id, dim) their vectors."""
    found_ids, found = [np.empty(0, np.int64)], []
    for ids, vectors in store.vector_blocks(model):
        is_wanted = np.isin(ids, sample)
        found_ids.append(ids[is_wanted])
        found.append(vectors[is_wanted])
    return np.concatenate(found_ids), np.concatenate(found) if found else np.empty((0, 1), np.float32)


def _merged(
    best: np.ndarray, best_ids: np.ndarray, scores: np.ndarray, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best of the (sample, rank) lists and of a block's (sample, item) scores, best first; equal ones by id."""
    # Only the best of a block are sorted, because it has thousands of items.
    most = min(_CANDIDATES, scores.shape[1])
    near = np.argpartition(-scores, most - 1, axis=1)[:, :most]
    all_scores = np.concatenate([best, np.take_along_axis(scores, near, axis=1)], axis=1)
    all_ids = np.where(np.isneginf(all_scores), -1, np.concatenate([best_ids, ids[near]], axis=1))
    order = np.lexsort((all_ids, -all_scores), axis=1)[:, : best.shape[1]]
    return np.take_along_axis(all_scores, order, axis=1), np.take_along_axis(all_ids, order, axis=1)
