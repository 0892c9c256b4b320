"""Parquet tables of vectors: any vector database can take them, and vectors computed elsewhere come in the same way."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from pairlens.collection.collection_model import MODELS
from pairlens.collection.ingest import without_held
from pairlens.collection.item import MAX_TEXT, Item, NewItem, Region, checked_metadata
from pairlens.collection.store import Store
from pairlens.core.files import atomic_write
from pairlens.core.untrusted import escapes_folder, is_plain_text, parse_json, regular_file
from pairlens.core.whole_number import as_whole_number

VERSION = 1
_KEY = b"pairlens"
_READ = ("root", "path", "digest", "region", "label", "metadata", "vector")
_PAGE = 4096
_MAX_ROWS, _MAX_DIM = 100_000_000, 1 << 16
_MAX_ROW_BYTES, _BATCH_BYTES = 1 << 20, 1 << 26
_MAX_NAME, _MAX_METADATA = 64, 1 << 20


def export_vectors(store: Store, file: Path) -> int:
    """Write a table with the columns id, root, path, digest, region, label, metadata (JSON) and vector; returns its rows.

    Raises:
        ValueError: if the collection is empty, or the file is no .parquet.
        OSError: if it cannot be written.
    """
    if file.suffix.lower() != ".parquet":
        raise ValueError(f"{file} is no .parquet file; give it that suffix")
    models = store.models()
    if not models:
        raise ValueError(f"{store.name} has no vectors to export")
    model = models[0]
    about = {"version": VERSION, "fingerprint": model.fingerprint, "dim": model.dim}
    schema = _schema(model.dim).with_metadata({_KEY: json.dumps(about).encode()})
    rows = 0
    with atomic_write(file) as part, parquet.ParquetWriter(part, schema) as writer:
        after = 0
        while page := store.page(after, _PAGE):
            after = page[-1].id
            vectors = store.vectors([item.id for item in page])
            writer.write_table(_as_table(page, vectors, schema))
            rows += len(page)
    return rows


def _schema(dim: int) -> pa.Schema:
    return pa.schema(
        [
            ("id", pa.int64()),
            ("root", pa.string()),
            ("path", pa.string()),
            ("digest", pa.string()),
            ("region", pa.list_(pa.int64())),
            ("label", pa.string()),
            ("metadata", pa.string()),
            ("vector", pa.list_(pa.float32(), dim)),
        ]
    )


def _as_table(items: list[Item], vectors: np.ndarray, schema: pa.Schema) -> pa.Table:
    regions = [None if item.region is None else [*_corners(item.region)] for item in items]
    columns: list[Any] = [
        [item.id for item in items],
        [item.root for item in items],
        [item.path for item in items],
        [item.digest for item in items],
        regions,
        [item.label for item in items],
        [json.dumps(dict(item.metadata)) for item in items],
    ]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=False)]
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    arrays.append(pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]))
    return pa.Table.from_arrays(arrays, schema=schema)


def _corners(region: Region) -> tuple[int, int, int, int]:
    return region.x, region.y, region.width, region.height


def import_vectors(store: Store, file: Path, fingerprint: str | None = None) -> int:
    """Add the rows of a table of vectors; returns how many there were.

    Needed are the columns path and vector; root, digest, region, label and metadata are optional. Vectors are scaled to unit
    length. A table that `export_vectors` wrote names its model; of another table the vectors are taken as those of the model
    `fingerprint`, by default that of the vectors that the collection has. A row whose path and region the collection has is
    left as it is, so the same call goes on after an interruption.

    Args:
        store: where to; the first vectors of a store decide its dimension and model.
        file: the table.
        fingerprint: the name of the model that computed the vectors.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the row that is malformed, or if the vectors are of another model than those of the collection.
            Batches before that row are in the collection.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not a file; give a .parquet table with the columns path and vector")
    try:
        opened = parquet.ParquetFile(regular_file(file))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file} cannot be read as a Parquet table ({error}); export it again") from error
    with opened:
        _check_sizes(opened, file)
        stated, dim = _stated_model(opened, file, fingerprint)
        model = _fitting_model(store, stated, dim, file)
        # Nothing is declared for a table whose first rows cannot be read.
        is_declared = False
        places: dict[tuple[str, str, Region | None], int] = {}
        added = 0
        for first, batch in _batches(opened, file):
            items, vectors = _read_batch(batch, first, file, dim)
            _check_distinct(items, places, first, file)
            if not is_declared:
                store.start_model(model, dim)
                is_declared = True
            new = without_held(store, items)
            added += len(store.add([items[n] for n in new], vectors[new], model))
    return added


