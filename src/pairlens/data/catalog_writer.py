"""Writer of prepared data sets: photos in batches, and a file that is complete or absent."""

import hashlib
import importlib.metadata
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from pairlens.core.files import atomic_write, make_folder
from pairlens.core.records import to_plain
from pairlens.data.account import Account, total
from pairlens.data.annotations import SPLITS, Photo, Split
from pairlens.data.arrow_checks import SCHEMA
from pairlens.data.catalog import Catalog, Count, Crop, Description, Origin
from pairlens.data.catalog_file import add_row

# Rows per Arrow record batch, which bounds the memory of a writer.
_BATCH_ROWS = 256
# A running writer changes its file many times a minute, so a file that is an hour old belongs to a killed writer.
_STALE_SECONDS = 3600


def write_catalog(
    file: Path,
    name: str,
    rows: Iterable[tuple[Photo, bytes]],
    size: int,
    crop: Crop = "uncropped",
    origin: Origin | None = None,
    account: Callable[[], Account] = Account,
) -> Catalog:
    """Write photos and their JPEG files as a prepared data set, and open it.

    Labels are numbered by first appearance, so the training classes have the first ones. The data is written to a temporary
    file, which gets its final name when it is complete; an interrupted write, or one whose rows raise an error, leaves the
    previous files unchanged.

    Args:
        file: `<data_path>/<name>/<crop>.arrow`; the folder is created if it does not exist.
        name: the name of the data set in reports.
        rows: photos with their JPEG files, all train photos before the others.
        size: side of the stored pictures in pixels.
        crop: whether the pictures were cropped to their bounding boxes.
        origin: where the photos came from.
        account: returns what became of everything that was found; called after the last row.

    Raises:
        ValueError: if there are no rows, or a train photo follows a photo of another split.
    """
    file = Path(file).absolute()
    json_file = file.with_suffix(".json")
    make_folder(file.parent)
    _remove_stale_parts(file)
    _remove_stale_parts(json_file)
    # The inner file is renamed first, which is the JSON. If the process is killed in between, the byte count in the JSON
    # does not fit the previous Arrow file, or there is no Arrow file; both are noticed when the catalog is opened.
    with atomic_write(file) as part, atomic_write(json_file) as json_part:
        ledger = _write_rows(part, rows, file.parent)
        result = account()
        description = Description(
            name=name,
            crop=crop,
            size=size,
            splits=ledger.counts(),
            failures=total(result.refused),
            digest=ledger.hash.hexdigest(),
            bytes=part.tell(),
            origin=origin or Origin(reader=name),
            version=importlib.metadata.version("pairlens"),
            account=result,
        )
        json_part.write((json.dumps(to_plain(description), indent=1) + "\n").encode())
    return Catalog.open(file)


def _remove_stale_parts(file: Path) -> None:
    """Remove the files of killed writers."""
    for leftover in file.parent.glob(f".{file.name}.*.part"):
        if time.time() - leftover.stat().st_mtime > _STALE_SECONDS:
            leftover.unlink(missing_ok=True)


def _write_rows(part: BinaryIO, rows: Iterable[tuple[Photo, bytes]], folder: Path) -> "_Ledger":
    ledger = _Ledger()
    pending = iter(rows)
    with pa.ipc.new_file(part, SCHEMA) as writer:
        while batch := list(islice(pending, _BATCH_ROWS)):
            labels = [ledger.enter(photo, jpeg) for photo, jpeg in batch]
            writer.write_batch(_record_batch(batch, labels))
    if not ledger.labels:
        raise ValueError(f"there is no photo to write to {folder}; check the raw data set")
    return ledger


def _record_batch(batch: Collection[tuple[Photo, bytes]], labels: list[int]) -> pa.RecordBatch:
    photos = [photo for photo, _ in batch]
    columns = (
        [photo.key for photo in photos],
        labels,
        [photo.class_name for photo in photos],
        [photo.split for photo in photos],
        [jpeg for _, jpeg in batch],
    )
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=SCHEMA)


class _Ledger:
    """Label numbers, photo counts and content hash of the rows written so far."""

    def __init__(self) -> None:
        self.labels: dict[str, int] = {}
        self.hash = hashlib.sha256()
        self.images: Counter[Split] = Counter()
        self.classes: defaultdict[Split, set[str]] = defaultdict(set)

    def enter(self, photo: Photo, jpeg: bytes) -> int:
        """Check, count and hash a row; return its label."""
        if photo.split == "train" and any(split != "train" for split in self.images):
            raise ValueError(f"the train photo {photo.key!r} follows photos of another split; put the train rows first")
        self.images[photo.split] += 1
        self.classes[photo.split].add(photo.class_name)
        add_row(self.hash, photo.key, photo.class_name, photo.split, jpeg)
        return self.labels.setdefault(photo.class_name, len(self.labels))

    def counts(self) -> tuple[Count, ...]:
        """Return the number of classes and images of each split that has photos."""
        return tuple(Count(s, len(self.classes[s]), self.images[s]) for s in SPLITS if self.images[s])
