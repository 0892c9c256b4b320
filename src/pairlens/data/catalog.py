"""Catalog of a prepared data set: one Arrow file of small JPEGs with labels and splits."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from pairlens.core.photo_reading import PhotoReading
from pairlens.core.records import from_plain
from pairlens.core.untrusted import read_json, regular_file
from pairlens.data.account import Account
from pairlens.data.annotations import SPLITS, Split
from pairlens.data.catalog_file import CatalogFile, FileStamp, file_stamp
from pairlens.data.feature_file import QUALITY, SIZE, FeatureFile
from pairlens.data.feature_file import SUFFIX as FEATURES
from pairlens.data.prepare_command import prepare_command, remedy, similar_data_set

Crop = Literal["uncropped", "cropped"]

MAX_SIDE = 4096


@dataclass(frozen=True)
class Origin:
    """The origin of a prepared data set.

    Attributes:
        reader: the name of the reader.
        folder: the name of the raw folder.
        listing: the hash of its annotations.
        quality: the JPEG quality of the stored pictures.
        reading: how the files of the photos became pixels.
    """

    reader: str = ""
    folder: str = ""
    listing: str = ""
    quality: int = 95
    reading: PhotoReading = field(default=PhotoReading(), metadata={"omit_default": True})


@dataclass(frozen=True)
class Count:
    """The number of classes and images of a split."""

    split: Split
    classes: int
    images: int


@dataclass(frozen=True)
class Description:
    """The JSON file beside a prepared data set; `size` is in pixels, `bytes` is the length of the Arrow file.

    `failures` is the number of photos that could not be read; `account` says what became of everything that was found.
    """

    name: str
    crop: Crop
    size: int
    splits: tuple[Count, ...]
    failures: int
    digest: str
    bytes: int
    origin: Origin
    version: str
    account: Account = field(default=Account(), metadata={"omit_default": True})

    def __post_init__(self) -> None:
        if not 1 <= self.size <= MAX_SIDE or not 1 <= self.origin.quality <= 100:
            raise ValueError(
                f"pictures of {self.size} px at quality {self.origin.quality} are out of range; Pairlens prepares 1 to "
                f"{MAX_SIDE} px at quality 1 to 100"
            )

    @classmethod
    def read(cls, file: Path) -> "Description":
        """Read the description of the prepared data set `file`.

        Raises:
            FileNotFoundError: if the data set is not prepared; the message names the command that prepares it.
            ValueError: if the JSON was not written by Pairlens.
        """
        json_file = file.with_suffix(".json")
        missing = [path for path in (file, json_file) if not path.is_file()]
        if missing:
            meant = similar_data_set(file)
            unless = "" if meant is None else f"if you did not mean --data_name {meant}, "
            raise FileNotFoundError(f"{missing[0]} does not exist; {unless}prepare it with: {prepare_command(file)}")
        try:
            return from_plain(cls, read_json(json_file), str(json_file))
        except ValueError as error:
            raise ValueError(f"{json_file} does not describe a prepared data set ({error}); {remedy(file)}") from error


# Without a generated __eq__: comparing two tensors gives a tensor, not a bool.
@dataclass(frozen=True, eq=False)
class Catalog:
    """A prepared data set, or a view of some of its rows.

    Labels are numbered from 0 with the train classes first; query and gallery share their labels. The JPEGs stay in the
    file: a pickled catalog holds the path and the row numbers, and the process that receives it opens the file itself. The
    views of a catalog share its open file.

    Shapes:
        labels, rows: int64 (photo,); `rows` are row numbers in the file.

    Attributes:
        stamp: stamp of the file when it was opened.
        reading: how the files of the photos became pixels; those of a query have to be read in the same way.
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
    reading: PhotoReading = field(default=PhotoReading(), repr=False)

    @classmethod
    def open(cls, path: Path | str) -> "Catalog":
        """Open a prepared data set, such as `data/cub/uncropped.arrow`, without decoding its photos.

        Raises:
            FileNotFoundError: if it is not prepared; the message names the command that prepares it.
            ValueError: if the file is cut short or is not a prepared data set.
        """
        file = Path(path).absolute()
        if file.suffix == FEATURES:
            return cls._of_features(file)
        description = Description.read(file)
        # Taken before the table is read: a change in between is noticed by `check_unchanged`.
        stamp = file_stamp(file)
        opened = _open_file(file, description)
        # Copied, because an array of Arrow is read-only, and torch warns about those.
        labels = opened.columns["label"].to_numpy().copy()
        catalog = cls(
            file=file,
            name=description.name,
            crop=description.crop,
            size=description.size,
            quality=description.origin.quality,
            digest=description.digest,
            class_names=opened.class_names,
            labels=torch.from_numpy(labels),
            rows=torch.arange(len(labels)),
            stamp=stamp,
            reading=description.origin.reading,
        )
        return catalog._share(opened, _Verified({stamp}))

    @classmethod
    def _of_features(cls, file: Path) -> "Catalog":
        stamp = file_stamp(file) if file.is_file() else None
        opened = FeatureFile(file)
        assert stamp is not None, "a file that is missing is refused"
        labels = torch.from_numpy(opened.columns["label"].to_numpy().copy())
        rows = torch.arange(len(labels))
        form = (file, file.stem, "uncropped", SIZE, QUALITY, opened.digest(), opened.class_names)
        return cls(*form, labels, rows, stamp)._share(opened, _Verified({stamp}))

    def __len__(self) -> int:
        return len(self.rows)

    def __getstate__(self) -> dict[str, object]:
        # The fields only: the cached properties hold the whole file.
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    @cached_property
    def _opened(self) -> "CatalogFile | FeatureFile":
        if self.file.suffix == FEATURES:
            return FeatureFile(self.file)
        # Opened at the first use, so a catalog that was unpickled in a worker opens the file there. The file may have
        # been replaced in between.
        description = Description.read(self.file)
        if description.digest != self.digest:
            raise ValueError(f"{self.file} was prepared again while it was in use; start again")
        return _open_file(self.file, description)

    @cached_property
    def _verified(self) -> "_Verified":
        return _Verified({self.stamp})

    @property
    def channels(self) -> int:
        """Number of values of a vector, of a data set of given features; 0 for photos."""
        return self._opened.vectors.shape[1] if isinstance(self._opened, FeatureFile) else 0

    @property
    def vectors(self) -> Tensor:
        """The given features, float32 (photo, channel); ValueError for a data set of photos."""
        if not isinstance(self._opened, FeatureFile):
            raise ValueError(f"{self.file} holds photos and no features; compute them with --freeze backbone")
        return self._opened.vectors[self.rows]

    @cached_property
    def unread_columns(self) -> tuple[str, ...]:
        """The columns of a file of given features that are not known."""
        return self._opened.unread if isinstance(self._opened, FeatureFile) else ()

    @cached_property
    def shows_photos(self) -> bool:
        """Whether any photo is there to be shown; a file of given features need not name any."""
        return not self.channels or any(len(self.jpeg(i)) for i in range(len(self)))

    def _share(self, opened: "CatalogFile | FeatureFile", verified: "_Verified") -> "Catalog":
        """Give this view the open file of another one."""
        # Cached properties are entries of this dict, which a frozen dataclass allows.
        vars(self).update(_opened=opened, _verified=verified)
        return self

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """The key of each photo: its path relative to the raw folder, with #number if it is one box of several."""
        return tuple(self._column("path").to_pylist())

    @cached_property
    def splits(self) -> tuple[Split, ...]:
        """The split of each photo."""
        return tuple(self._column("split").to_pylist())

    def _column(self, name: str) -> pa.ChunkedArray:
        # (photo,) of this view, out of all rows of the file.
        return self._opened.columns[name].take(pa.array(self.rows.numpy()))

    @property
    def stored_reading(self) -> PhotoReading | None:
        """The way of reading photos as a model stores it: None for the usual one, so that models of old need no entry."""
        return None if self.reading == PhotoReading() else self.reading

    @cached_property
    def classes(self) -> int:
        """The number of distinct labels in this view."""
        return len(torch.unique(self.labels))

    def jpeg(self, i: int) -> memoryview:
        """Return the JPEG file of the photo at position `i` of this view as a read-only view; cut short if the file is."""
        return memoryview(self._opened.photo(int(self.rows[i]))).toreadonly()

    def check_unchanged(self) -> None:
        """Raise ValueError if the file disappeared, or its contents changed since it was opened.

        A file that was only touched or copied back is read once more as a whole, and then counts as unchanged.
        """
        stamp = file_stamp(self.file)
        verified = self._verified
        if stamp in verified.stamps:
            return
        # Several threads load photos; one of them reads the file, and the others wait for its result.
        with verified.lock:
            if stamp in verified.stamps:
                return
            # A replaced file (another inode) is harmless if it was prepared from the same photos: the old one stays open.
            replaced = stamp.inode != self._opened.stamp().inode
            described = Description.read(self.file).digest == self.digest
            if not described or not (replaced or self._has_same_contents()):
                raise ValueError(f"{self.file} was changed while it was in use; restore it, or start again")
            verified.stamps.add(stamp)

    def _has_same_contents(self) -> bool:
        """Read the whole file again and return whether every row is what it was when it was opened."""
        try:
            now = CatalogFile(self.file)
        except (pa.ArrowException, OSError, ValueError):
            return False
        return now.digest() == self.digest and now.columns.equals(self._opened.columns)

    def select(self, *splits: Split) -> "Catalog":
        """Return the rows of these splits; their labels do not change.

        Raises:
            ValueError: if a split is not train, test, query or gallery.
        """
        unknown = [split for split in splits if split not in SPLITS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not a split; choose from {', '.join(SPLITS)}")
        value_set = pa.array(splits, pa.string())
        mask = pc.is_in(self._column("split"), value_set=value_set)  # pyright: ignore[reportAttributeAccessIssue]
        return self.keep(torch.from_numpy(np.array(mask, dtype=bool)))

    def keep_classes(self, labels: Iterable[int]) -> "Catalog":
        """Return the rows of these classes, renumbered 0..C-1 in ascending order of their labels here.

        Raises:
            ValueError: if no photo of this view has one of the labels.
        """
        old_labels = torch.tensor(sorted({int(label) for label in labels}), dtype=torch.int64)  # (class,), ascending
        absent = old_labels[~torch.isin(old_labels, self.labels)]
        if len(absent):
            raise ValueError(f"{self.name} has no photo of label {int(absent[0])} here; use labels that occur")
        view = self.keep(torch.isin(self.labels, old_labels))
        class_names = tuple(self.class_names[label] for label in old_labels.tolist())
        # `old_labels` is sorted, so the position of a label in it is its new label.
        new_labels = torch.searchsorted(old_labels, view.labels)
        renumbered = dataclasses.replace(view, labels=new_labels, class_names=class_names)
        return renumbered._share(self._opened, self._verified)

    def keep(self, mask: Tensor) -> "Catalog":
        """Return the photos whose entry in the mask, a truth value (photo,), is true; their labels do not change."""
        return self.at(mask)

    def at(self, chosen: Tensor | slice) -> "Catalog":
        """Return the photos at some positions, as positions, mask or slice; their labels do not change."""
        view = dataclasses.replace(self, rows=self.rows[chosen], labels=self.labels[chosen])
        return view._share(self._opened, self._verified)


class _Verified:
    """The stamps under which the contents of a file are known to be those that were opened."""

    def __init__(self, stamps: set[FileStamp]) -> None:
        self.stamps = stamps
        self.lock = Lock()


def _open_file(file: Path, description: Description) -> CatalogFile:
    length = file.stat().st_size
    # Compared first, because it is the cheapest sign of a file that was cut short or does not belong to its JSON.
    if length != description.bytes:
        raise ValueError(f"{file} has {length:,} bytes, but its JSON says {description.bytes:,}; {remedy(file)}")
    try:
        return CatalogFile(regular_file(file))
    except (pa.ArrowException, OSError, MemoryError, ValueError) as error:
        raise ValueError(f"{file} is not a catalog of Pairlens ({error}); {remedy(file)}") from error
