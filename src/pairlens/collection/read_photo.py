"""Reading photos that are to be indexed: decoded and embedded only if their bytes are new to the collection."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import numpy as np

from pairlens.collection.collection_model import CollectionModel
from pairlens.collection.item import Item, Region
from pairlens.collection.photo_view import MAX_FILE_BYTES, PhotoView, digest_of, view_photo
from pairlens.collection.sources import PhotoSource
from pairlens.core.boxes import Box, ShareBox
from pairlens.core.untrusted import read_bytes
from pairlens.data.account import Exclusion
from pairlens.model.photo_input import PhotoInput

Read = TypeVar("Read")


@dataclass(frozen=True, eq=False)
class ReadPhoto:
    """One source after it was read.

    Attributes:
        source: what was read.
        digest: of the file.
        view: what is kept of it; None if the collection has it already, or it was refused.
        old: the item of this path and region that the collection has.
        refused: why it could not be read.
        vector: float32 (dim,), if it was embedded where it was read.
    """

    source: PhotoSource
    digest: str = ""
    view: PhotoView | None = None
    old: Item | None = None
    refused: Exclusion | None = None
    vector: np.ndarray | None = None

    @property
    def is_known(self) -> bool:
        """Whether the collection has this very photo at this very path."""
        return self.old is not None and self.old.digest == self.digest


# What is asked for: a source, and the items that the collection has at its path.
Asked = tuple[PhotoSource, tuple[Item, ...]]


def read_photo(asked: Asked, view: PhotoInput, was_moved: Callable[[str], bool] = lambda digest: False) -> ReadPhoto:
    """Read one photo.

    Args:
        asked: what to read.
        view: of the model.
        was_moved: whether an item of this digest is gone from its path, so that a new path is the same photo moved.
    """
    source, old = asked
    try:
        contents = read_bytes(source.file, MAX_FILE_BYTES)
        digest = digest_of(contents)
        same = next((item for item in old if is_part(item, source.box)), None)
        if same is not None and same.digest == digest:
            return ReadPhoto(source, digest, None, same)
        if same is None and source.box is None and was_moved(digest):
            return ReadPhoto(source, digest)
        seen = view_photo(contents, view, source.box)
        # A photo that has changed may have another size, of which a box is another region.
        return ReadPhoto(source, digest, seen, same or _with_region(old, seen.region))
    except (OSError, ValueError) as error:
        return ReadPhoto(source, refused=refusal(source, error))


def read_and_embed(
    asked: Sequence[Asked], model: CollectionModel, was_moved: Callable[[str], bool] = lambda digest: False
) -> list[ReadPhoto]:
    """Read photos as `read_photo` does, and embed those that are new as one batch."""
    read = [read_photo(one, model.view, was_moved) for one in asked]
    new = [(n, photo.view.seen) for n, photo in enumerate(read) if photo.view is not None]
    if new:
        vectors = model.embed(np.stack([seen for _, seen in new]))
        for (n, _), vector in zip(new, vectors, strict=True):
            read[n] = replace(read[n], vector=vector)
    return read


def in_batches(items: Iterable[Read], size: int) -> Iterator[list[Read]]:
    """Yield what is to be read in lists of a size; the last one may be shorter.

    >>> list(in_batches("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def refusal(source: PhotoSource, error: Exception) -> Exclusion:
    """Return why a photo is refused."""
    kind = "missing file" if isinstance(error, FileNotFoundError) else "unreadable photo"
    return Exclusion(source.path, kind, str(error) or type(error).__name__)


def is_part(item: Item, box: Box | ShareBox | None) -> bool:
    """Return whether an item is the part of its photo that a box names; a box is cut to the photo when it is stored."""
    if box is None or item.region is None:
        return box is None and item.region is None
    left, top, right, bottom = box.pixels(item.width, item.height) if isinstance(box, ShareBox) else box
    return item.region.box == (max(left, 0), max(top, 0), min(right, item.width), min(bottom, item.height))


def _with_region(items: Iterable[Item], region: Region | None) -> Item | None:
    return next((item for item in items if item.region == region), None)
