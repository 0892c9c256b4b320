"""What a server does with a collection, for many callers at a time: search, add, embed, explain."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from pairlens.collection.collection import Collection
from pairlens.collection.collection_model import NoModelError
from pairlens.collection.given_photos import add_given_photos
from pairlens.collection.ingested import Ingested
from pairlens.collection.item import Item
from pairlens.collection.photo_bytes import photo_bytes
from pairlens.collection.photo_view import digest_of
from pairlens.collection.search import QueryEmbedder, QueryVector, SearchResult
from pairlens.collection.searcher import Searcher, is_copy
from pairlens.serving.batching import BatchedModel, BatchQueue, EmbeddingJob, embed_jobs, embedding_threads, share_cores
from pairlens.serving.decoding_lanes import DecodingLanes
from pairlens.serving.filter_values import FilterValues, count_values
from pairlens.serving.map_layout import MapLayout, lay_out
from pairlens.serving.metrics import Metrics
from pairlens.serving.onnx_runtime import OnnxRuntime
from pairlens.serving.problems import Problem
from pairlens.serving.query_photos import QueryPhotos
from pairlens.serving.refreshed import Refreshed
from pairlens.serving.search_request import SearchRequest
from pairlens.serving.settings import ServingSettings

# A migration changes the model in one step; a search that was made across it is made again.
TRIES = 3
# Items among which the copies of a photo are looked for.
_NEAR = 24
# Queries of photos that were searched with last; each takes as much memory as the pixels that the model sees.
REMEMBERED = 64
# Searches of one batch.
SEARCHES = 32
# A search may wait for others that are coming, so that they are one batch, for this share of the time that reading and
# embedding its photo took: sixteen searches of one batch take a third longer than one, and not sixteen times as long.
PATIENCE = 0.3


@dataclass(frozen=True, eq=False)
class SearchJob:
    """A query that waits for the search of its batch."""

    query: QueryVector
    request: SearchRequest
    started: float

    @property
    def patience(self) -> float:
        """The seconds for which it may wait for others."""
        return PATIENCE * (time.monotonic() - self.started)


class CollectionService:
    """One open collection behind an API and a page; its methods may be called by many threads."""

    def __init__(self, collection: Collection, settings: ServingSettings, metrics: Metrics) -> None:
        """Start the threads that compute batches."""
        self.collection = collection
        self.settings = settings
        self.store = collection.store
        self._searcher = Searcher(self.store, lambda: collection.model)
        self.lanes = DecodingLanes()
        self._onnx = OnnxRuntime() if settings.runtime == "onnx" else None
        self._embedding: BatchQueue[EmbeddingJob, np.ndarray] = BatchQueue(
            embed_jobs,
            threads=embedding_threads(),
            count=partial(metrics.count_batch, "embed"),
            start=share_cores,
        )
        self._searching: BatchQueue[SearchJob, SearchResult] = BatchQueue(
            self._search_jobs,
            SEARCHES,
            count=partial(metrics.count_batch, "search"),
            coming=lambda: self._in_embedding,
            patience=lambda job: job.patience,
        )
        # Searches whose photos are being read and embedded.
        self._in_embedding = 0
        self._lock = Lock()
        self._queries: OrderedDict[tuple[object, ...], QueryVector] = OrderedDict()
        limits = settings.limits
        self.query_photos = QueryPhotos(Path(settings.folder), limits.query_bytes, limits.query_seconds)
        self.filters: Refreshed[FilterValues] = Refreshed(self.store.change, lambda: count_values(self.store))
        self.map: Refreshed[MapLayout] = Refreshed(self.store.change, lambda: lay_out(self.store), seconds=60.0)

    def close(self) -> None:
        """End the threads once what is queued is done, and close the collection."""
        self._embedding.close()
        self._searching.close()
        self.query_photos.close()
        self.lanes.close()
        self.collection.close()

    @property
    def name(self) -> str:
        """What the collection is called: the last part of its place, which may name other people's folders."""
        location = self.settings.location
        if "://" in location:
            return (
                location.rpartition("collection=")[2].partition("&")[0] if "collection=" in location else "collection"
            )
        return Path(location).resolve().name or "collection"

    def warm_up(self) -> None:
        """Do what the first search would have to wait for: open the model, and load the vectors."""
        if not self.store.models():
            return
        dim = self.collection.active.dim
        self._searcher.search(QueryVector(np.eye(1, dim, dtype=np.float32)[0], (), None), 1, {})
        # Vectors that were computed elsewhere are searched by ids and vectors.
        with suppress(NoModelError):
            model = self.collection.model
            seen = np.zeros((1, model.view.image_size, model.view.image_size, 3), np.uint8)
            # Each thread has caches of its own that its first photo fills.
            with ThreadPoolExecutor(embedding_threads()) as threads:
                list(threads.map(self.model().embed, [seen] * embedding_threads()))

    def model(self) -> BatchedModel:
        """The model, whose photos are embedded together with those of other requests."""
        model = self.collection.model
        return BatchedModel(model if self._onnx is None else self._onnx.of(model), self._embedding, self.lanes)

    # Searching.

    def search(self, request: SearchRequest) -> SearchResult:
        """Return the results of a search; raises ValueError as `Collection.search`."""
        for _ in range(TRIES):
            active = self.collection.active.fingerprint
            started = time.monotonic()
            query = self._query(request)
            result = self._searching.run_here(SearchJob(query, request, started))
            # Vectors of two models must not meet, and a migration may have changed over in between.
            if self.collection.active.fingerprint == active:
                return result
        raise Problem(503, "the collection is changing its model; search again", {"retry-after": "1"})

    def _query(self, request: SearchRequest) -> QueryVector:
        """Return what is searched for; that of a photo is remembered, because filters and pages ask for it again."""
        if len(request.photos) != 1 or request.ids or request.vectors or request.unlike:
            return self._embedded_query(request)
        box = None if request.region is None else request.region.box
        key = self.collection.active.fingerprint, digest_of(request.photos[0]), box
        with self._lock:
            known = self._queries.get(key)
        if known is not None:
            return known
        query = self._embedded_photo(request)
        with self._lock:
            self._queries[key] = query
            if len(self._queries) > REMEMBERED:
                self._queries.popitem(last=False)
        return query

    def _embedded_photo(self, request: SearchRequest) -> QueryVector:
        with self._lock:
            self._in_embedding += 1
        try:
            return self._embedded_query(request)
        finally:
            with self._lock:
                self._in_embedding -= 1

    def _embedded_query(self, request: SearchRequest) -> QueryVector:
        embedder = QueryEmbedder(self.store, self.model, self.collection.active.dim)
        if request.region is not None and len(request.ids) == 1 and not request.photos and not request.vectors:
            contents = self._contents(self.item(request.ids[0]))
            query = embedder.embed([contents], request.unlike, request.region)
            return replace(query, ids=(*query.ids, *request.ids))
        return embedder.embed([*request.photos, *request.ids, *request.vectors], request.unlike, request.region)

    def _search_jobs(self, jobs: list[SearchJob]) -> list[SearchResult]:
        """Return the results of each job; those of one manner are one batch."""
        results: dict[int, SearchResult] = {}
        for manner in dict.fromkeys(job.request.manner for job in jobs):
            numbers = [n for n, job in enumerate(jobs) if job.request.manner == manner]
            asked = jobs[numbers[0]].request
            queries = [jobs[n].query for n in numbers]
            found = self._searcher.search_all(
                queries, asked.k, asked.where, index=asked.index, group=asked.group, rate=asked.rate
            )
            results.update(zip(numbers, found, strict=True))
        return [results[n] for n in range(len(jobs))]

    def embed(self, photos: Sequence[bytes]) -> tuple[np.ndarray, str]:
        """Return the float32 (photo, dim) unit vectors of picture files, and the fingerprint of their model."""
        model = self.model()
        seen = np.stack([model.read(photo).seen for photo in photos])
        return model.embed(seen), model.fingerprint

    # Explaining.

    def explain(self, request: SearchRequest, id: int) -> dict[str, Any]:
        """Return which places of the only photo of a search, and of a photo of the collection, make up their score."""
        # Imported here, because it imports PyTorch, which a model in an ONNX file does not need.
        from pairlens.collection.match_explanation import explanation_grid
        from pairlens.collection.result_pictures import explain_item, seen_pixels

        item = self.item(id)
        if len(request.photos) + len(request.ids) != 1 or request.vectors or request.unlike:
            raise ValueError("only the match of two photos can be explained; search with one photo or id")
        model = self.collection.model
        box = None if request.region is None else request.region.box
        if request.photos:
            seen = self.model().read(request.photos[0], box).seen
        elif box is not None:
            seen = self.model().read(self._contents(self.item(request.ids[0])), box).seen
        else:
            seen = seen_pixels(self.store, model, self.item(request.ids[0]))
        return explanation_grid(explain_item(self.store, model, seen, item))

    # Photos.

    def item(self, id: int) -> Item:
        """Return a photo of the collection; raises a problem with the status 404 if there is none."""
        try:
            return self.collection.get(id)
        except ValueError as error:
            raise Problem(404, str(error)) from None

    def _contents(self, item: Item) -> bytes:
        """Return the bytes of a photo of the collection, or of its thumbnail if the photo is gone."""
        contents = photo_bytes(self.store, item)
        if contents is None or item.region is not None:
            contents = self.store.thumbnails([item.id]).get(item.id, b"")
        if not contents:
            raise ValueError(f"the collection has no pixels of the photo {item.id}; index its file again")
        return contents

    def add(
        self,
        photos: Sequence[bytes],
        names: Sequence[str],
        labels: Sequence[str | None],
        metadata: Sequence[dict] | None,
    ) -> Ingested:
        """Add picture files, which the collection keeps."""
        for _ in range(TRIES):
            model = self.model()
            try:
                return add_given_photos(self.store, model, photos, list(labels), metadata, list(names))
            except ValueError:
                # Refused by the store if a migration has changed the model since; then with the new one.
                if self.collection.active.fingerprint == model.fingerprint:
                    raise
        raise Problem(503, "the collection is changing its model; add the photos again", {"retry-after": "1"})

    def copies(self, item: Item) -> list[Item]:
        """Return the photos that show the same picture as a photo, in whatever encoding and size."""
        request = SearchRequest(ids=(item.id,), k=_NEAR, index="exact")
        return [match.item for match in self.search(request) if is_copy(item, match.item)]
