"""Standard output and standard error that never end the work: closed pipes, full disks and characters they cannot show."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO


class SteadyOutput(io.TextIOBase):
    r"""A text stream that goes on where another one would raise.

    A character that the encoding of the stream does not have is written as an escape such as \u03bb. Once the stream cannot
    be written, because its reader has closed the pipe or its disk is full, everything later is dropped, and `failure` says
    why.

    Attributes:
        failure: the error that ended the output; None while it works.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """Wrap a stream; None is the standard output of a process that was started without one."""
        self._stream = stream
        self.failure: OSError | None = None

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The encoding of the stream, by which `rich` chooses its lines and bars."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What happens to characters that the encoding does not have."""
        return "backslashreplace"

    @property
    def buffer(self) -> object:
        """The bytes below the stream, for those who write bytes."""
        return getattr(self._stream, "buffer", None)

    def write(self, text: str) -> int:
        """Write a text, or drop it if the stream has failed; returns the length of the text."""
        if self._stream is not None and self.failure is None:
            with self._noted():
                try:
                    self._stream.write(text)
                except UnicodeEncodeError:
                    # Nothing is written yet, because a text is encoded as a whole.
                    self._stream.write(text.encode(self.encoding, self.errors).decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        if self._stream is not None and self.failure is None:
            with self._noted():
                self._stream.flush()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """Return the file descriptor of the stream; raises OSError if it has none."""
        if self._stream is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._stream.fileno()

    def writable(self) -> bool:
        """Return True: a stream that has failed still takes texts."""
        return True

    @contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        # ValueError: the stream was closed by somebody else.
        except (OSError, ValueError) as error:
            self.failure = error if isinstance(error, OSError) else OSError(errno.EPIPE, str(error))
            # Python would write the rest of the buffer when the process ends, fail, and end with exit status 120.
            with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
                assert self._stream is not None
                os.dup2(nowhere.fileno(), self._stream.fileno())

    def lost(self) -> OSError | None:
        """Return why output was lost that a reader was still waiting for; None if the reader has closed the pipe itself."""
        closed = self.failure is not None and self.failure.errno in (errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN)
        return None if closed else self.failure


@contextmanager
def steady_output() -> Iterator[SteadyOutput]:
    """Replace standard output and standard error by steady ones; yields the standard output."""
    before = sys.stdout, sys.stderr
    output, error_output = SteadyOutput(sys.stdout), SteadyOutput(sys.stderr)
    sys.stdout, sys.stderr = output, error_output
    try:
        yield output
    finally:
        # The last lines may still be in a buffer, and only here can a failure be told.
        output.flush()
        error_output.flush()
        sys.stdout, sys.stderr = before
