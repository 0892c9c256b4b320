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
        wanted = max(k * (GROUP_FACTOR if group else 1), NEAREST if self.judge.calibration() is not None else 0)
        founds = self._found(queries, wanted, where, index)
        judged = self.judge.judge(queries, founds, rate)
        return [
            SearchResult(
                matches=self._matches(query, self._ranked(query, found, k, where, index, group), opinion.probabilities),
                verdict=opinion.verdict,
                probability=opinion.probability,
                rate=opinion.rate,
                interval=opinion.interval,
                reason=opinion.reason,
                recall=found.recall,
                vector=query.vector,
            )
            for query, found, opinion in zip(queries, founds, judged, strict=True)
        ]

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
        if not group:
            return _with_items(self.store, found, k)
        searched = found.ids.shape[1]
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
                _explain=None if query.seen is None else self._explainer(query.seen, entry.item),
                _thumbnail=self._thumbnail_of(entry.item.id),
            )
            for rank, entry in enumerate(ranked, 1)
        )

    def _explainer(self, seen: np.ndarray, item: Item) -> Callable:
        def explain() -> object:
            from pairlens.collection.result_pictures import explain_item

            return explain_item(self.store, self.model(), seen, item)

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
