"""Whether a file is still the one that was opened."""

from pathlib import Path
from typing import NamedTuple


class Stamp(NamedTuple):
    """Size, date of the last change and inode of a file."""

    size: int
    changed: int
    inode: int


def stamp_of(file: Path) -> Stamp:
    """Return the stamp that a file has now; raises ValueError if it is gone."""
    try:
        found = file.stat()
    except OSError as error:
        raise ValueError(f"{file} is gone ({error.strerror}) while it was in use; bring it back") from error
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ino)
