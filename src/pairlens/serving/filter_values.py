"""Which filters a collection has: its labels, and the values of its metadata, with their numbers of photos."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pairlens.collection.item import Value
from pairlens.collection.store import Store

# Of a larger collection the values are counted in this many of its photos.
COUNTED = 100_000
VALUES_SHOWN = 30
_PAGE = 4096


@dataclass(frozen=True)
class KeyValues:
    """The values of one key of the metadata.

    Attributes:
        photos: that have the key.
        values: the most frequent ones with their numbers of photos; empty if almost every photo has a value of its own.
        low, high: the smallest and the largest number; None if there are no numbers.
    """

    photos: int
    values: tuple[tuple[Value, int], ...]
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class FilterValues:
    """The filters of a collection; `counted` photos of `photos` were looked at for the metadata."""

    photos: int
    counted: int
    labels: tuple[tuple[str | None, int], ...]
    keys: dict[str, KeyValues] = field(default_factory=dict)


def count_values(store: Store) -> FilterValues:
    """Return the filters of a store, with exact numbers for labels."""
    values: dict[str, Counter[Value]] = {}
    photos: Counter[str] = Counter()
    counted = after = 0
    # The keys are asked for first, because most collections have none, and then no item has to be read.
    pages = store.metadata_keys()
    while pages and counted < COUNTED and (page := store.page(after, _PAGE)):
        after = page[-1].id
        counted += len(page)
        for item in page:
            for key, value in item.metadata.items():
                photos[key] += 1
                values.setdefault(key, Counter())[value] += 1
    keys = {key: _key_values(photos[key], values[key]) for key, _ in photos.most_common()}
    return FilterValues(store.count(), counted, tuple(store.labels().items()), keys)


def _key_values(photos: int, counts: Counter[Value]) -> KeyValues:
    numbers = [value for value in counts if isinstance(value, int | float) and not isinstance(value, bool)]
    # A key whose values are nearly all different, such as a title, is no filter.
    few = len(counts) <= VALUES_SHOWN or len(counts) * 2 < photos
    shown = tuple(counts.most_common(VALUES_SHOWN)) if few and len(numbers) < len(counts) else ()
    if not shown and len(counts) <= VALUES_SHOWN // 3:
        shown = tuple(counts.most_common())
    return KeyValues(photos, shown, min(numbers, default=None), max(numbers, default=None))


def plain_filters(filters: FilterValues) -> dict[str, Any]:
    """Return the filters as plain data for JSON."""
    return {
        "photos": filters.photos,
        "counted": filters.counted,
        "labels": [{"label": label, "count": count} for label, count in filters.labels],
        "metadata": {
            key: {
                "count": values.photos,
                "values": [{"value": value, "count": count} for value, count in values.values],
                "low": values.low,
                "high": values.high,
            }
            for key, values in filters.keys.items()
        },
    }
