"""Whether an exported model computes what the model computes, measured on photos."""

from dataclasses import dataclass

import numpy as np
import torch

from pairlens.export.onnx_graph import ExportableModel
from pairlens.model.onnx_embedder import OnnxEmbedder
from pairlens.model.onnx_file import Precision

NEIGHBORS = 10
_BATCH = 16
# Photos that are equally near, such as two copies of one, may change places by rounding.
_TIE = 2e-6
# The least cosine with which a file is left behind; an int8 model is another model, whose figures are stated instead.
LEAST_COSINES: dict[Precision, float] = {"float32": 0.99999, "float16": 0.999, "int8": -1.0}


@dataclass(frozen=True)
class ComparedPhotos:
    """Photos to compare a model and its exported form on.

    Attributes:
        pixels: uint8 (photo, image_size, image_size, 3), as the network sees them.
        stored: uint8 (photo, stored_size, stored_size, 3), the same photos before they were resized; None leaves that out.
        gallery: (item, dim) unit vectors of the photos to search; None for those of the photos themselves.
        rows: (photo,) row of each photo in the gallery, which is left out of its own search; None if it is not there.
    """

    pixels: np.ndarray
    stored: np.ndarray | None = None
    gallery: np.ndarray | None = None
    rows: np.ndarray | None = None


@dataclass(frozen=True)
class Parity:
    """How far the vectors of an exported model are from those of the model in PyTorch.

    Attributes:
        photos: number of photos that both have embedded.
        largest_difference: largest difference of one coordinate.
        least_cosine: least cosine similarity of the two vectors of a photo.
        mean_cosine: mean of these similarities.
        gallery: number of photos that were searched.
        neighbors: number of nearest photos that were compared, at most 10.
        same_neighbors: share of the photos that have the same nearest photos of the gallery with both models.
        same_nearest: share of the photos that have the same nearest photo.
        least_resized_cosine: least cosine when the exported model is given the stored pictures, which it resizes itself;
            None if this was not measured.
    """

    photos: int
    largest_difference: float
    least_cosine: float
    mean_cosine: float
    gallery: int
    neighbors: int
    same_neighbors: float
    same_nearest: float
    least_resized_cosine: float | None = None

    def lines(self) -> list[str]:
        """Return the check in words, one line per figure."""
        lines = [
            (
                f"{self.photos:,} photos: cosine of the vectors of PyTorch and ONNX at least {self.least_cosine:.7f}, mean "
                f"{self.mean_cosine:.7f}"
            ),
            f"largest difference of a coordinate: {self.largest_difference:.1e}",
            (
                f"the same {self.neighbors} nearest of {self.gallery:,} photos: for {self.same_neighbors:.1%} of the "
                f"photos; the same nearest: for {self.same_nearest:.1%}"
            ),
        ]
        if self.least_resized_cosine is not None:
            lines.append(f"given the stored pictures, resized in the graph: at least {self.least_resized_cosine:.6f}")
        return lines


def check_parity(model: ExportableModel, exported: OnnxEmbedder, photos: ComparedPhotos) -> Parity:
    """Embed photos with a model and with its exported form, and compare the vectors and their nearest photos.

    Args:
        model: in PyTorch.
        exported: the same model as an ONNX file.
        photos: what both embed, and what is searched.

    Raises:
        ValueError: if there is no photo.
    """
    pixels, gallery, rows = photos.pixels, photos.gallery, photos.rows
    if not len(pixels):
        raise ValueError("there is no photo to compare the two models on; give at least one")
    ours = _vectors_of_torch(model, pixels)
    theirs = _vectors_of_onnx(exported, pixels)
    cosines = _cosines(ours, theirs)
    if gallery is None:
        gallery, rows = ours, np.arange(len(ours))
    # A photo of the gallery is left out of its own search.
    neighbors = min(NEIGHBORS, len(gallery) - (rows is not None))
    same_neighbors, same_nearest = _shares_of_same(ours, theirs, gallery, rows, neighbors)
    resized = None
    if photos.stored is not None:
        resized = float(_cosines(ours, _vectors_of_onnx(exported, photos.stored)).min())
    return Parity(
        photos=len(pixels),
        largest_difference=float(np.abs(ours - theirs).max()),
        least_cosine=float(cosines.min()),
        mean_cosine=float(cosines.mean()),
        gallery=len(gallery),
        neighbors=neighbors,
        same_neighbors=same_neighbors,
        same_nearest=same_nearest,
        least_resized_cosine=resized,
    )


def _vectors_of_torch(model: ExportableModel, pixels: np.ndarray) -> np.ndarray:
    device = next(model.parameters()).device
    # (photo, height, width, 3) to (photo, 3, height, width), not copied.
    batches = torch.from_numpy(pixels).permute(0, 3, 1, 2).split(_BATCH)
    return torch.cat([model.embed_batch(batch.to(device)).float().cpu() for batch in batches]).numpy()


def _vectors_of_onnx(exported: OnnxEmbedder, pixels: np.ndarray) -> np.ndarray:
    starts = range(0, len(pixels), _BATCH)
    return np.concatenate([exported.embed_pixels(pixels[start : start + _BATCH]) for start in starts])


def _cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the cosine of each pair of rows, in float64, because float32 cannot tell 1 - 1e-8 from 1."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products = (a * b).sum(axis=1)
    # Two vectors of zeros are equal, though they have no direction.
    both_zero = (np.abs(a).sum(axis=1) == 0) & (np.abs(b).sum(axis=1) == 0)
    return np.where(both_zero, 1.0, products / np.where(lengths == 0, 1.0, lengths))


def _shares_of_same(
    ours: np.ndarray, theirs: np.ndarray, gallery: np.ndarray, rows: np.ndarray | None, k: int
) -> tuple[float, float]:
    """Return the shares of photos with the same k nearest, and with the same nearest photo of a gallery."""
    if k < 1:
        return 1.0, 1.0
    scores = _scores(ours, gallery, rows)
    found = np.argsort(-_scores(theirs, gallery, rows), axis=1, kind="stable")[:, :k]
    # (photo, k): what PyTorch's model says about the photos that the other one has found, and about its own.
    reached = np.take_along_axis(scores, found, axis=1)
    best = -np.sort(-scores, axis=1)[:, :k]
    same = reached.min(axis=1) >= best[:, -1] - _TIE
    return float(same.mean()), float((reached[:, 0] >= best[:, 0] - _TIE).mean())


def _scores(vectors: np.ndarray, gallery: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    scores = vectors @ gallery.T
    if rows is not None:
        scores[np.arange(len(vectors)), rows] = -np.inf
    return scores
