"""The command `pairlens serve`."""

import os
from typing import Literal

import tyro

from pairlens.cli.terminal import say
from pairlens.core.whole_number import as_whole_number

TOKEN_VARIABLE = "PAIRLENS_TOKEN"


def serve(  # noqa: PLR0913 (all but the collection are named options)
    name: tyro.conf.Positional[str],
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    read_only: bool = False,
    workers: int = 1,
    names: tuple[str, ...] = (),
    wait: float = 30.0,
    runtime: Literal["torch", "onnx"] = "torch",
) -> None:
    """Serve a collection: a page to search with a photo, and an HTTP API.

    Args:
        name: the folder of the collection, or the address of its PostgreSQL database.
        host: address to listen on; 127.0.0.1 lets only this machine in, any other one needs a token.
        port: to listen on.
        token: what callers have to know, at least 16 characters; better in the environment variable PAIRLENS_TOKEN, which
            other users of the machine cannot see.
        read_only: refuse everything that changes the collection.
        workers: number of processes that answer.
        names: further names by which the server is called, as behind a reverse proxy.
        wait: seconds to wait for another process that writes into the collection.
        runtime: what computes the vectors of photos. With onnx, a model of PyTorch is converted when the server starts,
            which takes some seconds; a CPU then embeds a photo faster.
    """
    try:
        from pairlens.serving.run_server import run_server
        from pairlens.serving.settings import ServingSettings
    except ImportError as error:
        raise ValueError(f"serve needs the package {error.name}; install it: pip install 'pairlens[serve]'") from error
    given = token or os.environ.get(TOKEN_VARIABLE) or None
    settings = ServingSettings(name, host, port, given, read_only, names, wait=wait, runtime=runtime)
    workers = as_whole_number(workers, "workers", least=1)
    shown = f"[{host}]" if ":" in host else host
    run_server(settings, workers, lambda opened: say(f"{name}: http://{shown}:{opened}  (Ctrl-C ends it)"))
    say("the server has ended; everything that was acknowledged is in the collection")
