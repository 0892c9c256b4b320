"""Readers from installed packages: functions that a package offers under the entry-point group `pairlens.readers`."""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from pairlens.data.annotations import Annotations
from pairlens.data.readers import records

GROUP = "pairlens.readers"


def installed_names() -> list[str]:
    """Return the names of the installed readers; their code is not loaded."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def read(name: str, source: Path, options: Any) -> Annotations:
    """List the photos of a data set with an installed reader, which is loaded here and not before.

    Args:
        name: the name of its entry point.
        source: the raw data set.
        options: the `Preparation`, given to the reader.

    Raises:
        ValueError: if the reader cannot be loaded, or returns neither `Annotations` nor records.
    """
    point = next(point for point in entry_points(group=GROUP) if point.name == name)
    reader = _load(point)
    listed = reader(source, options)
    if isinstance(listed, Annotations):
        return listed
    if not isinstance(listed, Iterable) or isinstance(listed, str | bytes):
        raise ValueError(
            f"the reader {name!r} ({point.value}) returns a {type(listed).__name__}; it must return Annotations, or records "
            "with path, label, split and box"
        )
    # Paths of the records are relative to the data set, which may be given by one of its files.
    return records.read(listed, source if source.is_dir() else source.parent, name)


def _load(point: EntryPoint) -> Any:
    try:
        reader = point.load()
    # The import runs code of another package, which can raise errors of every type.
    except Exception as error:
        raise ValueError(
            f"the reader {point.name!r} ({point.value}) cannot be loaded ({type(error).__name__}: {error}); repair or "
            "remove the package that offers it"
        ) from error
    if not callable(reader):
        raise ValueError(f"the reader {point.name!r} ({point.value}) is not a function of a source and options")
    return reader
