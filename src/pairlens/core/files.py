"""Atomic writing of files, and a lock that lets one process at a time write into a folder."""

import errno
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

LOCK_FILE = ".lock"
# The process number of the lock's holder. It is not written into the lock file, because Windows lets nobody but the
# holder read that. It is removed with the lock, except after a kill.
HOLDER_FILE = ".lock_holder"
# What a killed process leaves behind: our part files, and those of safetensors, which also writes beside its target.
LEFTOVERS = ("*.part", ".tmp*")
ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, or have your quota raised",
    errno.EROFS: "the disk is read-only; choose another folder, or mount it for writing",
    errno.EACCES: "choose another folder, or get permission to write there",
    errno.EPERM: "choose another folder, or get permission to write there",
    errno.ENOENT: "its folder is gone; restore it",
}


class UnwritableError(OSError):
    """A file could not be written; its previous content is still there."""


def write_text(file: Path, text: str) -> None:
    """Write a UTF-8 text file atomically; raises UnwritableError."""
    with atomic_write(file) as part:
        part.write_text(text, encoding="utf-8")


def write_tensors(
    file: Path, tensors: Mapping[str, Tensor], names: Mapping[str, str] | None = None, previous: Path | None = None
) -> None:
    """Write a safetensors file atomically, with optional texts in its header; raises UnwritableError.

    Args:
        file: what to write.
        tensors: by name.
        names: texts of the header.
        previous: where the content that is replaced stays, see `atomic_write`.
    """
    with atomic_write(file, previous) as part:
        part.touch()
        mode = part.stat().st_mode
        save_file(dict(tensors), part, metadata=None if names is None else dict(names))
        # safetensors makes its files readable by their owner only, whatever the umask says.
        part.chmod(mode)


@contextmanager
def atomic_write(file: Path, previous: Path | None = None) -> Iterator[Path]:
    """Yield a path to write to; when the block succeeds, that content replaces the file in one step.

    Readers see either the old content or the new, also after a power failure: the content is flushed to the disk first,
    and only then renamed.

    Args:
        file: what to write.
        previous: a second name in the same folder, under which the content that is replaced stays; there is no moment at
            which the file is missing.

    Raises:
        UnwritableError: naming the file, the reason and what to do.
    """
    part = file.with_name(file.name + ".part")
    try:
        yield part
        _flush_file(part)
        if previous is not None and file.is_file():
            _keep(file, previous)
        part.replace(file)
        _flush_folder(file.parent)
    except (OSError, SafetensorError) as error:
        _remove(part)
        raise _unwritable(file, error) from error
    except BaseException:
        _remove(part)
        raise


def _keep(file: Path, previous: Path) -> None:
    """Give the content of a file a second name, in one step."""
    part = previous.with_name(previous.name + ".part")
    _remove(part)
    try:
        os.link(file, part)
    except OSError:
        # FAT and some network file systems have no hard links.
        shutil.copyfile(file, part)
        _flush_file(part)
    part.replace(previous)


def _flush_file(file: Path) -> None:
    # Windows flushes only what is open for writing.
    _flush(file, os.O_RDWR if os.name == "nt" else os.O_RDONLY)


def _flush_folder(folder: Path) -> None:
    # The new name is on the disk once the folder is. Windows cannot open a folder, and NTFS journals names by itself.
    if os.name != "nt":
        _flush(folder, os.O_RDONLY)


def _flush(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(file: Path) -> None:
    with suppress(OSError):
        file.unlink(missing_ok=True)


def _unwritable(file: Path, error: Exception) -> UnwritableError:
    number = _error_number(error)
    reason = os.strerror(number) if number else str(error)
    advice = ADVICE.get(number, "check the disk")
    return UnwritableError(f"{file} cannot be written ({reason}), and its previous content is unchanged; {advice}")


def _error_number(error: Exception) -> int:
    """Return the errno of a failure, 0 if it has none; safetensors states the number in its message only."""
    if isinstance(error, OSError):
        return error.errno or 0
    stated = re.search(r"os error (\d+)", str(error))
    return int(stated[1]) if stated else 0


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder for this process, and remove what a killed process left unfinished in it.

    The operating system releases the lock when the process ends, however it ends. A forked child does not keep it:
    filelock closes the child's copy of the lock.

    Raises:
        ValueError: naming the process that holds the lock.
        UnwritableError: if nothing can be written there.
    """
    # Not per thread: an iterator that holds the lock may be closed by another thread than the one that opened it.
    lock = FileLock(folder / LOCK_FILE, thread_local=False)
    _acquire(lock, folder)
    try:
        for pattern in LEFTOVERS:
            for leftover in folder.glob(pattern):
                _remove(leftover)
        yield
    finally:
        # Removed before the release: afterwards it may already be the file of the next holder.
        _remove(folder / HOLDER_FILE)
        lock.release()


def _acquire(lock: FileLock, folder: Path) -> None:
    """Take the lock and write down this process's number for those who come later."""
    # filelock would create a missing folder.
    if not folder.is_dir():
        raise _unwritable(folder / LOCK_FILE, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise ValueError(
            f"{folder} is being written to by process {_holder(folder)}; wait until it is done, or stop it"
        ) from error
    except OSError as error:
        raise _unwritable(folder / LOCK_FILE, error) from error
    try:
        (folder / HOLDER_FILE).write_text(f"{os.getpid()}\n", encoding="utf-8")
    except OSError as error:
        lock.release()
        raise _unwritable(folder / HOLDER_FILE, error) from error


def _holder(folder: Path) -> str:
    try:
        return (folder / HOLDER_FILE).read_text(encoding="utf-8", errors="replace")[:20].strip()
    except OSError:
        # The holder has taken the lock and not yet written its number, or has just removed it.
        return "(unknown)"
