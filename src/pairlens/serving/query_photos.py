"""The photos that were searched with, kept for a day so that a search can be looked at again and sent to somebody."""

import re
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock

from pairlens.collection.photo_view import digest_of
from pairlens.core.files import atomic_write
from pairlens.core.untrusted import read_bytes

_DIGEST = re.compile("[0-9a-f]{64}")
# How often the folder is looked through, because other processes write there, too.
_PHOTOS_BETWEEN_LOOKS, _SECONDS_BETWEEN_LOOKS = 256, 60.0
# A full folder is emptied to this share, so that the next photos find room without a look.
_SHARE_THAT_STAYS = 0.9
# The bytes of the photos that are held in memory until they are on the disk, and a little longer.
RECENT_BYTES = 32 << 20


class QueryPhotos:
    """Photos by their digest, in a folder that all processes of a server share; the oldest go when it is full."""

    def __init__(self, folder: Path, most_bytes: int, seconds: float, now: Callable[[], float] = time.time) -> None:
        """Keep photos in a folder that exists."""
        self.folder = folder
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._now = now
        self._recent: OrderedDict[str, bytes] = OrderedDict()
        self._recent_bytes = 0
        self._lock = Lock()
        # One thread, so that a search does not wait for the disk.
        self._writer = ThreadPoolExecutor(1, "pairlens query photos")
        # What the folder held when this process looked through it, with what the process has written since.
        self._held_bytes = 0
        self._photos_since_look = _PHOTOS_BETWEEN_LOOKS
        self._looked = now()

    def keep(self, contents: bytes) -> str:
        """Keep a photo, and return its digest."""
        digest = digest_of(contents)
        with self._lock:
            # Equal digests have equal contents.
            self._recent_bytes += 0 if digest in self._recent else len(contents)
            self._recent[digest] = contents
            self._recent.move_to_end(digest)
            while len(self._recent) > 1 and self._recent_bytes > RECENT_BYTES:
                self._recent_bytes -= len(self._recent.popitem(last=False)[1])
        self._writer.submit(self._write, digest, contents)
        return digest

    def read(self, digest: str) -> bytes:
        """Return a photo; raises FileNotFoundError if it is not kept (any more)."""
        if _DIGEST.fullmatch(digest):
            with self._lock:
                recent = self._recent.get(digest)
            if recent is not None:
                return recent
            file = self.folder / digest
            with suppress(OSError, ValueError):
                if self._now() - file.stat().st_mtime < self._seconds:
                    return read_bytes(file)
        raise FileNotFoundError(
            "the photo of this search is not kept any more; search with the photo again (photos are kept for "
            f"{self._seconds / 3600:g} hours, on the machine that was asked)"
        )

    def close(self) -> None:
        """Wait until everything is on the disk."""
        self._writer.shutdown()

    def _write(self, digest: str, contents: bytes) -> None:
        # A photo that cannot be kept is no reason to fail: its link will say so.
        with suppress(OSError, ValueError):
            self._make_room(len(contents))
            # After a power failure nobody asks for these photos.
            with atomic_write(self.folder / digest, flush=False) as file:
                file.write(contents)

    def _make_room(self, needed: int) -> None:
        self._held_bytes += needed
        self._photos_since_look += 1
        is_recent = (
            self._photos_since_look < _PHOTOS_BETWEEN_LOOKS and self._now() - self._looked < _SECONDS_BETWEEN_LOOKS
        )
        if is_recent and self._held_bytes <= self._most_bytes:
            return
        self._photos_since_look, self._looked = 0, self._now()
        self._held_bytes = self._without_old(needed)

    def _without_old(self, needed: int) -> int:
        """Remove the oldest photos until there is room; returns the bytes of the rest and of what is needed."""
        entries = []
        for file in self.folder.iterdir():
            with suppress(OSError):
                if _DIGEST.fullmatch(file.name):
                    status = file.stat()
                    entries.append((status.st_mtime, status.st_size, file))
        total = needed + sum(size for _, size, _ in entries)
        most = self._most_bytes if total <= self._most_bytes else _SHARE_THAT_STAYS * self._most_bytes
        for written, size, file in sorted(entries):
            if total > most or self._now() - written > self._seconds:
                file.unlink(missing_ok=True)
                total -= size
        return total
