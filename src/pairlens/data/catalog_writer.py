"""Writing a prepared data set: photos a few hundred at a time, complete or not at all."""

import hashlib
import importlib.metadata
import json
import os
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sized
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pyarrow as pa

from pairlens.core.records import to_plain
from pairlens.data.annotations import SPLITS, Photo, Split
from pairlens.data.arrow_checks import SCHEMA
from pairlens.data.catalog import Catalog, Count, Crop, Description, Origin

_BATCH = 256
# A live writer touches its file many times a minute, so an hour of silence means that it was killed.
_STALE_SECONDS = 3600


def write_catalog(
    file: Path,
    name: str,
    rows: Iterable[tuple[Photo, bytes]],
    size: int,
    crop: Crop = "uncropped",
    origin: Origin | None = None,
    failures: Sized = (),
) -> Catalog:
    """Write encoded photos as a prepared data set, a few hundred at a time, and open it.

    Labels are numbered by first appearance. The file gets its name only when it is complete, so a write that is
    interrupted, or whose rows raise, leaves what was there before.

    Args:
        file: `<data_path>/<name>/<crop>.arrow`; its folder is made if need be.
        name: what reports call the data set.
        rows: photos with their JPEG files, all train photos before the others.
        size: side of the stored pictures in pixels.
        crop: whether the pictures were cropped to their boxes.
        origin: where the photos came from.
        failures: the photos left out; counted when the rows have run out.

    Raises:
        ValueError: if there are no rows, or a class is trained and tested on, or train photos come late.
    """
    file = Path(file).absolute()
    file.parent.mkdir(parents=True, exist_ok=True)
    with _unfinished(file) as part, _unfinished(file.with_suffix(".json")) as beside:
        ledger = _write_rows(part, rows)
        told = Description(
            name=name,
            crop=crop,
            size=size,
            splits=ledger.counts(),
            failures=len(failures),
            digest=ledger.hash.hexdigest(),
            bytes=part.stat().st_size,
            origin=origin or Origin(reader=name),
            version=importlib.metadata.version("pairlens"),
        )
        beside.write_text(json.dumps(to_plain(told), indent=1) + "\n", encoding="utf-8")
        # The JSON goes first: without its Arrow file it means nothing, and its byte count exposes an older one.
        beside.replace(file.with_suffix(".json"))
        part.replace(file)
    return Catalog.open(file)


@contextmanager
def _unfinished(file: Path) -> Iterator[Path]:
    for left in file.parent.glob(f".{file.name}.*.part"):
        if time.time() - left.stat().st_mtime > _STALE_SECONDS:
            left.unlink(missing_ok=True)
    part = file.with_name(f".{file.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _write_rows(part: Path, rows: Iterable[tuple[Photo, bytes]]) -> "_Ledger":
    ledger = _Ledger()
    pending = iter(rows)
    with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        while batch := list(islice(pending, _BATCH)):
            writer.write_batch(_record_batch(batch, [ledger.enter(photo, jpeg) for photo, jpeg in batch]))
    if not ledger.labels:
        raise ValueError(f"no photo was left to write to {part.parent}; check the raw data set")
    return ledger


def _record_batch(batch: Collection[tuple[Photo, bytes]], labels: list[int]) -> pa.RecordBatch:
    photos = [photo for photo, _ in batch]
    columns = (
        [photo.path for photo in photos],
        labels,
        [photo.class_name for photo in photos],
        [photo.split for photo in photos],
        [jpeg for _, jpeg in batch],
    )
    return pa.record_batch([pa.array(c, kind.type) for c, kind in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


class _Ledger:
    """Numbers the classes, counts the photos and hashes the contents while rows pass by."""

    def __init__(self) -> None:
        self.labels: dict[str, int] = {}
        self.hash = hashlib.sha256()
        self.images: Counter[Split] = Counter()
        self.seen: defaultdict[Split, set[str]] = defaultdict(set)

    def enter(self, photo: Photo, jpeg: bytes) -> int:
        if photo.split == "train" and any(split != "train" for split in self.images):
            raise ValueError(f"the train photo {photo.path!r} comes after test photos; order the rows train first")
        if photo.split != "train" and photo.class_name in self.seen["train"]:
            raise ValueError(f"the class {photo.class_name!r} is in train and in {photo.split}; keep it on one side")
        self.images[photo.split] += 1
        self.seen[photo.split].add(photo.class_name)
        for part in (photo.path.encode(), photo.class_name.encode(), photo.split.encode(), jpeg):
            self.hash.update(len(part).to_bytes(8, "big"))
            self.hash.update(part)
        return self.labels.setdefault(photo.class_name, len(self.labels))

    def counts(self) -> tuple[Count, ...]:
        return tuple(Count(s, len(self.seen[s]), self.images[s]) for s in SPLITS if self.images[s])
