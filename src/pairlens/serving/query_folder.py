"""The temporary folder of a server, for photos that are searched with; what killed servers have left is removed."""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, gettempdir

from pairlens.core.files import lock_folder

PREFIX = "pairlens-queries-"
# A younger folder may be that of a server which is just starting and has not locked it yet.
SECONDS_TO_START = 60.0


@contextmanager
def query_folder() -> Iterator[Path]:
    """Yield a new folder, which is removed at the end; first, those of servers that were killed are removed."""
    remove_abandoned(Path(gettempdir()))
    with TemporaryDirectory(prefix=PREFIX) as name, lock_folder(Path(name)):
        yield Path(name)


def remove_abandoned(place: Path) -> None:
    """Remove the folders of servers in a place that no process holds any more; what cannot be removed stays."""
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError, ValueError):
            if _is_own(folder) and time.time() - folder.stat().st_mtime > SECONDS_TO_START:
                # Refused while its server lives. No other server will ever use a folder that exists.
                with lock_folder(folder):
                    pass
                rmtree(folder, ignore_errors=True)


def _is_own(folder: Path) -> bool:
    """Return whether it is a folder, and no link, of this user."""
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and (os.name != "posix" or status.st_uid == os.getuid())
