"""What callers of a collection may write, as the records that it works with."""

from collections.abc import Iterable, Sequence
from typing import Any
from unicodedata import normalize

import numpy as np

from pairlens.collection.item import Region
from pairlens.core.untrusted import is_plain_text
from pairlens.core.whole_number import as_whole_number


def listed_photos(photos: Any) -> list[Any]:
    """Return one photo or several as a list."""
    return list(photos) if isinstance(photos, list | tuple) else [photos]


def as_item_ids(ids: int | Iterable[int]) -> np.ndarray:
    """Return ids as int64 (id,); raises ValueError for what is no whole number."""
    single = [ids] if isinstance(ids, int | np.integer) else list(ids)
    return np.array([as_whole_number(id, "id") for id in single], np.int64)


def as_region(region: Region | Sequence[int] | None) -> Region | None:
    """Return (x, y, width, height) as a region; raises ValueError if it is none."""
    if region is None or isinstance(region, Region):
        return region
    if len(region) != 4:
        raise ValueError(f"the region {tuple(region)} is not x, y, width, height in pixels; give four numbers")
    return Region(*(as_whole_number(value, "region") for value in region))


def checked_label(label: str | None) -> str | None:
    """Return a label in NFC without blanks at its ends; raises ValueError if it is empty or has control characters."""
    if label is None:
        return None
    if not isinstance(label, str) or not label.strip() or not is_plain_text(label):
        raise ValueError(f"the label {label!r} is empty, no text, or has control characters; give a name or None")
    return normalize("NFC", label.strip())
