"""From a raw data set to a prepared one: every photo read once, cropped, squashed, and written to one Arrow file."""

import csv
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from pairlens.core.threads import map_in_order
from pairlens.data.annotations import Annotations, Photo
from pairlens.data.catalog import Catalog, Crop, Description, Origin
from pairlens.data.catalog_writer import write_catalog
from pairlens.data.images import reduce_to_square
from pairlens.data.readers import DataName, check_counts, read

# Photos a core may be ahead of the file, so that one large photo does not hold up the others.
_AHEAD = 8
_FAILURES_SHOWN = 5


@dataclass(frozen=True)
class Preparation:
    """How to prepare a data set.

    Raises:
        ValueError: if the name, size or quality is out of range, or a table is wanted and not named.
    """

    data_name: DataName
    """Which raw data set or layout: car, cub, sop, isc, a folder of class folders, or a csv (or Parquet) table."""
    data_path: Path = Path("data")
    """Where prepared data sets live."""
    source: Path | None = None
    """The raw data set; by default <data_path>/<data_name>. For csv, the table."""
    name: str | None = None
    """The prepared folder's name; by default the data name."""
    crop_type: Crop = "uncropped"
    """Whole photos, or photos cropped to their bounding boxes."""
    size: int = 252
    """Side of the stored pictures in pixels."""
    quality: int = 95
    """JPEG quality of the stored pictures."""
    strict: bool = False
    """Stop if a single photo cannot be read; otherwise up to 1 % are left out."""
    force: bool = False
    """Prepare again even if nothing has changed."""

    def __post_init__(self) -> None:
        if self.name is not None and (self.name in ("", "..") or self.name != Path(self.name).name):
            raise ValueError(f"--name {self.name!r} is not a plain folder name; leave out slashes")
        if not 1 <= self.size <= 4096:
            raise ValueError(f"--size {self.size} is out of range; choose 1 to 4096 pixels")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"--quality {self.quality} is out of range; choose 1 to 100")
        if self.data_name == "csv" and self.source is None:
            raise ValueError("--data_name csv needs --source, the path of the table")

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


def prepare(options: Preparation, show: Callable[[str], None]) -> Catalog:
    """Prepare a data set, or open it if it is prepared already; the raw files are only read.

    Args:
        options: what to prepare, and how.
        show: takes each line of the summary.

    Raises:
        FileNotFoundError: if the raw data set or an annotation file is missing.
        ValueError: if an annotation is malformed, boxes are wanted and missing, more than 1 % of the photos (with
            `strict`, any) cannot be read, or the result cannot be written.
    """
    source = options.source or options.data_path / options.data_name
    listing = read(options.data_name, source)
    _refuse_missing_boxes(options, listing)
    for sentence in check_counts(listing):
        show(f"Note: {sentence}")
    origin = Origin(listing.name, source.absolute().name, _fingerprint(listing), options.quality)
    finished = None if options.force else _finished(options, origin)
    if finished is not None:
        show(f"{options.file} is prepared already, from the same photos; --force prepares it again.")
        return finished
    with _sentences_for_the_disk(options):
        return _write(options, listing, origin, show)


def _refuse_missing_boxes(options: Preparation, listing: Annotations) -> None:
    without = [photo.path for photo in listing.photos if photo.box is None]
    if options.crop_type == "cropped" and without:
        raise ValueError(
            "--crop_type cropped needs bounding boxes, which only car and cub (or a table with x_1, y_1, x_2, y_2) "
            f"have; {without[0]!r} has none, so use uncropped"
        )


def _finished(options: Preparation, origin: Origin) -> Catalog | None:
    try:
        told = Description.read(options.file.absolute())
        catalog = Catalog.open(options.file)
    except (FileNotFoundError, ValueError):
        return None
    same = told.origin == origin and told.size == options.size and told.crop == options.crop_type
    return catalog if same and not told.failures else None


def _fingerprint(listing: Annotations) -> str:
    """Hash the listing with the size and date of every photo, so that a changed or mended photo is noticed."""
    found = hashlib.sha256(listing.digest.encode())
    for photo in listing.photos:
        try:
            seen = (listing.root / photo.path).stat()
            found.update(f"{seen.st_size} {seen.st_mtime_ns};".encode())
        except OSError:
            found.update(b"missing;")
    return found.hexdigest()


@contextmanager
def _sentences_for_the_disk(options: Preparation) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"cannot write to {options.folder} ({reason}); free the disk or choose --data_path") from error


def _write(options: Preparation, listing: Annotations, origin: Origin, show: Callable[[str], None]) -> Catalog:
    options.folder.mkdir(parents=True, exist_ok=True)
    failures: list[Failure] = []
    rows = _rows(options, listing, failures)
    catalog = write_catalog(
        options.file, options.name or options.data_name, rows, options.size, options.crop_type, origin, failures
    )
    for line in _summary(options, failures):
        show(line)
    return catalog


def _rows(options: Preparation, listing: Annotations, failures: list[Failure]) -> Iterator[tuple[Photo, bytes]]:
    work = partial(_encode, root=listing.root, options=options)
    with Progress(console=(console := Console(stderr=True)), disable=not console.is_terminal) as progress:
        results = map_in_order(work, listing.photos, _cores(), _AHEAD)
        results = progress.track(results, len(listing.photos), description="Reading photos")
        for photo, result in zip(listing.photos, results, strict=True):
            if isinstance(result, bytes):
                yield photo, result
            else:
                failures.append(result)
    _judge(options, failures, len(listing.photos))


def _encode(photo: Photo, root: Path, options: Preparation) -> bytes | Failure:
    try:
        box = photo.box if options.crop_type == "cropped" else None
        return reduce_to_square(root / photo.path, options.size, box, options.quality)
    except (OSError, ValueError) as error:
        return Failure(photo.path, str(error))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _judge(options: Preparation, failures: list[Failure], photos: int) -> None:
    if not failures:
        options.failures_file.unlink(missing_ok=True)
        return
    with options.failures_file.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "reason"), *((failure.path, failure.reason) for failure in failures)])
    if options.strict or 100 * len(failures) > photos:
        limit = "none may with --strict" if options.strict else "at most 1 % may"
        raise ValueError(
            f"{len(failures):,} of {photos:,} photos cannot be read, and {limit}; they are listed in "
            f"{options.failures_file}, the first: {failures[0].reason}"
        )


def _summary(options: Preparation, failures: list[Failure]) -> Iterator[str]:
    told = Description.read(options.file)
    for count in told.splits:
        yield f"{count.split}: {count.classes:,} classes, {count.images:,} photos"
    yield f"Written to {options.file} ({told.bytes / 1e6:,.1f} MB)."
    if failures:
        yield f"{len(failures):,} photos were left out; {options.failures_file} lists them:"
        yield from (f"  {failure.reason}" for failure in failures[:_FAILURES_SHOWN])
