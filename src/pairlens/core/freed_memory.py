"""What the C library does with freed memory: keep it for the next tensor, or give it back to the system."""

import sys
from typing import Any

# Names of `mallopt` in malloc.h of the GNU C library.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
# The largest value that `mallopt` takes. A block above it is asked from the system and given back as before: kept among
# smaller ones, such blocks would leave gaps that no later block fits into.
_LARGEST_KEPT_BLOCK = 32 << 20
# The largest threshold that fits into a C int, rounded down to whole pages.
_NEVER_TRIM = (1 << 31) - (1 << 12)
_BYTES_ASKED_AT_ONCE = 64 << 20


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next tensors; returns whether it does.

    The maps of a batch have megabytes each, and are freed when the batch is done. The GNU C library gives their memory back
    to the system then, which clears every page of it again for the next batch. On a CPU that can take as long as the
    network itself: docs/performance.md has figures. A process that calls this keeps the largest amount that its blocks of
    at most 32 MB have taken until it ends, or until `give_memory_back`. Other C libraries are left as they are.
    """
    set_option = _function("mallopt")
    if set_option is None:
        return False
    settings = (
        # One arena for all threads: what one of them has freed is there for the others, and `malloc_trim` gives back the
        # end of this arena only.
        (_ARENA_MAX, 1),
        (_MMAP_THRESHOLD, _LARGEST_KEPT_BLOCK),
        (_TRIM_THRESHOLD, _NEVER_TRIM),
        (_TOP_PAD, _BYTES_ASKED_AT_ONCE),
    )
    return all(set_option(name, value) == 1 for name, value in settings)


def give_memory_back() -> None:
    """Return the memory to the system that the C library of Linux has kept."""
    trim = _function("malloc_trim")
    if trim is not None:
        trim(0)


def _function(name: str) -> Any:
    """Return a function of the C library of Linux; None if it has none of this name."""
    if sys.platform != "linux":
        return None
    # Loaded here, because most processes have no use for it.
    import ctypes

    return getattr(ctypes.CDLL(None), name, None)
