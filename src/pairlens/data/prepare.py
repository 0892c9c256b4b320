"""Preparation of a raw data set: every photo read once, cropped, resized and written to one Arrow file."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.progress import Progress

from pairlens.core.files import UnwritableError, make_folder, write_text
from pairlens.core.images import reduce_to_square
from pairlens.core.table import csv_text
from pairlens.core.threads import map_in_order
from pairlens.data.annotations import SPLITS, Annotations, Photo
from pairlens.data.catalog import MAX_SIDE, Catalog, Crop, Description, Origin
from pairlens.data.catalog_writer import write_catalog
from pairlens.data.readers import check_counts, read, reader_names
from pairlens.data.readers.records import Record
from pairlens.data.readers.records import read as read_records
from pairlens.data.split import SplitRule, divide

# Photos per core that may be encoded before they are written, so that one large photo does not delay the others.
_AHEAD = 8
_FAILURES_SHOWN = 5
# The data name of photos that a Python program lists; no reader has it.
RECORDS = "records"


# The texts below the fields are shown by `pairlens prepare --help`.
@dataclass(frozen=True)
class Preparation:
    """How to prepare a data set.

    Raises:
        ValueError: if there is no such reader, the name, size or quality is out of range, or a table is not named.
    """

    data_name: str
    """Which raw data set or layout: car, cub, sop, isc, a folder of class folders, a csv (or Parquet) table, a coco JSON
    file, or the name of a reader that an installed package offers as an entry point of pairlens.readers."""
    data_path: Path = Path("data")
    """Folder of the prepared data sets."""
    source: Path | None = None
    """The raw data set; by default <data_path>/<data_name>. For csv, the table; for coco, the JSON file."""
    images: Path | None = None
    """For coco, the folder of the photos; by default the folder images beside the JSON file, or the file's folder."""
    name: str | None = None
    """Name of the prepared folder; by default the data name."""
    crop_type: Crop = "uncropped"
    """Whole photos, or photos cropped to their bounding boxes."""
    size: int = 252
    """Side of the stored pictures in pixels."""
    split: SplitRule = "classes"
    """classes: no test class has training photos (the data set's own split, or the first half of its classes for training);
    photos: half of the photos of each class are test photos; given: the data set's own split, with the same class on both
    sides if it is so. Figures of the last two are marked as classes seen in training."""
    seed: int = 0
    """Chooses the test photos of --split photos."""
    quality: int = 95
    """JPEG quality of the stored pictures."""
    strict: bool = False
    """Stop if a single photo cannot be read; otherwise up to 1 % are left out."""
    force: bool = False
    """Prepare again even if nothing has changed."""

    def __post_init__(self) -> None:
        # Paths are also accepted as text. A frozen dataclass sets a field this way.
        object.__setattr__(self, "data_path", Path(self.data_path))
        for name in ("source", "images"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(getattr(self, name)))
        self._check_reader()
        if self.name is not None and (self.name in ("", "..") or self.name != Path(self.name).name):
            raise ValueError(f"--name {self.name!r} is not a plain folder name; use a name without slashes")
        if not 1 <= self.size <= MAX_SIDE:
            raise ValueError(f"--size {self.size} is out of range; choose 1 to {MAX_SIDE} pixels")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"--quality {self.quality} is out of range; choose 1 to 100")
        if self.split not in get_args(SplitRule):
            raise ValueError(f"--split {self.split!r} is not one of {', '.join(get_args(SplitRule))}; use one of these")
        if not 0 <= self.seed < 1 << 63:
            raise ValueError(f"--seed {self.seed} is out of range; choose a number from 0")

    def _check_reader(self) -> None:
        known = reader_names()
        if self.data_name not in (*known, RECORDS) or self.data_name != Path(self.data_name).name:
            raise ValueError(f"--data_name {self.data_name!r} is not a reader; the readers are {', '.join(known)}")
        files = {"csv": "the path of the table", "coco": "the path of the JSON file"}
        if self.data_name in files and self.source is None:
            raise ValueError(f"--data_name {self.data_name} needs --source, {files[self.data_name]}")
        if self.images is not None and self.data_name != "coco":
            raise ValueError(f"--images is for --data_name coco; the reader {self.data_name} finds its photos itself")

    @property
    def folder(self) -> Path:
        """The prepared folder."""
        return self.data_path / (self.name or self.data_name)

    @property
    def file(self) -> Path:
        """The prepared Arrow file."""
        return self.folder / f"{self.crop_type}.arrow"

    @property
    def failures_file(self) -> Path:
        """The list of photos left out, with columns path and reason."""
        return self.folder / f"{self.crop_type}.failures.csv"


