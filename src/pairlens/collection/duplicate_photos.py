"""Duplicates in a collection: the same photo, the same picture in another encoding, and photos that are near."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pairlens.collection.collection_model import CollectionModel, NoModelError
from pairlens.collection.store import Store

# Two of the 64 bits of a look may differ, see `same_looks`.
LOOK_BITS = 3
# Below this many set or unset bits a picture is nearly uniform, and its look says nothing.
PLAIN_BITS = 6
# A look is divided into this many parts, of which one is equal if at most LOOK_BITS bits differ.
_PARTS = LOOK_BITS + 1
_SAMPLE, _BORDER, _FALLBACK = 128, 0.1, 0.95
_PAGE, _QUERIES, _NEIGHBOURS = 4096, 256, 10


@dataclass(frozen=True)
class DuplicatePhotos:
    """Groups of items, each by rising id.

    Attributes:
        same_photo: equal bytes and equal region.
        same_picture: other bytes, but the same picture: another encoding or size.
        near: other pictures whose vectors have a cosine of at least `threshold`.
        threshold: see `near`.
        reason: one sentence about where the threshold comes from.
    """

    same_photo: tuple[tuple[int, ...], ...]
    same_picture: tuple[tuple[int, ...], ...]
    near: tuple[tuple[int, ...], ...]
    threshold: float
    reason: str


def same_looks(first: int, second: int) -> bool:
    """Return whether two looks are of the same picture: at most three of their 64 bits differ.

    Of 294 photos of CUB-200-2010, 96 % are recognised as JPEG of quality 60, and 93 % at half the size too. Of 11.4 million
    pairs of photos of CUB-200-2011 and CARS196, five are so alike, and all of these are copies; with four bits there are
    three wrong pairs.

    >>> same_looks(0xFF00FF00FF00FF00, 0xFF00FF00FF00FF01), same_looks(0xFF00FF00FF00FF00, 0x00FF00FF00FF00FF)
    (True, False)
    """
    return (first ^ second).bit_count() <= LOOK_BITS and PLAIN_BITS <= first.bit_count() <= 64 - PLAIN_BITS


def find_duplicates(store: Store, model: Callable[[], CollectionModel], near: float | None = None) -> DuplicatePhotos:
    """Return the duplicates of a collection.

    Args:
        store: of the collection.
        model: opens its model, with which the threshold is derived.
        near: cosine from which photos count as near; None to derive it.

    Raises:
        ValueError: if `near` is no cosine.
    """
    if near is not None and not -1 <= near <= 1:
        raise ValueError(f"near is {near}, but a cosine lies between -1 and 1")
    photos: dict[tuple[str, tuple[int, ...] | None], list[int]] = defaultdict(list)
    looks: list[tuple[int, int]] = []
    after = 0
    while page := store.page(after, _PAGE):
        after = page[-1].id
        for item in page:
            photos[item.digest, None if item.region is None else item.region.box].append(item.id)
            if item.width and PLAIN_BITS <= item.look.bit_count() <= 64 - PLAIN_BITS:
                looks.append((item.id, item.look))
    same_photo = [tuple(ids) for ids in photos.values() if len(ids) > 1]
    same = _Joined(pair for ids in same_photo for pair in pairwise(ids))
    pictures = _Joined(_look_pairs(looks))
    pictures.join_all((ids[0], other) for ids in same_photo for other in ids[1:])
    same_picture = [group for group in pictures.groups() if len({same.root(id) for id in group}) > 1]
    threshold, reason = (near, "it was given") if near is not None else near_threshold(store, model)
    close = _Joined(_near_pairs(store, threshold))
    groups = [group for group in close.groups() if len({pictures.root(id) for id in group}) > 1]
    return DuplicatePhotos(
        tuple(sorted(same_photo)), tuple(sorted(same_picture)), tuple(sorted(groups)), threshold, reason
    )


class _Joined:
    """Items that are joined by pairs; the items of a chain of pairs are one group."""

    def __init__(self, pairs: Iterator[tuple[int, int]] | Sequence[tuple[int, int]]) -> None:
        self._parent: dict[int, int] = {}
        self.join_all(pairs)

    def join_all(self, pairs: Iterator[tuple[int, int]] | Sequence[tuple[int, int]]) -> None:
        for first, second in pairs:
            self._parent[max(self.root(first), self.root(second))] = min(self.root(first), self.root(second))

    def root(self, id: int) -> int:
        """Return the smallest id of the group of an item; the id itself if it is joined with none."""
        while (parent := self._parent.get(id, id)) != id:
            # Every second step is skipped the next time.
            self._parent[id] = self._parent.get(parent, parent)
            id = parent
        return id

    def groups(self) -> list[tuple[int, ...]]:
        members: dict[int, list[int]] = defaultdict(list)
        for id in self._parent:
            members[self.root(id)].append(id)
        roots = {root: sorted({root, *ids}) for root, ids in members.items()}
        return [tuple(ids) for ids in roots.values() if len(ids) > 1]


def _look_pairs(looks: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the pairs whose looks differ in at most LOOK_BITS bits.

    Such looks are equal in one of LOOK_BITS + 1 parts at least, so only those that share a part are compared.
    """
    bits = 64 // _PARTS
    for part in range(_PARTS):
        buckets: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for id, look in looks:
            buckets[look >> (part * bits) & ((1 << bits) - 1)].append((id, look))
        for bucket in buckets.values():
            yield from _close_pairs(bucket)


