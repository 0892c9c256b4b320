"""Preparation of a raw data set: every photo read once, cropped, resized and written to one Arrow file."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from pairlens.core.boxes import BoxOutsideError
from pairlens.core.deep_pixels import Depth
from pairlens.core.files import UnwritableError, make_folder
from pairlens.core.images import SmallPhoto, TooManyPixelsError, reduce_photo
from pairlens.core.photo_reading import PhotoReading
from pairlens.core.threads import available_cores, map_in_order
from pairlens.data.account import Account, Exclusion, count_kinds, reasons_by_kind, write_exclusions
from pairlens.data.annotations import SPLITS, Annotations, Photo
from pairlens.data.catalog import Catalog, Description, Origin
from pairlens.data.catalog_writer import write_catalog
from pairlens.data.deep_photos import find_depth
from pairlens.data.photo_paths import locate_photos
from pairlens.data.preparation import RECORDS, Preparation
from pairlens.data.readers import check_counts, read
from pairlens.data.readers.records import Record
from pairlens.data.readers.records import read as read_records
from pairlens.data.split import divide

# Photos per core that may be encoded before they are written, so that one large photo does not delay the others.
_AHEAD = 8
_FAILURES_SHOWN = 5
# A photo with a shorter side shows next to nothing.
_SMALL_SIDE = 8


@dataclass
class _Results:
    """What became of the photos; filled while the rows are written."""

    left_out: tuple[Exclusion, ...]
    read: int = 0
    small: list[str] = field(default_factory=list)
    refused: list[Exclusion] = field(default_factory=list)
    repaired: list[Exclusion] = field(default_factory=list)

    def account(self) -> Account:
        """Return the sum so far."""
        return Account(self.read, count_kinds(self.refused), count_kinds(self.left_out), count_kinds(self.repaired))


def prepare(
    options: Preparation | None = None,
    show: Callable[[str], None] = print,
    *,
    records: Iterable[Record] | None = None,
) -> Catalog:
    """Prepare a data set, or open it if it is prepared already. The raw files are not changed.

    Photos may be AVIF, BMP, GIF, JPEG, JPEG 2000, PCX, PNG, PPM, QOI, SGI, TGA, TIFF or WebP, and HEIC with pillow-heif.
    Each file that is found is read, refused or left out; the summary, the JSON file and the failures file say why.

    Args:
        options: what to prepare, and how; with `records` it may be left out, or is `Preparation("records", ...)`.
        show: called with each line of the summary.
        records: the photos, in place of a reader: mappings with path, label, and optionally split and box.

    Raises:
        FileNotFoundError: if the raw data set or an annotation file is missing.
        ValueError: if an annotation is malformed or does not fit the split, bounding boxes are needed and missing, a larger
            share of the photos than `max_failures` cannot be read, or the result cannot be written.
    """
    if options is None and records is None:
        raise ValueError("there is nothing to prepare; give a Preparation, or records")
    options = options or Preparation(RECORDS)
    located = locate_photos(_read(options, records), options.follow_links)
    annotations = divide(located, options.split, options.seed)
    _check_boxes(options, annotations)
    for sentence in (*annotations.notes, *check_counts(annotations), *_class_notes(annotations)):
        show(f"Note: {sentence}")
    # The name of the raw folder and not its path: a prepared data set may be passed on, and the path is private.
    source = annotations.root if records is not None else _source(options)
    origin = Origin(
        annotations.name, source.absolute().name, _fingerprint(annotations), options.quality, options.reading
    )
    finished = None if options.force else _open_finished(options, origin)
    if finished is not None:
        show(Description.read(options.file).account.sentence())
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
    path, times = Counter(photo.path for photo in annotations.photos).most_common(1)[0]
    # Whole photos would be stored once per box, under the classes of all their objects.
    if options.crop_type == "uncropped" and times > 1:
        raise ValueError(
            f"{annotations.name} lists {times} boxes of {path!r}; use "
            "--crop_type cropped, so that each box becomes a photo"
        )
    if options.crop_type == "cropped" and all(photo.box is None for photo in annotations.photos):
        raise ValueError(
            "--crop_type cropped needs bounding boxes, which car, cub and coco (or a table with x_1, y_1, x_2, y_2) "
            f"have; {annotations.photos[0].path!r} has none, so use --crop_type uncropped"
        )


def _class_notes(annotations: Annotations) -> Iterator[str]:
    """Yield a sentence if there is one class only to train or to test with, which makes the result meaningless."""
    train = {photo.class_name for photo in annotations.photos if photo.split == "train"}
    others = {photo.class_name for photo in annotations.photos if photo.split != "train"}
    if len(train) == 1:
        yield f"there is one training class only, {min(train)}: without a second one there is nothing to tell apart."
    if len(others) == 1:
        yield f"there is one test class only, {min(others)}: every query finds its class, so R@1 is 100 % by construction."


def _open_finished(options: Preparation, origin: Origin) -> Catalog | None:
    """Return the catalog that is there if it was prepared from the same photos with the same options."""
    try:
        description = Description.read(options.file.absolute())
        catalog = Catalog.open(options.file)
    # No file, or a damaged one: it is prepared again.
    except (FileNotFoundError, ValueError):
        return None
    # What is white in deep pictures follows from the photos, which are compared by their fingerprint.
    reading = replace(description.origin.reading, depth=Depth())
    settings = (replace(description.origin, reading=reading), description.size, description.crop)
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
    depth = find_depth(annotations, available_cores())
    if words := depth.words():
        show(f"Note: some photos hold {words}; they are scaled to 8 bits by that range, the same for all photos.")
    reading = replace(origin.reading, depth=depth)
    # Filled while the rows are written; `write_catalog` asks for the account after the last row.
    results = _Results(annotations.left_out)
    rows = _encoded_rows(options, annotations, reading, results)
    catalog = write_catalog(
        options.file,
        options.name or options.data_name,
        rows,
        options.size,
        options.crop_type,
        replace(origin, reading=reading),
        results.account,
    )
    for line in _summary(options, annotations, results):
        show(line)
    return catalog


def _encoded_rows(
    options: Preparation, annotations: Annotations, reading: PhotoReading, results: _Results
) -> Iterator[tuple[Photo, bytes]]:
    """Yield each readable photo with its JPEG, enter it in the results, and raise an error if too many fail."""
    work = partial(_encode, root=annotations.root, options=options, reading=reading)
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        encoded = map_in_order(work, annotations.photos, available_cores(), _AHEAD)
        tracked = progress.track(encoded, len(annotations.photos), description="Reading photos")
        for photo, result in zip(annotations.photos, tracked, strict=True):
            if isinstance(result, Exclusion):
                results.refused.append(result)
            else:
                _enter(results, photo, result)
                yield photo, result.jpeg
    # The writer still holds a temporary file here, so an error leaves the previous data set unchanged.
    _check_failures(options, results, len(annotations.photos))


def _enter(results: _Results, photo: Photo, small: SmallPhoto) -> None:
    results.read += 1
    if small.repair:
        results.repaired.append(Exclusion(photo.key, small.repair, "its pixels are sound and were read"))
    if small.side < _SMALL_SIDE:
        results.small.append(photo.key)


def _encode(photo: Photo, root: Path, options: Preparation, reading: PhotoReading) -> SmallPhoto | Exclusion:
    box = photo.box if options.crop_type == "cropped" else None
    # An error is a result here, because one broken photo must not stop the others.
    try:
        return reduce_photo(root / photo.path, options.size, box, options.quality, reading)
    except (OSError, ValueError) as error:
        return Exclusion(photo.key, _refusal_kind(error), str(error))


def _refusal_kind(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "missing file"
    if isinstance(error, BoxOutsideError):
        return "box outside its photo"
    return "file with too many pixels" if isinstance(error.__cause__, TooManyPixelsError) else "unreadable file"


def _check_failures(options: Preparation, results: _Results, photos: int) -> None:
    if not (results.refused or results.left_out or results.repaired):
        # The list of an earlier preparation no longer applies.
        options.failures_file.unlink(missing_ok=True)
        return
    # Written before the error is raised, because the error refers to it.
    write_exclusions(options.failures_file, results.refused, results.left_out, results.repaired)
    failures = len(results.refused)
    if failures and (failures > options.allowed_failures * photos + 1e-9 or failures == photos):
        share = f"at most {100 * options.allowed_failures:g} % may be unreadable (--max_failures)"
        limit = "with --strict all must be readable" if options.strict else share
        raise ValueError(
            f"{failures:,} of {photos:,} photos cannot be read, but {limit}; they are listed in "
            f"{options.failures_file}, the first: {results.refused[0].reason}"
        )


def _summary(options: Preparation, annotations: Annotations, results: _Results) -> Iterator[str]:
    description = Description.read(options.file)
    classes = {split: {p.class_name for p in annotations.photos if p.split == split} for split in SPLITS}
    for count in description.splits:
        shared = len(classes[count.split] & classes["train"]) if count.split != "train" else 0
        also = f" ({shared:,} of them in train)" if shared else ""
        yield f"{count.split}: {count.classes:,} classes{also}, {count.images:,} photos"
    yield description.account.sentence()
    yield from (f"  left out, {line}" for line in reasons_by_kind(results.left_out))
    yield from (f"  refused, {entry.reason}" for entry in results.refused[:_FAILURES_SHOWN])
    if results.refused or results.left_out or results.repaired:
        yield f"{options.failures_file} lists them."
    whole = sum(photo.box is None for photo in annotations.photos)
    if options.crop_type == "cropped" and whole:
        yield f"Note: {whole:,} photos have no box and stay whole."
    if results.small:
        yield (
            f"Note: {len(results.small):,} photos have a side of less than {_SMALL_SIDE} pixels, such as "
            f"{results.small[0]}; check whether they are photos."
        )
    yield f"Written to {options.file} ({description.bytes / 1e6:,.1f} MB)."
