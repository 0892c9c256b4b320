"""Parquet tables of vectors: any vector database can take them, and vectors computed elsewhere come in the same way."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from pairlens.collection.item import Item, NewItem, Region, checked_metadata
from pairlens.collection.store import Store
from pairlens.core.files import atomic_write
from pairlens.core.untrusted import is_plain_text, parse_json, regular_file

VERSION = 1
_KEY = b"pairlens"
_READ = ("root", "path", "digest", "region", "label", "metadata", "vector")
_PAGE = 4096
_MAX_ROWS, _MAX_DIM = 100_000_000, 1 << 16
_MAX_ROW_BYTES = 1 << 20


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
    `fingerprint`, by default a digest of the name of the file.

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
        model, dim = _model_of(opened, file, fingerprint)
        store.start_model(model, dim)
        added = 0
        for first, batch in _batches(opened, file):
            items, vectors = _read_batch(batch, first, file, dim)
            store.add(items, vectors, model)
            added += len(items)
    return added


def _model_of(opened: parquet.ParquetFile, file: Path, fingerprint: str | None) -> tuple[str, int]:
    """Return the fingerprint of the vectors and their dimension."""
    schema = opened.schema_arrow
    missing = [name for name in ("path", "vector") if name not in schema.names]
    if missing:
        raise ValueError(f"{file} has no column {missing[0]!r}; it needs path and vector")
    states = opened.metadata.num_rows
    if states > _MAX_ROWS:
        raise ValueError(f"{file} states {states:,} rows, more than any collection has")
    kind = schema.field("vector").type
    is_list = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not is_list or not pa.types.is_floating(kind.value_type):
        raise ValueError(f"the column vector of {file} holds {kind}, not lists of floating-point numbers")
    about = _about(schema, file)
    dim = kind.list_size if pa.types.is_fixed_size_list(kind) else _first_length(opened, file)
    if not 0 < dim <= _MAX_DIM:
        raise ValueError(f"the vectors of {file} have {dim} dimensions; 1 to {_MAX_DIM:,} are stored")
    default = f"elsewhere-{hashlib.sha256(file.name.encode()).hexdigest()[:8]}"
    return str(about.get("fingerprint") or fingerprint or default)[:64], dim


def _about(schema: pa.Schema, file: Path) -> dict[str, Any]:
    stored = (schema.metadata or {}).get(_KEY)
    if stored is None:
        return {}
    match parse_json(stored.decode("utf-8", "replace")):
        case {"version": int(version), "fingerprint": str(name)} as about if version <= VERSION and is_plain_text(name):
            return about
    raise ValueError(f"{file} was exported by a newer Pairlens, or is damaged; export it again")


def _first_length(opened: parquet.ParquetFile, file: Path) -> int:
    for batch in opened.iter_batches(1, columns=["vector"]):
        return len(batch.column(0)[0])
    raise ValueError(f"{file} has no rows")


def _batches(opened: parquet.ParquetFile, file: Path) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield the rows in batches, each with the number of its first row, counted from 1."""
    groups = opened.metadata
    for number in range(groups.num_row_groups):
        group = groups.row_group(number)
        # What the file states before anything is decompressed: a few bytes may stand for gigabytes.
        if group.total_byte_size > _MAX_ROW_BYTES * max(1, group.num_rows):
            raise ValueError(
                f"{file} states {group.total_byte_size:,} bytes for {group.num_rows:,} rows; export it again"
            )
    first = 1
    wanted = [
        n for n in ("root", "path", "digest", "region", "label", "metadata", "vector") if n in opened.schema_arrow.names
    ]
    try:
        for batch in opened.iter_batches(_PAGE, columns=wanted):
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
    return numbers / length


def _item(row: dict[str, Any], where: str) -> NewItem:
    path = row["path"]
    label = row.get("label")
    root = row.get("root") or ""
    for name, text in (("path", path), ("root", root), ("label", label or "")):
        if not isinstance(text, str) or not is_plain_text(text) or (name == "path" and not text):
            raise ValueError(f"{where}: the {name} {str(text)[:80]!r} is empty, no text, or has control characters")
    digest = row.get("digest") or hashlib.sha256(f"{root}/{path}".encode()).hexdigest()
    if not isinstance(digest, str) or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise ValueError(f"{where}: the digest is no SHA-256 in hexadecimal digits")
    try:
        region = None if row.get("region") is None else Region(*row["region"])
        metadata = checked_metadata(_object(row.get("metadata")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error
    return NewItem(normalize("NFC", root), normalize("NFC", path), digest, region, label or None, metadata)


def _object(text: Any) -> dict[str, Any]:
    parsed = parse_json(text) if text else {}
    if not isinstance(parsed, dict):
        raise ValueError("the metadata are no JSON object")
    return parsed
