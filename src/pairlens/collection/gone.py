"""Items whose photo is no longer where it was: those that were moved, and those that are gone."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from pairlens.collection.filters import Condition, Under
from pairlens.collection.item import Item
from pairlens.collection.sources import PhotoSource, Sources
from pairlens.collection.store import Store
from pairlens.core.boxes import Box, ShareBox

_PAGE = 4096


class GoneItems:
    """The items below the indexed folders that no source names, by the digest of their photo."""

    def __init__(self, store: Store, sources: Sources) -> None:
        """Find them; sources without a whole folder, such as single files, have none."""
        found: dict[tuple[str, str], list[PhotoSource]] = defaultdict(list)
        for source in sources.photos:
            found[source.root, source.name].append(source)
        self.held = 0
        self._by_digest: dict[str, list[Item]] = defaultdict(list)
        for item in _items_below(store, sources.folders):
            self.held += 1
            if not any(_is_region_of(item, source.box) for source in found.get((item.root, item.path), ())):
                self._by_digest[item.digest].append(item)

    def take(self, digest: str) -> Item | None:
        """Return an item of the whole photo with this digest, which was moved and is not gone; None if there is none."""
        whole = next((item for item in self._by_digest.get(digest, ()) if item.region is None), None)
        if whole is not None:
            self._by_digest[digest].remove(whole)
        return whole

    def has(self, digest: str) -> bool:
        """Return whether `take` would return an item at this moment."""
        return any(item.region is None for item in self._by_digest.get(digest, ()))

    def left(self) -> list[Item]:
        """Return the items that were not taken, by rising id."""
        return sorted((item for items in self._by_digest.values() for item in items), key=lambda item: item.id)


def _is_region_of(item: Item, box: Box | ShareBox | None) -> bool:
    """Return whether an item is the part of its photo that a box names; a box is cut to the photo when it is stored."""
    if box is None or item.region is None:
        return box is None and item.region is None
    left, top, right, bottom = box.pixels(item.width, item.height) if isinstance(box, ShareBox) else box
    return item.region.box == (max(left, 0), max(top, 0), min(right, item.width), min(bottom, item.height))


def _items_below(store: Store, folders: Iterable[tuple[str, str]]) -> Iterator[Item]:
    """Yield the items of whole folders, each once."""
    seen: set[int] = set()
    for root, path in dict.fromkeys(folders):
        where: Mapping[str, Condition] = {"path": Under(f"{path}/")} if path and path != "." else {}
        after = 0
        while page := store.page(after, _PAGE, where):
            after = page[-1].id
            fresh = [item for item in page if item.root == root and item.id not in seen]
            seen.update(item.id for item in fresh)
            yield from fresh
