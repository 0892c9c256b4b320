"""Items whose photo is no longer where it was: those that were moved, and those that are gone."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pairlens.collection.filters import Condition, Under
from pairlens.collection.item import Item
from pairlens.collection.read_photo import is_part
from pairlens.collection.sources import PhotoSource, Sources
from pairlens.collection.store import Store

_PAGE = 4096


class GoneItems:
    """The items below the indexed folders that no source names, by the digest of their photo."""

    def __init__(self, store: Store, sources: Sources) -> None:
        """Find them; sources without a whole folder, such as single files, have none.

        A region is gone with its photo, or if boxes of its photo are named and it is none of them.
        """
        found: dict[tuple[str, str], list[PhotoSource]] = defaultdict(list)
        for source in sources.photos:
            found[source.root, source.name].append(source)
        self.held = 0
        self._by_digest: dict[str, list[Item]] = defaultdict(list)
        for item in _items_below(store, sources.folders):
            self.held += 1
            if not _is_named(item, found.get((item.root, item.path), ())) and not _is_below(item, sources.unopened):
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


def _is_named(item: Item, sources: Sequence[PhotoSource]) -> bool:
    boxes = [source.box for source in sources]
    # A folder alone says nothing about the regions that a table has named before.
    if item.region is not None and boxes and all(box is None for box in boxes):
        return True
    return any(is_part(item, box) for box in boxes)


def _is_below(item: Item, folders: Iterable[tuple[str, str]]) -> bool:
    return any(item.root == root and f"{item.path}/".startswith(f"{path}/" if path else "") for root, path in folders)


def _items_below(store: Store, folders: Iterable[tuple[str, str]]) -> Iterator[Item]:
    """Yield the items of whole folders, each once."""
    seen: set[int] = set()
    for root, path in dict.fromkeys(folders):
        where: Mapping[str, Condition] = {"path": Under(f"{path}/")} if path else {}
        after = 0
        while page := store.page(after, _PAGE, where):
            after = page[-1].id
            fresh = [item for item in page if item.root == root and item.id not in seen]
            seen.update(item.id for item in fresh)
            yield from fresh
