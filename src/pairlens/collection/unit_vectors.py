"""The check of vectors that are about to be stored."""

import numpy as np

# How far the length of a vector may be from 1: float16 vectors that were scaled to length 1 stay below.
UNIT_TOLERANCE = 2e-3


def unit_rows(vectors: np.ndarray, items: int, dim: int) -> np.ndarray:
    """Return float32 (item, dim) vectors; raises ValueError if their shape, their values or a length is wrong."""
    rows = np.asarray(vectors, dtype=np.float32)
    if rows.shape != (items, dim):
        raise ValueError(
            f"the vectors have the shape {rows.shape}, not ({items}, {dim}); embed with the model of the collection"
        )
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    # The comparison is false for a length that is not a number.
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= UNIT_TOLERANCE))
    if len(wrong):
        first = wrong[0]
        raise ValueError(
            f"vector {first} has the length {lengths[first]:.6g}; vectors of a collection are finite and of length 1"
        )
    return rows