@dataclass(frozen=True)
class Failure:
    """A photo that could not be prepared, and why."""

    path: str
    reason: str


def prepare(
    options: Preparation | None = None,
    show: Callable[[str], None] = print,
    *,
    records: Iterable[Record] | None = None,
) -> Catalog:
    """Prepare a data set, or open it if it is prepared already. The raw files are not changed.

    Photos may be AVIF, BMP, GIF, JPEG, JPEG 2000, PCX, PNG, PPM, QOI, SGI, TGA, TIFF or WebP.

    Args:
        options: what to prepare, and how; with `records` it may be left out, or is `Preparation("records", ...)`.
        show: called with each line of the summary.
        records: the photos, in place of a reader: mappings with path, label, and optionally split and box.

    Raises:
        FileNotFoundError: if the raw data set or an annotation file is missing.
        ValueError: if an annotation is malformed or does not fit the split, bounding boxes are needed and missing, more than
            1 % of the photos (with `strict`, one) cannot be read, or the result cannot be written.
    """
    if options is None and records is None:
        raise ValueError("there is nothing to prepare; give a Preparation, or records")
    options = options or Preparation(RECORDS)
    annotations = divide(_read(options, records), options.split, options.seed)
    _check_boxes(options, annotations)
    for sentence in (*annotations.notes, *check_counts(annotations)):
        show(f"Note: {sentence}")
    # The name of the raw folder and not its path: a prepared data set may be passed on, and the path is private.
    source = annotations.root if records is not None else _source(options)
    origin = Origin(annotations.name, source.absolute().name, _fingerprint(annotations), options.quality)
    finished = None if options.force else _open_finished(options, origin)
    if finished is not None:
        show(f"{options.file} is prepared already, from the same photos; --force prepares it again.")
        return finished
    with _disk_errors_as_sentences(options):
        return _write(options, annotations, origin, show)


def _source(options: Preparation) -> Path:
    return options.source or options.data_path / options.data_name


def _read(options: Preparation, records: Iterable[Record] | None) -> Annotations:
    if (records is not None) != (options.data_name == RECORDS):
        raise ValueError(
            f"data_name {RECORDS!r} and the argument records belong together; give both in Python, or name a reader, such "
            "as folder"
        )
    if records is not None:
        return read_records(records, options.source)
    return read(options.data_name, _source(options), options.images, options)


def _check_boxes(options: Preparation, annotations: Annotations) -> None:
    without = [photo.path for photo in annotations.photos if photo.box is None]
    path, times = Counter(photo.path for photo in annotations.photos).most_common(1)[0]
    # Whole photos would be stored once per box, under the classes of all their objects.
    if options.crop_type == "uncropped" and times > 1:
        raise ValueError(
            f"{annotations.name} lists {times} boxes of {path!r}; use "
            "--crop_type cropped, so that each box becomes a photo"
        )
    if options.crop_type == "cropped" and without:
        raise ValueError(
            "--crop_type cropped needs bounding boxes, which car, cub and coco (or a table with x_1, y_1, x_2, y_2) "
            f"have; {without[0]!r} has none, so use --crop_type uncropped"
        )


def _open_finished(options: Preparation, origin: Origin) -> Catalog | None:
    """Return the catalog that is there if it was prepared from the same photos with the same options."""
    try:
        description = Description.read(options.file.absolute())
        catalog = Catalog.open(options.file)
    # No file, or a damaged one: it is prepared again.
    except (FileNotFoundError, ValueError):
        return None
    settings = (description.origin, description.size, description.crop)
    # After failures every preparation tries again: the missing photos may be readable now.
    unchanged = settings == (origin, options.size, options.crop_type) and not description.failures
    return catalog if unchanged else None