def _fitting_model(store: Store, stated: str | None, dim: int, file: Path) -> str:
    """Return the model of a table's vectors; raises ValueError unless a store has no vectors or vectors of this model."""
    models = store.models()
    if not models:
        return stated or f"elsewhere-{hashlib.sha256(file.name.encode()).hexdigest()[:8]}"
    active = models[0]
    if stated is None and any(name.startswith(f"{MODELS}/{active.fingerprint}/") for name in store.documents()):
        raise ValueError(
            f"{file} does not say which model computed its vectors, and {store.name} has a model; if it is that one, give "
            f"--model {active.fingerprint}"
        )
    if stated is not None and stated != active.fingerprint:
        raise ValueError(
            f"the vectors of {file} are of the model {stated} and those of {store.name} of {active.fingerprint}; vectors of "
            "two models cannot be compared"
        )
    if dim != active.dim:
        raise ValueError(f"the vectors of {file} have {dim} dimensions, and those of {store.name} have {active.dim}")
    return active.fingerprint


def _check_distinct(
    items: Sequence[NewItem], places: dict[tuple[str, str, Region | None], int], first: int, file: Path
) -> None:
    for number, item in enumerate(items, first):
        earlier = places.setdefault((item.root, item.path, item.region), number)
        if earlier != number:
            raise ValueError(
                f"{file}, row {number}: the path {item.path!r} is in row {earlier} already; give each one once"
            )


def _check_sizes(opened: parquet.ParquetFile, file: Path) -> None:
    """Check what a file states before anything is decompressed: a few bytes may stand for gigabytes."""
    groups = opened.metadata
    if groups.num_rows > _MAX_ROWS:
        raise ValueError(f"{file} states {groups.num_rows:,} rows, more than any collection has")
    for number in range(groups.num_row_groups):
        group = groups.row_group(number)
        if group.total_byte_size > _MAX_ROW_BYTES * max(1, group.num_rows):
            raise ValueError(
                f"{file} states {group.total_byte_size:,} bytes for {group.num_rows:,} rows; export it again"
            )


