"""Running the server: one process or several on one port, and requests that are under way finish after SIGTERM."""

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from pairlens.collection.collection import Collection
from pairlens.core.freed_memory import keep_freed_memory
from pairlens.model.onnx_file import import_onnx
from pairlens.serving.app import make_app
from pairlens.serving.connection import LimitedConnection
from pairlens.serving.query_folder import query_folder
from pairlens.serving.settings import ServingSettings

# Requests that are under way when the server is told to stop have this long.
SECONDS_TO_FINISH = 60


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
    if settings.runtime == "onnx":
        # A missing package is said before anything starts.
        import_onnx()
    # A wrong name ends here with its sentence, and not in each process.
    location = settings.location if "://" in settings.location else Path(settings.location)
    Collection.open(location, wait=settings.wait, read_only=settings.read_only).close()
    with query_folder() as folder:
        config = _config(replace(settings, folder=str(folder)), workers)
        listener = _bound(settings)
        # Uvicorn finishes what is under way and then sends itself the signal again, for whoever started it.
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        listening(listener.getsockname()[1])
        try:
            if workers == 1:
                uvicorn.Server(config).run([listener])
            else:
                Multiprocess(config, [listener]).run()
        except KeyboardInterrupt:
            # Uvicorn passes Ctrl-C on after it has finished; there is nothing left to do.
            return
        finally:
            listener.close()


def _bound(settings: ServingSettings) -> socket.socket:
    """Return a socket that listens; raises OSError in one sentence, where uvicorn would end the process."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With its protocol named, because asyncio sends small parts of an answer at once (TCP_NODELAY) only then; otherwise
    # every answer would wait 40 ms for the receipt of its first part.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # A server that has just ended keeps its port for a minute otherwise; on Windows this would let two listen.
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        # Who calls while the processes start waits, and is not refused.
        listener.listen(1024)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise OSError(
            f"port {settings.port} of {settings.host} cannot be used ({reason}); give another --port"
        ) from error
    listener.set_inheritable(True)
    return listener


def _process_app(settings: ServingSettings) -> ASGIApp:
    """Return the application of a process that does nothing else."""
    # A thread that decodes in Python hands over after this time, and not after 5 ms, to those who answer others.
    sys.setswitchinterval(0.0005)
    keep_freed_memory()
    return make_app(settings)


def _config(settings: ServingSettings, workers: int) -> uvicorn.Config:
    # No access log: an address may hold what somebody searched for.
    return uvicorn.Config(
        partial(_process_app, settings),
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=workers,
        http=LimitedConnection,
        ws="none",
        lifespan="on",
        access_log=False,
        log_level=logging.WARNING,
        limit_concurrency=settings.limits.connections,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=SECONDS_TO_FINISH,
        server_header=False,
    )
