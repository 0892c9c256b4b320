"""Too little memory: recognising it whatever library raises it, and noticing it before a library ends the process."""

import errno
import mmap
import os

# What libraries raise as a RuntimeError, an ImportError or an error of their own: PyTorch, C++, Python's threads, the loader
# of shared libraries, NumPy, and the system's own words.
OUT_OF_MEMORY_WORDS = (
    "can't allocate memory",
    "bad_alloc",
    "bad allocation",
    "can't start new thread",
    "failed to map segment",
    "unable to allocate",
    "cannot allocate memory",
    "out of memory",
    # oneDNN, which computes convolutions on a CPU.
    "could not create a primitive",
    "could not create a memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that there is too little memory, of the machine or of a GPU.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("std::bad_alloc")), is_out_of_memory(KeyError("a"))
    (True, True, False)
    """
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    # PyTorch has a class of its own for the memory of a GPU. All other libraries say it in words only.
    if type(error).__name__ == "OutOfMemoryError":
        return True
    # The words of a ValueError are ours, and may quote a file.
    text = str(error).lower()
    return not isinstance(error, ValueError) and any(words in text for words in OUT_OF_MEMORY_WORDS)


def check_space_for_faiss() -> None:
    """Raise MemoryError if FAISS could not be imported; its OpenBLAS ends the process with SIGSEGV in too little memory.

    It reserves 128 MiB of addresses per thread when it is loaded. The limit of a process on addresses (`ulimit -v`, or that
    of a batch system) is what this concerns; nothing is allocated here.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "")
    cores = int(threads) if threads.isdecimal() else os.cpu_count() or 1
    # Windows has no such limit.
    if os.name != "nt":
        size = (128 + 128 * max(1, min(cores, os.cpu_count() or 1))) << 20
        try:
            # Pages that may only be read cost no memory, and are given back at once.
            mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ).close()
        except OSError as error:
            raise MemoryError(f"FAISS needs {size >> 20} MiB of addresses") from error
