"""The prepared data set: one Arrow file of small JPEGs with labels and splits, opened in place."""

import dataclasses
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from pairlens.core.records import from_plain
from pairlens.core.untrusted import read_json
from pairlens.data.annotations import SPLITS, Split
from pairlens.data.arrow_checks import read_table

Crop = Literal["uncropped", "cropped"]

MOST_SIDE = 4096

_STANDARD = ("car", "cub", "sop", "isc")


@dataclass(frozen=True)
class Origin:
    """Where a prepared data set came from: reader, name of the raw folder, hash of its listing, JPEG quality."""

    reader: str = ""
    folder: str = ""
    listing: str = ""
    quality: int = 95


@dataclass(frozen=True)
class Count:
    """How many classes and images a split has."""

    split: Split
    classes: int
    images: int


@dataclass(frozen=True)
class Description:
    """What the JSON beside a prepared data set says; `size` in pixels, `bytes` the length of the Arrow file."""

    name: str
    crop: Crop
    size: int
    splits: tuple[Count, ...]
    failures: int
    digest: str
    bytes: int
    origin: Origin
    version: str

    def __post_init__(self) -> None:
        if not 1 <= self.size <= MOST_SIDE or not 1 <= self.origin.quality <= 100:
            raise ValueError(f"pictures of {self.size} px at quality {self.origin.quality} are never prepared")

    @classmethod
    def read(cls, file: Path) -> "Description":
        """Read the description of the prepared data set `file`.

        Raises:
            FileNotFoundError: if the data set is not prepared; the sentence names the command that prepares it.
            ValueError: if the JSON is not one that Pairlens wrote.
        """
        beside = file.with_suffix(".json")
        missing = [path for path in (file, beside) if not path.is_file()]
        if missing:
            raise FileNotFoundError(f"{missing[0]} does not exist; prepare it with: {_command(file)}")
        try:
            return from_plain(cls, read_json(beside), str(beside))
        except ValueError as error:
            raise ValueError(f"{beside} does not describe a prepared data set ({error}); {_again(file)}") from error


def _command(file: Path) -> str:
    name, data_path = file.parent.name, shlex.quote(str(file.parent.parent))
    own = "--data_name csv" if name == "csv" else f"--data_name folder --name {shlex.quote(name)}"
    known = f"--data_name {name}" if name in _STANDARD else own
    source = "" if name in _STANDARD else f" --source {'TABLE' if name == 'csv' else 'FOLDER_OF_PHOTOS'}"
    crop = " --crop_type cropped" if file.stem == "cropped" else ""
    return f"pairlens prepare {known} --data_path {data_path}{source}{crop}"


def _again(file: Path) -> str:
    return f"prepare it again with: {_command(file)} --force"


class FileStamp(NamedTuple):
    """Size, date of the last change and inode of a file."""

    size: int
    changed: int
    inode: int


def file_stamp(file: Path) -> FileStamp:
    """Return the stamp that a file has now; raises ValueError if it is gone."""
    try:
        found = file.stat()
    except OSError as error:
        raise ValueError(f"{file} is gone ({error.strerror}) while it was in use; bring it back") from error
    return FileStamp(found.st_size, found.st_mtime_ns, found.st_ino)


