"""Photos that are no files: pictures, arrays and bytes, which a collection keeps itself."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np

from pairlens.collection.arguments import checked_label
from pairlens.collection.ingest import Progress, new_item, show_nothing
from pairlens.collection.ingested import Ingested
from pairlens.collection.item import NewItem, Value, checked_metadata
from pairlens.collection.known_changes import KnownChanges
from pairlens.collection.photo_view import contents_of, digest_of, kept_pixels
from pairlens.collection.sources import PhotoSource
from pairlens.collection.store import Store
from pairlens.collection.vector_model import VectorModel
from pairlens.core.photo_reading import PhotoReading
from pairlens.core.untrusted import is_plain_text
from pairlens.data.account import Exclusion
from pairlens.model.photo_input import pixels_of, single_photos

# Photos without a file lie below this name, which no folder has.
GIVEN_ROOT = ""
# Photos that are read, embedded and written at a time.
_PART = 256


def add_given_photos(
    store: Store,
    model: VectorModel,
    photos: Sequence[Any],
    labels: Any = None,
    metadata: Any = None,
    names: Sequence[str | None] | None = None,
    progress: Progress = show_nothing,
) -> Ingested:
    """Add pictures, arrays, tensors, files or the bytes of picture files, and keep the bytes.

    A photo that is held already, under whatever name, is not added again; its label and its metadata become the given ones.

    Args:
        store: where to.
        model: the active model.
        photos: the photos, or batches of them as arrays.
        labels: one label or None per photo; None, "auto" or "none" for no labels.
        metadata: one mapping or None per photo; None for no metadata.
        names: one name or None per photo, such as that of an uploaded file; by default the beginning of its digest.
        progress: called after each photo with the numbers of photos that are done and of all.

    Raises:
        ValueError: if labels, metadata or names do not fit the photos. A photo that cannot be read is no error.
    """
    start = time.monotonic()
    single = [part for photo in photos for part in single_photos(photo)[0]]
    given = [
        _Given(photo, name, _label(label), _described(described))
        for photo, label, described, name in zip(
            single,
            _one_each(_labels(labels), len(single), "labels"),
            _one_each(metadata, len(single), "metadata"),
            _one_each(names, len(single), "names"),
            strict=True,
        )
    ]
    done = Ingested()
    # In parts, because pixels and originals of thousands of photos would fill the memory.
    for first in range(0, len(given), _PART):
        part = _add_part(store, model, given[first : first + _PART], first)
        done = Ingested(
            added=done.added + part.added,
            updated=done.updated + part.updated,
            unchanged=done.unchanged + part.unchanged,
            refused=(*done.refused, *part.refused),
            ids=(*done.ids, *part.ids),
        )
        progress(min(first + _PART, len(given)), len(given))
    return replace(done, seconds=time.monotonic() - start)


@dataclass(frozen=True, eq=False)
class _Given:
    """A photo with what is said about it."""

    photo: Any
    name: str | None
    label: str | None
    metadata: dict[str, Value]


def _add_part(store: Store, model: VectorModel, given: Sequence[_Given], first: int) -> Ingested:
    refused: list[Exclusion] = []
    # By digest, so that the same photo is added once.
    read: dict[str, tuple[NewItem, np.ndarray]] = {}
    repeated = 0
    for number, one in enumerate(given, first + 1):
        try:
            item, seen = _read(one, model)
        except (OSError, ValueError) as error:
            refused.append(Exclusion(str(one.name or f"photo {number}"), "unreadable photo", str(error)))
            continue
        repeated += item.digest in read
        read.setdefault(item.digest, (item, seen))
    held = {item.digest: item for item in store.with_digests(list(read)) if item.root == GIVEN_ROOT and not item.region}
    changes = KnownChanges()
    updated = sum(
        changes.describe(held[key], item.label, item.metadata) for key, (item, _) in read.items() if key in held
    )
    changes.write(store)
    new = [pair for key, pair in read.items() if key not in held]
    ids: list[int] = []
    if new:
        vectors = model.embed(np.stack([seen for _, seen in new]))
        ids = store.add([item for item, _ in new], vectors, model.fingerprint)
    unchanged = len(held) - updated + repeated
    return Ingested(added=len(new), updated=updated, unchanged=unchanged, refused=tuple(refused), ids=tuple(ids))


def _read(given: _Given, model: VectorModel) -> tuple[NewItem, np.ndarray]:
    """Return the item of a photo, and what the model sees of it; raises ValueError or OSError if it cannot be read."""
    if isinstance(given.photo, str | Path | bytes | bytearray | memoryview):
        original = contents_of(given.photo)
        digest, seen = digest_of(original), model.read(original)
    else:
        pixels = pixels_of(given.photo, PhotoReading())
        original, digest, seen = kept_pixels(pixels), digest_of(contents_of(pixels)), model.read(pixels)
    source = PhotoSource(GIVEN_ROOT, _path(given.name, digest), None, given.label, given.metadata)
    return new_item(source, digest, seen, original), seen.seen


def _labels(labels: Any) -> Any:
    if isinstance(labels, str | Path) and labels not in ("auto", "none"):
        raise ValueError(f"the labels {str(labels)!r} are one text; give a list with one label for each photo")
    return None if isinstance(labels, str) else labels


def _one_each(values: Any, count: int, name: str) -> list[Any]:
    if values is None:
        return [None] * count
    listed = [values] if isinstance(values, Mapping | str) else list(values)
    if len(listed) != count:
        raise ValueError(f"{len(listed)} {name} were given for {count} photos; give one for each")
    return listed


def _path(name: str | None, digest: str) -> str:
    """Return the path of an uploaded photo: the digest keeps two photos of one name apart."""
    # Only the last part of a name: some browsers send whole paths.
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    kept = "".join(letter for letter in last if letter.isprintable())[:120].strip()
    kept = normalize("NFC", kept)
    return f"{digest[:16]}/{kept}" if kept and is_plain_text(kept) else digest[:16]


def _label(label: Any) -> str | None:
    # Numbers of NumPy and PyTorch are labels by their value; NaN, which differs from itself, is a missing one.
    plain = label.item() if hasattr(label, "item") and not isinstance(label, str) else label
    if plain is None or plain != plain or not str(plain).strip():
        return None
    return checked_label(str(plain))


def _described(metadata: Any) -> dict[str, Any]:
    return {} if metadata is None else checked_metadata(metadata)
