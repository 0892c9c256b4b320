"""A consistent copy of a collection, taken while others write."""

from contextlib import suppress
from pathlib import Path

from pairlens.collection.location import DATABASE
from pairlens.collection.store import Store
from pairlens.core.files import make_folder


def write_snapshot(store: Store, folder: Path) -> None:
    """Write a copy of a collection into a new folder, which is a collection itself.

    Raises:
        ValueError: if the folder exists already, or the store is copied by its own means, which the message names.
        OSError: if it cannot be written.
    """
    if folder.exists():
        raise ValueError(f"{folder} exists already and is never overwritten; give the copy another name")
    make_folder(folder)
    try:
        store.snapshot(str(folder / DATABASE))
    except BaseException:
        # An empty folder would look like the beginning of a collection.
        with suppress(OSError):
            folder.rmdir()
        raise
