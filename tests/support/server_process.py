"""A server in a process of its own, and raw connections to it."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parent.parent.parent / "src"


@dataclass(frozen=True, eq=False)
class ServerProcess:
    """A server that has started."""

    process: subprocess.Popen
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connected(self, timeout: float = 20) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout)


@contextmanager
def server_process(folder: Path, *options: str, seconds: dict[str, float] | None = None) -> Iterator[ServerProcess]:
    """Yield a server of a collection; `seconds` shortens limits of `ServingLimits`."""
    changes = seconds or {}
    code = (
        "import sys\n"
        "from pairlens.serving import connection, settings\n"
        "import dataclasses\n"
        f"limits = dataclasses.replace(settings.ServingLimits(), **{changes!r})\n"
        f"connection.LimitedConnection.seconds = {changes.get('seconds_for_headers', 15.0)}\n"
        "made = settings.ServingSettings\n"
        "settings.ServingSettings = lambda *args, **kwargs: made(*args, limits=limits, **kwargs)\n"
        "from pairlens.cli.main import main\n"
        "main(sys.argv[1:])\n"
    )
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": "1"}
    # Several processes need the settings as they are, because they are sent to them.
    start = ["-c", code] if changes else ["-m", "pairlens"]
    command = [sys.executable, *start, "serve", str(folder), "--port", "0", *options]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        line = process.stdout.readline().decode()
        found = re.search(r":(\d+)  ", line)
        assert found, line + process.stdout.read().decode()
        yield ServerProcess(process, int(found[1]))
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()
