"""Writing of files and folders: atomic, never through a link, and by one process at a time.

Everything that Pairlens writes goes through this module. A folder that another person has made may contain links in the
place of our files and folders, and a write through such a link would change a file somewhere else. So a file is created
under a random name that did not exist and then renamed, which replaces a link and never follows it; and a folder below the
one that the user has named must not be a link.
"""

import errno
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from pairlens.core.untrusted import is_plain_text, read_text

# Torch takes long to import, and a process that runs an ONNX model does without it.
if TYPE_CHECKING:
    from PIL.Image import Image
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
        part.write(text.encode("utf-8"))


def write_tensors(
    file: Path, tensors: "Mapping[str, Tensor]", names: Mapping[str, str] | None = None, previous: Path | None = None
) -> None:
    """Write a safetensors file atomically, with optional texts in its header; raises UnwritableError.

    Args:
        file: what to write.
        tensors: by name.
        names: texts of the header.
        previous: where the content that is replaced stays, see `atomic_write`.
    """
    from safetensors.torch import save_file

    with atomic_write(file, previous) as part:
        path = Path(part.name)
        mode = path.stat().st_mode
        # The library writes by itself, under its own random name beside the part, and renames that; Windows refuses to
        # replace a file that is open.
        part.close()
        save_file(dict(tensors), path, metadata=None if names is None else dict(names))
        # safetensors makes its files readable by their owner only, whatever the umask says.
        path.chmod(mode)


def write_picture(file: Path, picture: "Image", quality: int = 95) -> None:
    """Write a picture atomically as JPEG or PNG, as the suffix of the file says; raises UnwritableError."""
    # A sheet of photos is written 2.6 times as fast as at the usual level, 6, and is 6 % larger.
    png = {"format": "PNG", "compress_level": 2}
    options = {"format": "JPEG", "quality": quality} if file.suffix == ".jpg" else png
    with atomic_write(file) as part:
        picture.save(part, **options)


@contextmanager
def atomic_write(file: Path, previous: Path | None = None, flush: bool = True) -> Iterator[BinaryIO]:
    """Yield a new open file, whose content replaces `file` in one step when the block succeeds.

    Readers see either the old content or the new, also after a power failure: the content is flushed to the disk first,
    and only then renamed. A link in the place of `file` is replaced; what it leads to is not changed.

    Args:
        file: what to write.
        previous: a second name in the same folder, under which the content that is replaced stays; there is no moment at
            which the file is missing.
        flush: wait until the disk has the content; without it, a power failure may leave an empty file.

    Raises:
        UnwritableError: naming the file, the reason and what to do.
    """
    # Random, so that nobody can have put a link or a pipe there; two writers of one file do not meet either.
    part = _random_name(file)
    try:
        with open(part, "xb", opener=_open_new) as opened:
            yield opened
        if flush:
            _flush_file(part)
        if previous is not None and file.is_file():
            _keep(file, previous)
        part.replace(file)
        if flush:
            _flush_folder(file.parent)
    except (OSError, SafetensorError) as error:
        remove_file(part)
        raise _unwritable(file, error) from error
    except BaseException:
        remove_file(part)
        raise


def _random_name(file: Path) -> Path:
    return file.with_name(f".{file.name}.{os.getpid()}-{uuid.uuid4().hex[:12]}.part")


