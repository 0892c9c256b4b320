"""Connections and transactions on a PostgreSQL server, shared by the threads of a process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from pairlens.collection.postgres_address import (
    PostgresAddress,
    explain_failed_connection,
    explain_failure,
    explain_lost_connection,
    import_psycopg,
)
from pairlens.collection.postgres_rows import Packed

if TYPE_CHECKING:
    from psycopg import Connection, Cursor
    from psycopg.adapt import Dumper

T = TypeVar("T")
# What is done within a transaction; it may be done again, so it must not change anything outside the database.
Work: TypeAlias = "Callable[[Cursor[Any]], T]"

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 600
# PostgreSQL ends one of two transactions that wait for each other; it is repeated this often.
REPEATS = 5
_READ, _WRITE = "ISOLATION LEVEL REPEATABLE READ READ ONLY", "ISOLATION LEVEL READ COMMITTED"
_DEADLOCK_OR_CONFLICT = ("40P01", "40001")


class PostgresSessions:
    """The connections of a store: each transaction takes one that is free, or opens another.

    Settings are made within each transaction, so that poolers which share a connection among clients work as well.
    """

    def __init__(self, address: PostgresAddress, wait: float, read_only: bool = False) -> None:
        self.address = address
        self.wait = wait
        self._is_read_only = read_only
        # Where the types and operators of pgvector are; known after the store has been opened.
        self.extension_schema = "public"
        self._psycopg = import_psycopg()
        # append and pop of a list are atomic, so this needs no lock.
        self._free: list[Connection[Any]] = []
        self._is_closed = False

    def read(self, work: "Work[T]") -> T:
        """Do something on a snapshot of the database; after a lost connection it is done once more."""
        try:
            return self._transaction(work, _READ)
        except self._psycopg.Error as error:
            # A table is missing if another process has dropped the vectors of a former model in this moment.
            if not self._is_lost(error) and error.sqlstate != "42P01":
                raise explain_failure(error, self.address, self.wait) from None
        try:
            return self._transaction(work, _READ)
        except self._psycopg.Error as error:
            # Without its cause, whose text may hold what was sent.
            raise self._explanation(error, is_write=False) from None

    def write(self, work: "Work[T]") -> T:
        """Do something in one transaction that is durable when this returns."""
        if self._is_read_only:
            raise ValueError(f"the collection {self.address.shown} was opened for reading only; open it for writing")
        for remaining in reversed(range(REPEATS)):
            try:
                return self._transaction(work, _WRITE)
            except self._psycopg.Error as error:
                if error.sqlstate not in _DEADLOCK_OR_CONFLICT or not remaining:
                    raise self._explanation(error, is_write=True) from None
        raise AssertionError("the last repetition returns or raises")

    @contextmanager
    def alone(self) -> "Iterator[Cursor[Any]]":
        """Yield a cursor of a connection of its own, without a transaction and without a time limit, for long work."""
        from psycopg import sql

        connection = self._connect()
        try:
            with connection.cursor() as cursor:
                path = sql.SQL("SET search_path = {}, {}; SET statement_timeout = 0; SET lock_timeout = 0")
                cursor.execute(path.format(*self._search_path()))
                yield cursor
        except self._psycopg.Error as error:
            raise self._explanation(error, is_write=True) from None
        finally:
            connection.close()

    def close(self) -> None:
        """Close all free connections, and those in use as soon as they become free."""
        self._is_closed = True
        while self._free:
            self._free.pop().close()

    def _transaction(self, work: "Work[T]", kind: str) -> T:
        connection = self._begin(kind)
        try:
            with connection.cursor(binary=True) as cursor:
                result = work(cursor)
            connection.execute("COMMIT")
        except BaseException:
            # Also after Ctrl-C: psycopg has cancelled the statement then.
            self._roll_back(connection)
            raise
        self._free_again(connection)
        return result

    def _begin(self, kind: str) -> "Connection[Any]":
        """Return a connection in a new transaction; one that was lost since its last use is replaced."""
        from psycopg import sql

        timeouts = f"SET LOCAL lock_timeout = {round(1000 * self.wait)}; "
        timeouts += f"SET LOCAL statement_timeout = {1000 * STATEMENT_SECONDS}"
        # Several statements without parameters take one round trip. `kind` and the numbers are our own.
        text: Any = f"BEGIN {kind}; SET LOCAL search_path = {{}}, {{}}; {timeouts}"
        beginning = sql.SQL(text).format(*self._search_path())
        while self._free:
            connection = self._free.pop()
            try:
                connection.execute(beginning)
                return connection
            except self._psycopg.OperationalError:
                connection.close()
        connection = self._connect()
        try:
            connection.execute(beginning)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> "Connection[Any]":
        if self._is_closed:
            raise ValueError(f"the collection {self.address.shown} is closed; open it again")
        settings = {"connect_timeout": CONNECT_SECONDS, "application_name": "pairlens", **self.address.parameters}
        try:
            # Without prepared statements, every query is planned for its own values, which a filter needs.
            connection = self._psycopg.connect(**settings, autocommit=True, prepare_threshold=None)
        except self._psycopg.Error as error:
            raise explain_failed_connection(error, self.address) from None
        connection.adapters.register_dumper(Packed, _packed_dumper())
        return connection

    def _search_path(self) -> tuple[Any, Any]:
        from psycopg import sql

        return sql.Identifier(self.address.schema), sql.Identifier(self.extension_schema)

    def _explanation(self, error: Any, is_write: bool) -> Exception:
        if self._is_lost(error):
            return explain_lost_connection(self.address, is_write)
        return explain_failure(error, self.address, self.wait)

    def _is_lost(self, error: Any) -> bool:
        state = error.sqlstate or ""
        return isinstance(error, self._psycopg.OperationalError) and (not state or state.startswith(("57P", "08")))

    def _roll_back(self, connection: "Connection[Any]") -> None:
        try:
            connection.execute("ROLLBACK")
        except self._psycopg.Error:
            connection.close()
        else:
            self._free_again(connection)

    def _free_again(self, connection: "Connection[Any]") -> None:
        if self._is_closed:
            connection.close()
        else:
            self._free.append(connection)


def _packed_dumper() -> "type[Dumper]":
    """Return how psycopg sends vectors: as they are, and the server finds the type from where they stand."""
    from psycopg import pq
    from psycopg.adapt import Dumper

    class PackedDumper(Dumper):
        format = pq.Format.BINARY
        oid = 0

        def dump(self, obj: Packed) -> bytes:
            return obj.contents

    return PackedDumper