def _fingerprint(annotations: Annotations) -> str:
    """Hash the annotations with the size and date of every photo, so that a replaced photo is noticed."""
    fingerprint = hashlib.sha256(annotations.digest.encode())
    # Size and date instead of the contents, so that the photos of an unchanged data set need not be read again.
    for photo in annotations.photos:
        try:
            status = (annotations.root / photo.path).stat()
            fingerprint.update(f"{status.st_size} {status.st_mtime_ns};".encode())
        except OSError:
            fingerprint.update(b"missing;")
    return fingerprint.hexdigest()


@contextmanager
def _disk_errors_as_sentences(options: Preparation) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # The failure of an atomic write has the error of the system as its cause.
        failed = error.__cause__ if isinstance(error, UnwritableError) else error
        reason = getattr(failed, "strerror", None) or error
        raise ValueError(
            f"cannot write to {options.folder} ({reason}); free disk space or choose another --data_path"
        ) from error


def _write(options: Preparation, annotations: Annotations, origin: Origin, show: Callable[[str], None]) -> Catalog:
    make_folder(options.folder)
    # Filled while the rows are written; `write_catalog` counts it after the last row.
    failures: list[Failure] = []
    rows = _encoded_rows(options, annotations, failures)
    name = options.name or options.data_name
    catalog = write_catalog(options.file, name, rows, options.size, options.crop_type, origin, failures)
    for line in _summary(options, annotations, failures):
        show(line)
    return catalog


def _encoded_rows(
    options: Preparation, annotations: Annotations, failures: list[Failure]
) -> Iterator[tuple[Photo, bytes]]:
    """Yield each readable photo with its JPEG, add the others to `failures`, and raise an error if they are too many."""
    work = partial(_encode, root=annotations.root, options=options)
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        encoded = map_in_order(work, annotations.photos, _cores(), _AHEAD)
        results = progress.track(encoded, len(annotations.photos), description="Reading photos")
        for photo, result in zip(annotations.photos, results, strict=True):
            if isinstance(result, bytes):
                yield photo, result
            else:
                failures.append(result)
    # The writer still holds a temporary file here, so an error leaves the previous data set unchanged.
    _check_failures(options, failures, len(annotations.photos))


def _encode(photo: Photo, root: Path, options: Preparation) -> bytes | Failure:
    box = photo.box if options.crop_type == "cropped" else None
    # An error is a result here, because one broken photo must not stop the others.
    try:
        return reduce_to_square(root / photo.path, options.size, box, options.quality)
    except (OSError, ValueError) as error:
        return Failure(photo.key, str(error))


def _cores() -> int:
    # The cores this process may use; in a container they are fewer than those of the machine.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_failures(options: Preparation, failures: list[Failure], photos: int) -> None:
    if not failures:
        # The list of an earlier preparation no longer applies.
        options.failures_file.unlink(missing_ok=True)
        return
    # Written before the error is raised, because the error refers to it.
    rows = [(failure.path, failure.reason) for failure in failures]
    write_text(options.failures_file, csv_text([("path", "reason"), *rows], "\r\n"))
    if options.strict or 100 * len(failures) > photos:
        limit = "with --strict all must be readable" if options.strict else "at most 1 % may be unreadable"
        raise ValueError(
            f"{len(failures):,} of {photos:,} photos cannot be read, but {limit}; they are listed in "
            f"{options.failures_file}, the first: {failures[0].reason}"
        )


def _summary(options: Preparation, annotations: Annotations, failures: list[Failure]) -> Iterator[str]:
    description = Description.read(options.file)
    classes = {split: {p.class_name for p in annotations.photos if p.split == split} for split in SPLITS}
    for count in description.splits:
        shared = len(classes[count.split] & classes["train"]) if count.split != "train" else 0
        also = f" ({shared:,} of them in train)" if shared else ""
        yield f"{count.split}: {count.classes:,} classes{also}, {count.images:,} photos"
    yield f"Written to {options.file} ({description.bytes / 1e6:,.1f} MB)."
    if failures:
        yield f"{len(failures):,} photos were left out; {options.failures_file} lists them:"
        yield from (f"  {failure.reason}" for failure in failures[:_FAILURES_SHOWN])
