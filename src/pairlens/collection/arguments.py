"""What callers of a collection may write, as the records that it works with."""

from collections.abc import Iterable, Sequence
from typing import Any
from unicodedata import normalize

import numpy as np

from pairlens.collection.item import Region
from pairlens.core.untrusted import is_plain_text
from pairlens.core.whole_number import as_whole_number, shown_value
from pairlens.model.photo_input import single_photos


def listed_photos(photos: Any) -> list[Any]:
    """Return one photo or several as a list; arrays of ids, of paths, of vectors and of photos are several.

    >>> listed_photos(np.array([3, 4])), len(listed_photos(np.zeros((2, 8), np.float32)))
    ([3, 4], 2)
    """
    is_ids = isinstance(photos, np.ndarray) and photos.ndim == 1 and photos.dtype.kind in "iu"
    if is_ids:
        return photos.tolist()
    kind = str(getattr(photos, "dtype", ""))
    if getattr(photos, "ndim", 0) == 2 and "float" in kind:
        # (query, dim) vectors.
        return list(photos)
    return single_photos(photos)[0]


def as_item_ids(ids: int | Iterable[int]) -> np.ndarray:
    """Return ids as int64 (id,); raises ValueError for what is no whole number."""
    if isinstance(ids, int | np.integer):
        ids = [int(ids)]
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise ValueError(f"ids {shown_value(ids)} must be whole numbers")
    single = list(ids)
    return np.array([as_whole_number(id, "id") for id in single], np.int64)


def as_region(region: Region | Sequence[int] | None) -> Region | None:
    """Return (x, y, width, height) as a region; raises ValueError if it is none."""
    if region is None or isinstance(region, Region):
        return region
    if isinstance(region, str) or not isinstance(region, Iterable) or len(tuple(region)) != 4:
        raise ValueError(f"the region {shown_value(region)} is not x, y, width, height in pixels; give four numbers")
    return Region(*(as_whole_number(value, "region") for value in region))


def checked_label(label: str | None) -> str | None:
    """Return a label in NFC without blanks at its ends; raises ValueError if it is empty or has control characters."""
    if label is None:
        return None
    if not isinstance(label, str) or not label.strip() or not is_plain_text(label):
        raise ValueError(f"the label {label!r} is empty, no text, or has control characters; give a name or None")
    return normalize("NFC", label.strip())
