"""Where a collection lies on a PostgreSQL server, and what went wrong there in one sentence; never with a password."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

DEFAULT_COLLECTION = "photos"
# The schema `pairlens_NAME` must fit into PostgreSQL's 63 bytes for a name, with space for the names of indexes.
_COLLECTION = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True)
class PostgresAddress:
    """A collection in a database of a server.

    Attributes:
        parameters: of the connection, by the names that PostgreSQL gives them; the password may be among them.
        collection: the name of the collection.
        shown: the URL without its password, for messages.
    """

    parameters: Mapping[str, Any] = field(repr=False)
    collection: str
    shown: str

    @property
    def schema(self) -> str:
        """The schema of the database that holds the collection."""
        return f"pairlens_{self.collection}"


def is_postgres_url(text: str) -> bool:
    """Return whether a text is the URL of a PostgreSQL server.

    >>> is_postgres_url("postgresql://me@server/shop"), is_postgres_url("photos")
    (True, False)
    """
    return text.startswith(("postgresql://", "postgres://"))


def import_psycopg() -> Any:
    """Return the module psycopg; raises ImportError with the command that installs it."""
    try:
        import psycopg
    except ImportError as error:
        raise ImportError("a collection on PostgreSQL needs psycopg: pip install 'pairlens[postgres]'") from error
    return psycopg


def parse_address(url: str, collection: str | None = None) -> PostgresAddress:
    """Return the address that a URL states.

    Args:
        url: as `postgresql://user:password@host:port/database?collection=NAME`, with any parameter of libpq beside it.
        collection: its name, instead of the one in the URL; the default of both is "photos".

    Raises:
        ValueError: if the URL or the name is not valid, or the two names differ.
    """
    psycopg = import_psycopg()
    server, _, query = url.partition("?")
    named, others = [], []
    for part in filter(None, query.split("&")):
        (named if part.startswith("collection=") else others).append(part)
    names = {unquote(part.removeprefix("collection=")) for part in named} | ({collection} if collection else set())
    if len(names) > 1:
        raise ValueError(f"the collection has the names {sorted(names)}; give one, in the URL or beside it")
    name = _checked_name(names.pop() if names else DEFAULT_COLLECTION)
    try:
        parameters = psycopg.conninfo.conninfo_to_dict("?".join(filter(None, (server, "&".join(others)))))
    except psycopg.Error:
        # The message of libpq quotes the URL, and with it perhaps the password.
        raise ValueError(
            "the URL of the database cannot be read; write it as postgresql://user@host:5432/database?collection=NAME, "
            "with special characters of the password as %XX"
        ) from None
    return PostgresAddress(parameters, name, _shown(parameters, name))


def _checked_name(name: str) -> str:
    if not _COLLECTION.fullmatch(name):
        raise ValueError(
            f"the collection name {name[:80]!r} is not valid on PostgreSQL; use 1 to 40 of a-z, 0-9 and _, a letter first"
        )
    return name


def _shown(parameters: Mapping[str, Any], collection: str) -> str:
    """Return a URL that opens the same collection for someone who gives the password in another way."""
    user = f"{quote(str(parameters['user']), safe='')}@" if "user" in parameters else ""
    host = str(parameters.get("host", ""))
    port = f":{parameters['port']}" if "port" in parameters else ""
    database = quote(str(parameters.get("dbname", "")), safe="")
    # The folder of a socket cannot stand where a host stands.
    folder = f"host={host}&" if "/" in host else ""
    return f"postgresql://{user}{'' if folder else host}{port}/{database}?{folder}collection={collection}"


def explain_failed_connection(error: Exception, address: PostgresAddress) -> OSError:
    """Return the reason why a server cannot be reached or refuses a connection, and what to do."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = without_password(lines[-1] if lines else type(error).__name__, address)
    low = text.lower()
    if "password" in low or "authentication" in low:
        advice = "give the right password in the URL, in PGPASSWORD or in ~/.pgpass"
    elif "database" in low and "does not exist" in low:
        advice = "create the database with createdb, or correct its name in the URL"
    elif "role" in low and "does not exist" in low:
        advice = "create the role with createuser, or correct the user in the URL"
    elif "too many" in low or "remaining connection slots" in low:
        advice = "close other clients, or put a pooler such as PgBouncer in front of the server"
    else:
        advice = "start the server, or correct host and port in the URL"
    return ConnectionError(f"{address.shown} cannot be opened: {text}; {advice}")


def explain_failure(error: Any, address: PostgresAddress, wait: float) -> Exception:
    """Return an error of a statement as one sentence with what to do."""
    match error.sqlstate or "":
        case "55P03":
            reason = (
                f"another process writes to {address.shown}, and {wait:g} s were not enough to wait for it; try again"
            )
            return TimeoutError(reason)
        case "57014":
            return TimeoutError(
                f"a statement on {address.shown} took too long and was cancelled; see its load and locks"
            )
        case "25006":
            return OSError(f"{address.shown} is a read-only replica; write to its primary server")
        case "42501":
            reason = without_password(error.diag.message_primary or "permission denied", address)
            return PermissionError(f"{address.shown} refuses this: {reason}; connect as its owner, or grant the right")
        case "53100":
            return OSError(f"the disk of {address.shown} is full; nothing was changed; make space and repeat")
        case "42P01" | "3F000":
            return FileNotFoundError(f"{address.shown} holds no such collection any more; it was removed meanwhile")
        case state if state.startswith("22") or isinstance(error, import_psycopg().DataError):
            reason = without_password(error.diag.message_primary or str(error), address)
            return ValueError(f"{address.shown} cannot store a value: {reason}")
    reason = without_password(error.diag.message_primary or str(error) or type(error).__name__, address)
    return OSError(f"{address.shown} reports: {' '.join(reason.split())}")


def explain_lost_connection(address: PostgresAddress, is_write: bool) -> ConnectionError:
    """Return what a caller must know after the server went away within a call."""
    if is_write:
        return ConnectionError(
            f"the connection to {address.shown} was lost before the server confirmed the change, so it may be stored or "
            "not, but never in part; look, and repeat it if it is missing"
        )
    return ConnectionError(
        f"the connection to {address.shown} was lost twice; see whether the server runs, then repeat"
    )


def without_password(text: str, address: PostgresAddress) -> str:
    """Return a message of the server or of libpq with the password of the address, in any of its forms, left out."""
    password = str(address.parameters.get("password", ""))
    for form in {password, quote(password), quote(password, safe="")} - {""}:
        text = text.replace(form, "***")
    return text
