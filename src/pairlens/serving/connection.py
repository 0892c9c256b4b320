"""A connection of the server, whose headers are limited in their bytes and in their seconds."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pairlens.serving.settings import ServingLimits

# The parser itself has no limit for what belongs to no body: the address, headers, and what stands around chunks.
MAX_BYTES_OUTSIDE_BODY = 64 << 10


class LimitedConnection(HttpToolsProtocol):
    """A connection that ends if the headers of a request are too long, or do not come in time.

    The time counts from the start of the connection, and from the first byte after an answer, to the end of the headers.
    Between requests nothing is timed here; uvicorn closes a connection on which nothing comes.
    """

    # Instances are made by uvicorn, which passes nothing else on.
    seconds = ServingLimits().seconds_for_headers

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of a new connection."""
        super().connection_made(transport)
        self._outside_body = 0
        self._clock: asyncio.TimerHandle | None = None
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        self._outside_body += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._outside_body > MAX_BYTES_OUTSIDE_BODY:
            self.send_400_response(f"The headers have more than {MAX_BYTES_OUTSIDE_BODY >> 10} KiB.")
        elif self._clock is None and self.cycle.response_complete:
            self._start_clock()

    def on_headers_complete(self) -> None:
        """Begin with a request."""
        self._outside_body = 0
        self._stop_clock()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on a part of a body."""
        self._outside_body = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._outside_body = 0
        super().on_message_complete()

    def _start_clock(self) -> None:
        self._clock = self.loop.call_later(self.seconds, self.transport.close)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
