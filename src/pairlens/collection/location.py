"""Where collections lie: a folder with an SQLite database, or a PostgreSQL server."""

from pathlib import Path

from pairlens.collection.postgres_address import is_postgres_url
from pairlens.collection.store import Store
from pairlens.core.files import make_folder
from pairlens.core.suggestion import closest_folder

DATABASE = "collection.sqlite"
WAIT_SECONDS = 30.0


def exists(location: str | Path) -> bool:
    """Return whether there is a collection; raises ValueError if a server cannot be asked."""
    if is_postgres_url(str(location)):
        from pairlens.collection.postgres_store import PostgresStore

        try:
            PostgresStore.open(str(location)).close()
        except FileNotFoundError:
            return False
        return True
    return (Path(location) / DATABASE).exists()


def create_store(location: str | Path, wait: float = WAIT_SECONDS) -> Store:
    """Make an empty store.

    Raises:
        ValueError: if there is one already, or the folder holds something else.
        OSError: if it cannot be made.
    """
    if is_postgres_url(str(location)):
        from pairlens.collection.postgres_store import PostgresStore

        return PostgresStore.create(str(location), wait=wait)
    from pairlens.collection.sqlite_store import SqliteStore

    folder = Path(location)
    _check_unused(folder)
    make_folder(folder)
    return SqliteStore.create(folder / DATABASE, wait=wait)


def open_store(location: str | Path, wait: float = WAIT_SECONDS, read_only: bool = False) -> Store:
    """Open the store of a collection.

    Args:
        location: the folder, or the address of a PostgreSQL database.
        wait: seconds that a writer waits for another one.
        read_only: whether every method that writes is refused.

    Raises:
        ValueError: if there is none, or it is damaged or of a newer version.
    """
    if is_postgres_url(str(location)):
        from pairlens.collection.postgres_store import PostgresStore

        return PostgresStore.open(str(location), wait=wait, read_only=read_only)
    from pairlens.collection.sqlite_store import SqliteStore

    folder = Path(location)
    if not (folder / DATABASE).exists():
        meant = closest_folder(folder, DATABASE)
        remedy = f"did you mean {meant}?" if meant else f"make one with pairlens index PHOTOS --to {folder}"
        raise ValueError(f"{folder} is not a collection; {remedy}")
    return SqliteStore.open(folder / DATABASE, wait=wait, read_only=read_only)


def _check_unused(folder: Path) -> None:
    if (folder / DATABASE).exists():
        raise ValueError(f"{folder} is a collection already; open it, or give another name")
    # Photos or a run beside the database would look as if they belonged to the collection.
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} is a folder with other files; give the collection a name of its own")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; give the collection another name")
