"""Photos that are no files: pictures, arrays and bytes, which a collection keeps itself."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pairlens.collection.collection_model import VectorModel
from pairlens.collection.ingest import new_item
from pairlens.collection.ingested import Ingested
from pairlens.collection.item import NewItem, checked_metadata
from pairlens.collection.photo_view import contents_of, digest_of
from pairlens.collection.sources import PhotoSource
from pairlens.collection.store import Store
from pairlens.core.untrusted import is_plain_text
from pairlens.data.account import Exclusion
from pairlens.model.photo_input import single_photos

# Photos without a file lie below this name, which no folder has.
GIVEN_ROOT = ""


def is_place(photo: Any) -> bool:
    """Return whether something that is to be added is a place on the disk and not a picture itself."""
    return isinstance(photo, str | Path)


def add_given_photos(
    store: Store,
    model: VectorModel,
    photos: Sequence[Any],
    labels: Any = None,
    metadata: Any = None,
    names: Sequence[str] | None = None,
) -> Ingested:
    """Add pictures, arrays, tensors or the bytes of picture files, and keep the bytes.

    Args:
        store: where to.
        model: the active model.
        photos: the photos, or one batch of them as an array.
        labels: one label or None per photo; None or "auto" for no labels.
        metadata: one mapping per photo; None for no metadata.
        names: one name per photo, such as that of an uploaded file; by default the beginning of its digest.

    Raises:
        ValueError: if labels, metadata or names do not fit the photos. A photo that cannot be read is no error.
    """
    single = [part for photo in photos for part in single_photos(photo)[0]]
    labels = _one_each(None if isinstance(labels, str) else labels, len(single), "labels")
    metadata = _one_each(metadata, len(single), "metadata")
    names = _one_each(names, len(single), "names")
    refused: list[Exclusion] = []
    items: list[NewItem] = []
    seen: list[np.ndarray] = []
    for number, photo in enumerate(single):
        name = names[number] or f"photo {number + 1}"
        try:
            contents = contents_of(photo)
            view = model.read(contents if isinstance(photo, bytes) else photo)
        except (OSError, ValueError) as error:
            refused.append(Exclusion(name, "unreadable photo", str(error)))
            continue
        digest = digest_of(contents)
        path = _path(names[number], digest)
        source = PhotoSource(GIVEN_ROOT, path, None, _label(labels[number]), _described(metadata[number]))
        # Pixels without a file are kept as the JPEG that the collection shows.
        items.append(new_item(source, digest, view, contents if isinstance(photo, bytes) else view.thumbnail))
        seen.append(view.seen)
    held = {item.path for item in store.at(GIVEN_ROOT, [item.path for item in items])}
    distinct = {item.path: number for number, item in enumerate(items) if item.path not in held}
    new = sorted(distinct.values())
    ids: list[int] = []
    if new:
        vectors = model.embed(np.stack([seen[n] for n in new]))
        ids = store.add([items[n] for n in new], vectors, model.fingerprint)
    return Ingested(added=len(new), unchanged=len(items) - len(new), refused=tuple(refused), ids=tuple(ids))


def _one_each(values: Any, count: int, name: str) -> list[Any]:
    if values is None:
        return [None] * count
    listed = list(values) if not isinstance(values, Mapping) else [values]
    if len(listed) != count:
        raise ValueError(f"{len(listed)} {name} were given for {count} photos; give one for each")
    return listed


def _path(name: str | None, digest: str) -> str:
    """Return the path of an uploaded photo: the digest keeps two photos of one name apart."""
    # Only the last part of a name: some browsers send whole paths.
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    kept = "".join(letter for letter in last if letter.isprintable())[:120].strip()
    return f"{digest[:16]}/{kept}" if kept and is_plain_text(kept) else digest[:16]


def _label(label: Any) -> str | None:
    if label is None or (isinstance(label, str) and not label.strip()):
        return None
    text = str(label).strip()
    if not is_plain_text(text):
        raise ValueError(f"the label {text!r} has control characters; give a name")
    return text


def _described(metadata: Any) -> dict[str, Any]:
    return {} if metadata is None else checked_metadata(metadata)
