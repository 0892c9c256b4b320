"""Files that appear under their name only when they are complete, and folders that one process at a time writes to."""

import errno
import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

LOCK_FILE = ".lock"
# What a killed process leaves: our parts, and those of safetensors, which writes beside its target too.
LEFTOVERS = ("*.part", ".tmp*")
ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, or have your quota raised",
    errno.EROFS: "the disk is read-only; choose another folder, or mount it for writing",
    errno.EACCES: "choose another folder, or get the right to write there",
    errno.EPERM: "choose another folder, or get the right to write there",
    errno.ENOENT: "its folder is gone; bring it back",
}


class UnwritableError(OSError):
    """A file could not be written; what was there before is still there."""


def write_text(file: Path, text: str) -> None:
    """Write a text file whole or not at all: beside it first, then renamed; raises UnwritableError."""
    with atomic_write(file) as part:
        part.write_text(text)


def write_tensors(file: Path, tensors: Mapping[str, Tensor], names: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, with texts in its head, whole or not at all; raises UnwritableError."""
    with atomic_write(file) as part:
        part.touch()
        mode = part.stat().st_mode
        save_file(dict(tensors), part, metadata=None if names is None else dict(names))
        # safetensors gives its files to their owner alone, whatever the umask says.
        part.chmod(mode)


@contextmanager
def atomic_write(file: Path) -> Iterator[Path]:
    """Give a path to write to; when the block ends well it is on the disk, and takes the name of the file.

    What was under that name stays until then, also when the power goes: contents first, then the name.

    Raises:
        UnwritableError: saying which file, why, and what to do.
    """
    part = file.with_name(file.name + ".part")
    try:
        yield part
        _to_disk(part)
        part.replace(file)
        _to_disk(file.parent)
    except (OSError, SafetensorError) as error:
        _remove(part)
        raise _unwritable(file, error) from error
    except BaseException:
        _remove(part)
        raise


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(part: Path) -> None:
    with suppress(OSError):
        part.unlink(missing_ok=True)


def _unwritable(file: Path, error: Exception) -> UnwritableError:
    found = re.search(r"os error (\d+)", str(error))
    number = error.errno if isinstance(error, OSError) else int(found[1]) if found else None
    reason = os.strerror(number) if number else str(error)
    advice = ADVICE.get(number or 0, "look after the disk")
    return UnwritableError(f"{file} cannot be written ({reason}), and what was there before is kept; {advice}")


_held: set[int] = set()


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; what a killed one left unfinished in it is removed.

    The kernel lets go of the lock when the process ends, however it ends, so a lock is never left behind.

    Raises:
        ValueError: naming the process that holds the folder.
        UnwritableError: if nothing can be written there.
    """
    file = folder / LOCK_FILE
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _unwritable(file, error) from error
    _held.add(handle)
    try:
        _lock(handle, folder)
        for pattern in LEFTOVERS:
            for left in folder.glob(pattern):
                _remove(left)
        yield
    finally:
        _held.discard(handle)
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(handle, 20, 0).decode(errors="replace").strip()
        raise ValueError(
            f"{folder} is being written to by process {holder}; wait until it is done, or stop it"
        ) from error
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        raise _unwritable(folder / LOCK_FILE, error) from error


def _let_go() -> None:
    # A loading process outlives a killed parent by seconds, and would hold the folder for so long.
    for handle in _held:
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