def _rows_at_a_time(opened: parquet.ParquetFile) -> int:
    """Return how many rows take at most `_BATCH_BYTES` on average, by what the file states."""
    groups = [opened.metadata.row_group(n) for n in range(opened.metadata.num_row_groups)]
    largest = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=1)
    return max(1, min(_PAGE, _BATCH_BYTES // max(1, largest)))


def _stated_model(opened: parquet.ParquetFile, file: Path, fingerprint: str | None) -> tuple[str | None, int]:
    """Return the fingerprint of the vectors, None if nobody states it, and their dimension."""
    schema = opened.schema_arrow
    missing = [name for name in ("path", "vector") if name not in schema.names]
    if missing:
        raise ValueError(f"{file} has no column {missing[0]!r}; it needs path and vector")
    kind = schema.field("vector").type
    is_list = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not is_list or not pa.types.is_floating(kind.value_type):
        raise ValueError(f"the column vector of {file} holds {kind}, not lists of floating-point numbers")
    about = _about(schema, file)
    dim = kind.list_size if pa.types.is_fixed_size_list(kind) else _first_length(opened, file)
    if not 0 < dim <= _MAX_DIM:
        raise ValueError(f"the vectors of {file} have {dim} dimensions; 1 to {_MAX_DIM:,} are stored")
    stated = about.get("fingerprint", fingerprint)
    if fingerprint is not None and stated != fingerprint:
        raise ValueError(f"{file} was exported with vectors of the model {stated}, not of {fingerprint}")
    if stated is not None and (not 0 < len(stated) <= _MAX_NAME or not is_plain_text(stated) or "/" in stated):
        raise ValueError(f"the model {stated[:80]!r} has no name of 1 to {_MAX_NAME} characters without slashes")
    return stated, dim


def _about(schema: pa.Schema, file: Path) -> dict[str, Any]:
    stored = (schema.metadata or {}).get(_KEY)
    if stored is None:
        return {}
    try:
        parsed = parse_json(stored.decode("utf-8", "replace"))
    except ValueError:
        parsed = None
    match parsed:
        case {"version": int(version), "fingerprint": str(name)} if version <= VERSION and is_plain_text(name):
            return {"fingerprint": name}
    raise ValueError(f"{file} was exported by a newer Pairlens, or is damaged; export it again")


def _first_length(opened: parquet.ParquetFile, file: Path) -> int:
    try:
        for batch in opened.iter_batches(1, columns=["vector"]):
            values = batch.column(0)[0].values
            if values is None:
                raise ValueError(f"{file}, row 1: there is no vector")
            return len(values)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file} is damaged ({error}); export it again") from error
    raise ValueError(f"{file} has no rows")


def _batches(opened: parquet.ParquetFile, file: Path) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield the rows in batches, each with the number of its first row, counted from 1."""
    first = 1
    wanted = [name for name in _READ if name in opened.schema_arrow.names]
    try:
        batches = opened.iter_batches(_rows_at_a_time(opened), columns=wanted)
        while (batch := next(batches, None)) is not None:
            batch.validate(full=True)
            yield first, batch
            first += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file} is damaged after row {first - 1} ({error}); export it again") from error


def _read_batch(batch: pa.RecordBatch, first: int, file: Path, dim: int) -> tuple[list[NewItem], np.ndarray]:
    columns = {name: batch.column(name).to_pylist() for name in batch.schema.names if name != "vector"}
    vectors = np.empty((batch.num_rows, dim), np.float32)
    items = []
    for n, values in enumerate(batch.column("vector")):
        where = f"{file}, row {first + n}"
        vectors[n] = _unit_vector(values, dim, where)
        items.append(_item({name: column[n] for name, column in columns.items()}, where))
    return items, vectors


def _unit_vector(values: Any, dim: int, where: str) -> np.ndarray:
    numbers = None if values.as_py() is None else np.asarray(values.values, np.float64)
    if numbers is None or len(numbers) != dim:
        raise ValueError(f"{where}: the vector has {0 if numbers is None else len(numbers)} dimensions, not {dim}")
    length = float(np.linalg.norm(numbers))
    if not np.isfinite(length) or length == 0:
        raise ValueError(f"{where}: the vector is zero or not finite")
    # What is of unit length but for rounding stays as it is, so that a round trip changes no bit.
    return numbers if abs(length - 1) < 1e-6 else numbers / length


def _item(row: dict[str, Any], where: str) -> NewItem:
    path = row["path"]
    label = row.get("label")
    root = row.get("root") or ""
    for name, text in (("path", path), ("root", root), ("label", label or "")):
        fits = isinstance(text, str) and is_plain_text(text) and len(text) <= MAX_TEXT
        if not fits or (name == "path" and not text):
            raise ValueError(
                f"{where}: the {name} {str(text)[:80]!r} is empty, no text, too long or has control characters"
            )
    # With a root the path names a file, which must lie below it.
    if root and escapes_folder(path):
        raise ValueError(f"{where}: the path {path[:80]!r} leads out of its root; correct the row")
    digest = row.get("digest") or hashlib.sha256(f"{root}/{path}".encode()).hexdigest()
    if not isinstance(digest, str) or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise ValueError(f"{where}: the digest is no SHA-256 in hexadecimal digits")
    try:
        corners = row.get("region")
        region = None if corners is None else Region(*(as_whole_number(corner, "region") for corner in corners))
        metadata = checked_metadata(_object(row.get("metadata")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error
    # A root is what the system calls the folder, so it is not composed.
    return NewItem(root, normalize("NFC", path), digest, region, normalize("NFC", label or "") or None, metadata)


def _object(text: Any) -> dict[str, Any]:
    if text is not None and (not isinstance(text, str) or len(text) > _MAX_METADATA):
        raise ValueError(f"the metadata are no text of at most {_MAX_METADATA:,} characters")
    parsed = parse_json(text) if text else {}
    if not isinstance(parsed, dict):
        raise ValueError("the metadata are no JSON object")
    return parsed
