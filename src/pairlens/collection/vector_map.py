"""A map of vectors that is part of the model of a collection: principal components, whitened or not."""

import hashlib
from dataclasses import dataclass

import numpy as np

# Vectors that a map is fitted to; more change it little.
MAX_FITTED = 50_000
_SHORTEST = 1e-12


@dataclass(frozen=True, eq=False)
class VectorMap:
    """x ↦ (x − μ) W, scaled to unit length; see `fit_pca`.

    Attributes:
        steps: what it does, in words.
        mean: float32 (dim,) μ.
        matrix: float32 (dim, component) W.
    """

    steps: str
    mean: np.ndarray
    matrix: np.ndarray

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Return float32 (item, component) unit vectors of (item, dim) vectors.

        >>> VectorMap("2 dimensions", np.zeros(3), np.eye(3)[:, :2])(np.array([[3.0, 4.0, 9.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929]]
        """
        mapped = ((vectors - self.mean) @ self.matrix).astype(np.float32)
        return mapped / np.maximum(np.linalg.norm(mapped, axis=1, keepdims=True), _SHORTEST)

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that only this map has."""
        parts = (self.mean.astype("<f4").tobytes(), self.matrix.astype("<f4").tobytes())
        return hashlib.sha256(b"".join(parts)).hexdigest()[:8]

    def contents(self) -> bytes:
        """Return it as a safetensors file."""
        from safetensors.numpy import save

        tensors = {"mean": self.mean, "matrix": np.ascontiguousarray(self.matrix)}
        return save(tensors, {"steps": self.steps})

    @classmethod
    def read(cls, contents: bytes) -> "VectorMap":
        """Return the map of a file that `contents` made; ValueError if it is damaged."""
        import json

        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            tensors = load(contents)
            header = json.loads(contents[8 : 8 + int.from_bytes(contents[:8], "little")])
            steps, mean, matrix = header["__metadata__"]["steps"], tensors["mean"], tensors["matrix"]
        except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"the map of its vectors is damaged ({error}); restore the collection") from error
        fits = mean.ndim == 1 and matrix.ndim == 2 and len(matrix) == len(mean) and matrix.shape[1] >= 1
        if not fits or mean.dtype != np.float32 or matrix.dtype != np.float32:
            raise ValueError(f"the map of its vectors has the shape {matrix.shape}; restore the collection")
        if not np.isfinite(mean).all() or not np.isfinite(matrix).all():
            raise ValueError("the map of its vectors is not finite; restore the collection")
        return cls(str(steps), mean, matrix)


def steps_in_words(whiten: bool, reduce: int | None) -> str:
    """Return what a map does.

    >>> steps_in_words(True, 128), steps_in_words(True, None)
    ('128 dimensions + whiten', 'whiten')
    """
    parts = [] if reduce is None else [f"{reduce} dimensions"]
    return " + ".join([*parts, "whiten"] if whiten else parts)


def fit_map(vectors: np.ndarray, whiten: bool, reduce: int | None) -> VectorMap:
    """Return the principal components of (photo, dim) vectors, whitened or not; ValueError if there are too few."""
    import torch

    from pairlens.evaluation.post_processing import fit_pca

    found = fit_pca(torch.from_numpy(vectors), reduce, whiten)
    return VectorMap(steps_in_words(whiten, reduce), found.mean.numpy(), np.ascontiguousarray(found.matrix.numpy()))
