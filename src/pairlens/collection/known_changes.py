"""Changes of items whose photo is unchanged: other labels, metadata and paths, written together."""

from collections import defaultdict
from collections.abc import Mapping

from pairlens.collection.item import Item, Value
from pairlens.collection.store import Store


class KnownChanges:
    """What is to be changed; `write` does it once with few transactions, because each of them waits for the disk."""

    def __init__(self) -> None:
        """Begin with no change."""
        self._labels: dict[str, list[int]] = defaultdict(list)
        self._metadata: dict[int, dict[str, Value]] = {}
        self._moves: dict[str, dict[int, str]] = defaultdict(dict)

    def __len__(self) -> int:
        """Return the number of changes."""
        return sum(map(len, (*self._labels.values(), self._metadata, *self._moves.values())))

    def describe(self, item: Item, label: str | None, metadata: Mapping[str, Value]) -> bool:
        """Note the label and the metadata that an item is to have; returns whether one of them is another.

        A label that is None, and keys of the metadata that are not given, stay as they are.
        """
        is_relabelled = label is not None and label != item.label
        if label is not None and is_relabelled:
            self._labels[label].append(item.id)
        described = {**item.metadata, **metadata}
        # Compared with their types, because 1, 1.0 and True are equal in Python.
        is_described = {key: (type(value), value) for key, value in described.items()} != {
            key: (type(value), value) for key, value in item.metadata.items()
        }
        if is_described:
            self._metadata[item.id] = described
        return is_relabelled or is_described

    def move(self, item: Item, root: str, path: str) -> None:
        """Note another place of an item."""
        self._moves[root][item.id] = path

    def write(self, store: Store) -> None:
        """Write the changes."""
        for root, paths in self._moves.items():
            store.move(list(paths), root, list(paths.values()))
        for label, ids in self._labels.items():
            store.relabel(ids, label)
        if self._metadata:
            store.set_metadata(list(self._metadata), list(self._metadata.values()))