@dataclass(frozen=True, eq=False)
class Catalog:
    """A prepared data set, or a view of some of its rows.

    Labels are numbered from 0 with the train classes first; query and gallery share theirs. The bytes stay in the
    file: a catalog pickles as its path and row numbers, and a worker that receives one opens the file itself.

    Shapes:
        labels, rows: int64 [photo]; `rows` are positions in the file.

    Attributes:
        stamp: of the file when it was opened.
    """

    file: Path
    name: str
    crop: Crop
    size: int
    quality: int
    digest: str
    class_names: tuple[str, ...] = field(repr=False)
    labels: Tensor = field(repr=False)
    rows: Tensor = field(repr=False)
    stamp: FileStamp = field(repr=False)

    @classmethod
    def open(cls, path: Path | str) -> "Catalog":
        """Open a prepared data set, such as `data/cub/uncropped.arrow`, without reading its pictures.

        Raises:
            FileNotFoundError: if it is not prepared; the sentence names the command that prepares it.
            ValueError: if the file is cut short or is not a prepared data set.
        """
        file = Path(path).absolute()
        told = Description.read(file)
        stamp, (table, names) = file_stamp(file), _open_table(file, told)
        labels = table["label"].to_numpy().copy()
        told_of = (told.name, told.crop, told.size, told.origin.quality, told.digest)
        return cls(file, *told_of, names, torch.from_numpy(labels), torch.arange(len(labels)), stamp)

    def __len__(self) -> int:
        return len(self.rows)

    def __getstate__(self) -> dict[str, object]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    @cached_property
    def _table(self) -> pa.Table:
        told = Description.read(self.file)
        if told.digest != self.digest:
            raise ValueError(f"{self.file} was prepared anew while it was in use; start again")
        return _open_table(self.file, told)[0]

    @cached_property
    def _jpegs(self) -> pa.ChunkedArray:
        return self._table["jpeg"]

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """The path of each photo, relative to the raw root: its key."""
        return tuple(self._column("path").to_pylist())

    @cached_property
    def splits(self) -> tuple[Split, ...]:
        """The split of each photo."""
        return tuple(self._column("split").to_pylist())

    def _column(self, name: str) -> pa.ChunkedArray:
        return self._table[name].take(pa.array(self.rows.numpy()))

    @cached_property
    def classes(self) -> int:
        """The number of distinct labels in this view."""
        return len(torch.unique(self.labels))

    def jpeg(self, i: int) -> memoryview:
        """Return the JPEG file of the photo at position `i` of this view, in place and read-only."""
        # Arrow's buffers count bytes from -128 to 127, and so would never equal a bytes object.
        return memoryview(self._jpegs[int(self.rows[i])].as_buffer()).cast("B").toreadonly()

    def check_unchanged(self) -> None:
        """Raise ValueError if the file is gone or was written to since it was opened: to read on could end the process."""
        stamp = file_stamp(self.file)
        # A file in its place that was prepared from the same photos is none the worse.
        anew = stamp.inode != self.stamp.inode and Description.read(self.file).digest == self.digest
        if stamp != self.stamp and not anew:
            raise ValueError(f"{self.file} was changed while it was in use; put it back as it was, or start again")

    def select(self, *splits: Split) -> "Catalog":
        """Return the rows of these splits, with their labels as they are.

        Raises:
            ValueError: if a split is none of train, test, query, gallery.
        """
        unknown = [split for split in splits if split not in SPLITS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no split; choose from {', '.join(SPLITS)}")
        wanted = pa.array(splits, pa.string())
        chosen = pc.is_in(self._column("split"), value_set=wanted)  # pyright: ignore[reportAttributeAccessIssue]
        return self._view(torch.from_numpy(np.array(chosen, dtype=bool)))

    def keep_classes(self, labels: Iterable[int]) -> "Catalog":
        """Return the rows of these classes, renumbered 0..C-1 in ascending order of their labels here.

        Raises:
            ValueError: if no photo here has one of the labels.
        """
        kept = torch.tensor(sorted({int(label) for label in labels}), dtype=torch.int64)
        absent = kept[~torch.isin(kept, self.labels)]
        if len(absent):
            raise ValueError(f"{self.name} has no photo of label {int(absent[0])} here; keep only labels that occur")
        view = self._view(torch.isin(self.labels, kept))
        names = tuple(self.class_names[label] for label in kept.tolist())
        return dataclasses.replace(view, labels=torch.searchsorted(kept, view.labels), class_names=names)

    def _view(self, mask: Tensor) -> "Catalog":
        return dataclasses.replace(self, rows=self.rows[mask], labels=self.labels[mask])


def _open_table(file: Path, told: Description) -> tuple[pa.Table, tuple[str, ...]]:
    length = file.stat().st_size
    if length != told.bytes:
        raise ValueError(f"{file} has {length:,} bytes where its JSON says {told.bytes:,}; {_again(file)}")
    try:
        return read_table(pa.memory_map(str(file)).read_buffer())
    except (pa.ArrowException, OSError, MemoryError, ValueError) as error:
        raise ValueError(f"{file} is not a catalog of Pairlens ({error}); {_again(file)}") from error
