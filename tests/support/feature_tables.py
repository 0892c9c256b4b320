"""Files of features, as people compute them with other programs."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from pyarrow import parquet

LABELS, SHOTS, DIM = 8, 6, 12


def rows(dim: int = DIM, **columns) -> dict:
    """The columns of a file of features: four training classes and four test classes, six vectors of each.

    Args:
        dim: number of values of a vector.
        columns: replace columns, or are added.
    """
    labels = np.repeat(np.arange(LABELS), SHOTS)
    centers = np.random.default_rng(0).normal(size=(LABELS, dim))
    noise = np.random.default_rng(1).normal(size=(LABELS * SHOTS, dim))
    found = {
        "vector": (centers[labels] + 1.5 * noise).astype(np.float32).tolist(),
        "label": [f"bird {label}" for label in labels],
        "split": ["train" if label < LABELS // 2 else "test" for label in labels],
    }
    return {name: column for name, column in {**found, **columns}.items() if column is not None}


def write_features(file: Path, columns: dict) -> Path:
    """Write columns as Parquet; returns the file."""
    parquet.write_table(pa.table(columns), file)
    return file


def of_catalog(catalog, vectors: torch.Tensor) -> dict:
    """The columns that describe a prepared data set with given vectors."""
    splits = list(catalog.splits)
    return {
        "vector": vectors.tolist(),
        "label": [catalog.class_names[label] for label in catalog.labels.tolist()],
        "split": ["train" if split == "train" else "test" for split in splits],
        "path": list(catalog.paths),
        "role": [split if split in ("query", "gallery") else None for split in splits],
    }
