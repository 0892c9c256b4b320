"""The search of a collection: nearest items, near-duplicates collapsed, and the verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pairlens.collection.calibrated_verdict import Judge
from pairlens.collection.collection_model import CollectionModel
from pairlens.collection.duplicate_photos import same_looks
from pairlens.collection.filters import Condition
from pairlens.collection.item import Item
from pairlens.collection.match_features import NEAREST
from pairlens.collection.search import QueryVector, SearchMatch, SearchResult
from pairlens.collection.store import Found, SearchMode, Store

# More items than asked for are searched first when near-duplicates are collapsed.
GROUP_FACTOR = 3
# Searches in a row of which other processes may remove results.
_TRIES = 3


@dataclass(frozen=True, eq=False)
class _Ranked:
    """An item in the results with the ids of its near-duplicates."""

    item: Item
    score: float
    copies: tuple[int, ...] = ()


class Searcher:
    """Searches one store; what it needs for verdicts is kept between searches."""

    def __init__(self, store: Store, model: Callable[[], CollectionModel]) -> None:
        """Prepare for a store; the model is opened when a match has to be explained."""
        self.store = store
        self.model = model
        self.judge = Judge(store)

    def search(
        self,
        query: QueryVector,
        k: int,
        where: Mapping[str, Condition],
        *,
        index: SearchMode = "auto",
        group: bool = False,
        rate: float | None = None,
    ) -> SearchResult:
        """Return the k nearest items of one query; see `Collection.search`."""
        return self.search_all([query], k, where, index=index, group=group, rate=rate)[0]

    def search_all(
        self,
        queries: Sequence[QueryVector],
        k: int,
        where: Mapping[str, Condition],
        *,
        index: SearchMode = "auto",
        group: bool = False,
        rate: float | None = None,
    ) -> list[SearchResult]:
        """Return the results of several queries, searched as one batch if no query leaves items out."""
        if index not in ("auto", "exact"):
            raise ValueError(f"index {index!r} must be auto or exact")
        # The verdict looks at more neighbours than are shown.
        is_calibrated = self.judge.is_calibrated()
        wanted = max(k * (GROUP_FACTOR if group else 1), NEAREST if is_calibrated and not where else 0)
        founds = self._found(queries, wanted, where, index)
        # A calibration holds for the nearest of all photos: a filter that keeps one class would look like certainty.
        whole = self._found(queries, NEAREST, {}, index) if is_calibrated and where else founds
        judged = self.judge.judge(queries, whole, rate)
        results = []
        for query, found, opinion in zip(queries, founds, judged, strict=True):
            ranked = self._ranked(query, found, k, where, index, group)
            said = opinion.under_filter([entry.item for entry in ranked]) if where else opinion
            results.append(
                SearchResult(
                    matches=self._matches(query, ranked, said.probabilities),
                    verdict=said.verdict,
                    probability=said.probability,
                    rate=said.rate,
                    interval=said.interval,
                    reason=said.reason,
                    recall=found.recall,
                    vector=query.vector,
                )
            )
        return results

    def _found(
        self, queries: Sequence[QueryVector], k: int, where: Mapping[str, Condition], index: SearchMode
    ) -> list[Found]:
        """Return what each query finds; queries that leave no item out are one batch for the store."""
        together = [n for n, query in enumerate(queries) if not query.ids]
        founds: dict[int, Found] = {}
        if together:
            batch = self.store.search(np.stack([queries[n].vector for n in together]), k, where, (), index)
            for row, n in enumerate(together):
                founds[n] = Found(batch.ids[row : row + 1], batch.scores[row : row + 1], batch.recall)
        for n, query in enumerate(queries):
            if query.ids:
                founds[n] = self.store.search(query.vector[None], k, where, query.ids, index)
        return [founds[n] for n in range(len(queries))]

    def _ranked(
        self,
        query: QueryVector,
        found: Found,
        k: int,
        where: Mapping[str, Condition],
        index: SearchMode,
        group: bool,
    ) -> list[_Ranked]:
        searched = found.ids.shape[1]
        for _ in range(_TRIES):
            # Another process may have removed photos since the search; then there may be others in their place.
            if len(self.store.items(found.ids[0, found.ids[0] >= 0][:k])) == (found.ids[0, :k] >= 0).sum():
                break
            found = self.store.search(query.vector[None], searched, where, query.ids, index)
        if not group:
            return _with_items(self.store, found, k)
        while True:
            grouped = _grouped(_with_items(self.store, found, searched))
            is_all = (found.ids[0] < 0).any() or searched >= self.store.count()
            if len(grouped) >= k or is_all:
                return grouped[:k]
            # Many copies of few photos: look further down.
            searched *= 4
            found = self.store.search(query.vector[None], searched, where, query.ids, index)

    def _matches(
        self, query: QueryVector, ranked: Sequence[_Ranked], probabilities: Mapping[int, float]
    ) -> tuple[SearchMatch, ...]:
        return tuple(
            SearchMatch(
                rank=rank,
                item=entry.item,
                score=entry.score,
                probability=probabilities.get(entry.item.id),
                copies=entry.copies,
                _explain=self._explainer(query, entry.item),
                _thumbnail=self._thumbnail_of(entry.item.id),
            )
            for rank, entry in enumerate(ranked, 1)
        )

    def _explainer(self, query: QueryVector, item: Item) -> Callable | None:
        """Return what explains a match; None if the query is no single photo, of which there are pixels."""
        if not query.is_single or (query.seen is None and not query.ids):
            return None

        def explain() -> object:
            from pairlens.collection.result_pictures import explain_item, seen_pixels

            model = self.model()
            stored = self.store.items(query.ids) if query.seen is None else []
            seen = seen_pixels(self.store, model, stored[0]) if stored else query.seen
            if seen is None:
                raise ValueError(f"the photo {query.ids[0]} that was searched for is gone; search with another one")
            return explain_item(self.store, model, seen, item)

        return explain

    def _thumbnail_of(self, id: int) -> Callable[[], bytes]:
        return lambda: self.store.thumbnails([id]).get(id, b"")


def _with_items(store: Store, found: Found, k: int) -> list[_Ranked]:
    """Return the first k found items; one that another process has just removed is left out."""
    ids = [int(id) for id in found.ids[0, :k] if id >= 0]
    scores = dict(zip(ids, found.scores[0, :k].tolist(), strict=False))
    return [_Ranked(item, scores[item.id]) for item in store.items(ids)]


def _grouped(ranked: Sequence[_Ranked]) -> list[_Ranked]:
    """Return the best of each group of copies: the same photo, or the same picture in another encoding."""
    groups: list[tuple[_Ranked, list[int]]] = []
    for entry in ranked:
        copy_of = next((group for group in groups if is_copy(entry.item, group[0].item)), None)
        if copy_of is None:
            groups.append((entry, []))
        else:
            copy_of[1].append(entry.item.id)
    return [_Ranked(entry.item, entry.score, tuple(copies)) for entry, copies in groups]


def is_copy(first: Item, second: Item) -> bool:
    """Return whether two items show the same picture, in whatever encoding and size; regions of one photo do not."""
    if first.digest == second.digest:
        return first.region == second.region
    return bool(first.width and second.width) and same_looks(first.look, second.look)
