"""What a fuzz target is, and the files that targets share."""

import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hypothesis.strategies import SearchStrategy
from PIL import Image
from safetensors import SafetensorError

from fuzz.mutate import mutated
from pairlens.core.images import encode
from pairlens.data.annotations import Photo
from pairlens.data.catalog_writer import write_catalog

# The errors that a reader may raise; each has a message.
ALLOWED_ERRORS = (ValueError, FileNotFoundError, SafetensorError)
# A file system in memory, where there is one, so that a hundred thousand files do not wear out the disk.
MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Target:
    """A reader of bytes, and valid inputs for it."""

    open: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    strategy: SearchStrategy[bytes] | None = None

    def inputs(self) -> SearchStrategy[bytes]:
        """Return what draws inputs: those of the target, or damaged valid ones."""
        return self.strategy if self.strategy is not None else mutated(self.seeds())

    def run(self, data: bytes) -> None:
        """Read bytes that may be invalid; any error that is not allowed, or has no message, is raised."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self.open(data)
            except ALLOWED_ERRORS as error:
                if not str(error):
                    raise


@cache
def folder(process: int) -> Path:
    # The process number is part of the key of the cache, so a forked process gets its own folder.
    return Path(tempfile.mkdtemp(prefix=f"pairlens-fuzz-{process}-", dir=MEMORY if MEMORY.is_dir() else None))


def written(name: str, data: bytes) -> Path:
    file = folder(os.getpid()) / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


@cache
def catalog_parts() -> tuple[bytes, bytes]:
    """Return the Arrow file and the JSON file of a catalog."""
    jpeg = encode(Image.new("RGB", (9, 9), "red"), 8)
    rows = [
        (Photo(f"{name}/{i}.jpg", name, split), jpeg) for name, split in (("a", "train"), ("b", "test")) for i in "12"
    ]
    file = write_catalog(folder(os.getpid()) / "seed" / "uncropped.arrow", "seed", rows, 8).file
    return file.read_bytes(), file.with_suffix(".json").read_bytes()