def _open_new(path: str, flags: int) -> int:
    # The mode "x" brings O_EXCL, which refuses an existing name and with it every link. O_NOFOLLOW says the same once
    # more for file systems that implement O_EXCL badly; Windows does not have it.
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def make_folder(folder: Path, below: Path | None = None) -> Path:
    """Make a folder with its parents unless it exists, and return it.

    Args:
        folder: what is made.
        below: the folder that the user has named, if `folder` is a part of it whose name Pairlens has chosen.

    Raises:
        ValueError: if a part of the path below `below` is a link, or a new name has characters that no terminal shows.
        OSError: if it cannot be made.
    """
    check_not_linked(folder, below or folder)
    if not folder.is_dir():
        check_folder_name(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_folder_name(folder: Path) -> None:
    """Raise ValueError if the name of a new folder contains control characters or is not UTF-8.

    Such a name would reach terminals, tables, figures and JSON, which cannot hold it.
    """
    if not is_plain_text(str(folder)):
        raise ValueError(
            f"the folder {str(folder)!r} has a line break, another control character or bytes that are not UTF-8 in its "
            "name; choose another name"
        )


def check_not_linked(path: Path, below: Path) -> None:
    """Raise ValueError if a part of a path below a folder is a link, through which a write would reach another folder.

    The folder itself may be a link, because the user has named it.
    """
    for part in (path, *path.parents):
        if part == below:
            return
        if _is_link(part):
            raise ValueError(
                f"{part} is a link that leads out of {below}, and Pairlens writes through no such link; remove it, or give "
                "another folder for the results"
            )


def _is_link(path: Path) -> bool:
    # A junction is the kind of link to a folder that Windows lets everybody make; Python 3.12 knows the word.
    is_junction = getattr(os.path, "isjunction", lambda _: False)
    return path.is_symlink() or is_junction(path)


def clear_folder(folder: Path, keep: Collection[str]) -> None:
    """Remove everything in a folder but the files of some names; of a link the link itself is removed."""
    for inner in folder.iterdir():
        if inner.is_dir() and not _is_link(inner):
            shutil.rmtree(inner, ignore_errors=True)
        elif inner.name not in keep:
            inner.unlink(missing_ok=True)


def remove_folder(folder: Path, below: Path) -> None:
    """Remove a folder with everything in it; a link is refused as by `make_folder`, and what cannot be removed stays."""
    check_not_linked(folder, below)
    shutil.rmtree(folder, ignore_errors=True)


def remove_file(file: Path) -> None:
    """Remove a file, if it is there; of a link the link itself is removed, and what cannot be removed stays."""
    with suppress(OSError):
        file.unlink(missing_ok=True)


def _keep(file: Path, previous: Path) -> None:
    """Give the content of a file a second name, in one step."""
    part = _random_name(previous)
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
                remove_file(leftover)
        yield
    finally:
        # Removed before the release: afterwards it may already be the file of the next holder.
        remove_file(folder / HOLDER_FILE)
        lock.release()


def remove_old_leftovers(folder: Path, seconds: float = 86_400) -> None:
    """Remove what killed processes left unfinished in a folder that has no lock, if it is older than a day.

    Something younger may be what another process is writing now.
    """
    for pattern in LEFTOVERS:
        for leftover in folder.glob(pattern):
            with suppress(OSError):
                if time.time() - leftover.lstat().st_mtime > seconds:
                    remove_file(leftover)


def _acquire(lock: FileLock, folder: Path) -> None:
    """Take the lock and write down this process's number for those who come later."""
    # filelock would create a missing folder.
    if not folder.is_dir():
        raise _unwritable(folder / LOCK_FILE, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
    _check_lock_file(folder / LOCK_FILE)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise ValueError(
            f"{folder} is being written to by process {_holder(folder)}; wait until it is done, or stop it"
        ) from error
    except OSError as error:
        raise _unwritable(folder / LOCK_FILE, error) from error
    try:
        write_text(folder / HOLDER_FILE, f"{os.getpid()}\n")
    except OSError:
        lock.release()
        raise


def _check_lock_file(file: Path) -> None:
    """Raise ValueError unless the lock file is missing, or is what filelock makes: an empty file.

    Some versions of filelock empty the file when they open it, and follow a link.
    """
    try:
        status = file.lstat()
    except OSError:
        return
    if not stat.S_ISREG(status.st_mode) or status.st_size:
        raise ValueError(f"{file} is not a lock file of Pairlens, which is an empty file; remove it")


def _holder(folder: Path) -> str:
    try:
        return read_text(folder / HOLDER_FILE)[:20].strip()
    except (OSError, ValueError):
        # The holder has taken the lock and not yet written its number, or has just removed it.
        return "(unknown)"
