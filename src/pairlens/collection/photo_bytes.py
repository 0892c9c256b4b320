"""The bytes of a photo that a collection holds, wherever they are now."""

from pathlib import Path

from pairlens.collection.item import Item
from pairlens.collection.photo_view import MAX_FILE_BYTES, digest_of
from pairlens.collection.store import Store
from pairlens.core.untrusted import read_bytes


def photo_bytes(store: Store, item: Item) -> bytes | None:
    """Return the bytes of a photo: those that the collection keeps, or its file; None if it is gone or has changed."""
    if item.has_original:
        return store.original(item.id)
    # An item without a root is no file: its path is a name, or a place outside this machine.
    if not item.root:
        return None
    try:
        contents = read_bytes(Path(item.file), MAX_FILE_BYTES)
    except (OSError, ValueError):
        return None
    return contents if digest_of(contents) == item.digest else None