def _close_pairs(bucket: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    ids = np.array([id for id, _ in bucket], np.int64)
    values = np.array([look for _, look in bucket], np.uint64)
    for n in range(len(bucket) - 1):
        distances = np.bitwise_count(values[n + 1 :] ^ values[n])
        for other in np.flatnonzero(distances <= LOOK_BITS).tolist():
            yield int(ids[n]), int(ids[n + 1 + other])


def _near_pairs(store: Store, threshold: float) -> Iterator[tuple[int, int]]:
    """Yield the pairs of an item and its nearest other items whose cosine reaches the threshold."""
    for ids, vectors in store.vector_blocks():
        for start in range(0, len(ids), _QUERIES):
            part = ids[start : start + _QUERIES]
            # One more than wanted, because each item finds itself.
            found = store.search(vectors[start : start + _QUERIES], _NEIGHBOURS + 1)
            rows, ranks = np.nonzero((found.scores >= threshold) & (found.ids >= 0))
            for row, rank in zip(rows.tolist(), ranks.tolist(), strict=True):
                if found.ids[row, rank] != part[row]:
                    yield int(part[row]), int(found.ids[row, rank])


def near_threshold(store: Store, model: Callable[[], CollectionModel]) -> tuple[float, str]:
    """Return the cosine from which photos count as near, and a sentence that says where it comes from.

    A photo counts as near to another one if it is as close to it as the median photo is to itself without its border: 10 %
    of each side, embedded by the same model. So the threshold follows the model and the photos.
    """
    ids = store.ids()
    chosen = ids[np.linspace(0, len(ids) - 1, min(_SAMPLE, len(ids))).astype(int)] if len(ids) else ids
    thumbnails = [contents for contents in store.thumbnails(chosen).values() if contents]
    try:
        opened = model() if thumbnails else None
    except NoModelError:
        opened = None
    if opened is None:
        return _FALLBACK, "the collection has no photos or no model to derive it from, so it is a usual value"
    whole, inner = (_embedded(opened, thumbnails, border) for border in (0.0, _BORDER))
    threshold = float(np.median((whole * inner).sum(axis=1)))
    return threshold, (
        f"half of {len(thumbnails)} photos have at least this cosine with themselves without a border of 10 % of each side"
    )


def _embedded(model: CollectionModel, thumbnails: Sequence[bytes], border: float) -> np.ndarray:
    from pairlens.collection.photo_view import view_photo
    from pairlens.core.boxes import ShareBox

    box = ShareBox(border, border, 1 - border, 1 - border) if border else None
    return model.embed(np.stack([view_photo(contents, model.view, box).seen for contents in thumbnails]))
