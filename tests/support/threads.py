"""The loading threads that run in this process."""

import sys

from pairlens.core.threads import _Pool


def loading_threads():
    """Return the numbers of the threads that are anywhere within the work of a pool."""
    return [number for number, frame in sys._current_frames().items() if _is_loading(frame)]


def _is_loading(frame):
    while frame is not None and frame.f_code is not _Pool._run.__code__:
        frame = frame.f_back
    return frame is not None
