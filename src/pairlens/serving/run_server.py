"""Running the server: one process or several on one port, connections that say nothing are closed, SIGTERM is waited for."""

import asyncio
import logging
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.supervisors import Multiprocess

from pairlens.collection.collection import Collection
from pairlens.serving.app import make_app
from pairlens.serving.settings import ServingLimits, ServingSettings

# Requests that are under way when the server is told to stop have this long.
SECONDS_TO_FINISH = 60


class TimedConnection(H11Protocol):
    """A connection that is closed if its first request does not come in time."""

    # Instances are made by uvicorn, which passes nothing else on.
    seconds = ServingLimits().seconds_for_headers

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Start the clock of a new connection."""
        super().connection_made(transport)
        self.loop.call_later(self.seconds, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


def run_server(
    settings: ServingSettings, workers: int = 1, listening: Callable[[int], None] = lambda port: None
) -> None:
    """Serve until SIGTERM or Ctrl-C, and finish what is under way then.

    Args:
        settings: what is served.
        workers: number of processes, each of which opens the collection.
        listening: called with the port once it is open.

    Raises:
        ValueError: if the collection cannot be opened.
        OSError: if the address is in use.
    """
    # A wrong name ends here with its sentence, and not in each process.
    location = settings.location if "://" in settings.location else Path(settings.location)
    Collection.open(location, wait=settings.wait, read_only=settings.read_only).close()
    with TemporaryDirectory(prefix="pairlens-queries-") as folder:
        config = _config(replace(settings, folder=folder), workers)
        socket = config.bind_socket()
        # Uvicorn finishes what is under way and then sends itself the signal again, for whoever started it.
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        listening(socket.getsockname()[1])
        try:
            if workers == 1:
                uvicorn.Server(config).run([socket])
            else:
                Multiprocess(config, [socket]).run()
        except KeyboardInterrupt:
            # Uvicorn passes Ctrl-C on after it has finished; there is nothing left to do.
            return
        finally:
            socket.close()


def _config(settings: ServingSettings, workers: int) -> uvicorn.Config:
    # No access log: an address may hold what somebody searched for.
    return uvicorn.Config(
        partial(make_app, settings),
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=workers,
        http=TimedConnection,
        ws="none",
        lifespan="on",
        access_log=False,
        log_level=logging.WARNING,
        limit_concurrency=settings.limits.connections,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=SECONDS_TO_FINISH,
        server_header=False,
    )
