"""Why two photos match: their cosine similarity, divided among the places of both photos and the descriptors."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pairlens.collection.embedding_places import places_of_embeddings
from pairlens.core.records import Plain
from pairlens.core.similarity import MIN_LENGTH
from pairlens.model.embedder import Embedder
from pairlens.model.evaluation_mode import in_evaluation_mode
from pairlens.model.photo_input import OnePhoto, PhotoInput
from pairlens.model.plain_backbone import PlainBackbone

# Height and width of a map that is not exact, in places of at least four by four pixels.
INEXACT_SIDE, LEAST_PIXELS = 14, 4
# Digits of a number for other programs. The sum of 200 rounded numbers is then off by about 4e-6.
DIGITS = 6


@dataclass(frozen=True, eq=False)
class DescriptorPart:
    """What one descriptor contributes to the similarity of two photos.

    Attributes:
        maps: contribution of each place of the first photo and of each place of the second, (height, width) float32.
        share: its part of the score, to which each of the two maps adds up.
    """

    maps: tuple[np.ndarray, np.ndarray]
    share: float


@dataclass(frozen=True, eq=False)
class MatchExplanation:
    """The similarity of two photos, divided among their places.

    Attributes:
        first: the first photo as the model sees it, (image_size, image_size, 3) uint8.
        second: the second photo.
        maps: contribution of each place of the first photo and of each place of the second, (height, width) float32. If
            `is_exact`, each map adds up to the score; otherwise the largest absolute value of both maps is 1.
        by_descriptor: the same for each descriptor by its letter (S, M, G); the maps and shares of all add up to `maps` and
            `score`. Empty unless `is_exact`.
        score: cosine similarity of the two embeddings.
        is_exact: whether the maps divide the score; if not, they are gradient × input.
    """

    first: np.ndarray
    second: np.ndarray
    maps: tuple[np.ndarray, np.ndarray]
    by_descriptor: Mapping[str, DescriptorPart]
    score: float
    is_exact: bool


def explain_match(model: Embedder | PlainBackbone, first: OnePhoto, second: OnePhoto) -> MatchExplanation:
    """Divide the cosine similarity of two photos among their places and among the descriptors of the model.

    An embedding is a sum over the places of its photo, a = Σ_p a_p, see `places_of_embeddings`; so

        a · b = Σ_p a_p · b = Σ_q a · b_q,

    which is one map for each photo. Where an embedding is no such sum (a backbone that takes a class token, a module that
    returns vectors), the maps are gradient × input: the gradient of the similarity by the normalised photo, the lengths
    of both vectors held constant, times the photo, summed over the colours and averaged within each place.

    Args:
        model: it computes in evaluation mode and is left as it was.
        first: a path, a PIL picture, the bytes of a picture file, an array or a tensor, as `Embedder.embed` takes one photo.
        second: the other photo.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a photo is damaged or is no photo, if the model is of another kind, or if its embeddings are not
            finite or have no gradient where one is needed.

    Source of gradient × input: Shrikumar, Greenside, Shcherbina, Kundaje, "Not Just a Black Box", 2016, arXiv 1605.01713.

    >>> model = Embedder(backbone="resnet10t", descriptors="SG", dim=8, weights="none", image_size=64)
    >>> photos = torch.randint(0, 256, (2, 3, 48, 64), dtype=torch.uint8)
    >>> why = explain_match(model, photos[0], photos[1])
    >>> why.is_exact, why.maps[0].shape, abs(float(why.maps[0].sum()) - why.score) < 1e-4
    (True, (4, 4), True)
    """
    if not isinstance(model, Embedder | PlainBackbone):
        raise ValueError(
            f"a {type(model).__name__} cannot be explained, because its layers are not known; give an Embedder or a "
            "PlainBackbone"
        )
    shape = model.architecture
    view = PhotoInput(shape.image_size, shape.stored_size, shape.stored_quality, shape.stored_reading)
    pixels = view.read([first, second])
    with in_evaluation_mode(model), torch.no_grad():
        photos = _normalized(model, pixels.to(next(model.parameters()).device))
        score = _finite_cosine(model.embed_batch(photos))
        places = places_of_embeddings(model, photos)
        by_descriptor = {letter: _part(of_both) for letter, of_both in (places or {}).items()}
        maps = _summed(by_descriptor.values()) if by_descriptor else _gradient_times_input(model, photos)
    # (photo, 3, height, width) to (photo, height, width, 3).
    seen = pixels.permute(0, 2, 3, 1).contiguous().numpy()
    return MatchExplanation(seen[0], seen[1], maps, by_descriptor, score, bool(by_descriptor))


def explanation_grid(explanation: MatchExplanation) -> dict[str, Plain]:
    """Return an explanation as plain lists and numbers, for JSON: what a page needs to draw the maps over the photos.

    The keys are score, is_exact, maps (of the first and of the second photo, each a list of rows) and shares (by the letter
    of the descriptor); numbers are rounded to six digits.

    >>> half = np.array([[0.5]], dtype=np.float32)
    >>> photo = np.zeros((8, 8, 3), dtype=np.uint8)
    >>> explanation_grid(MatchExplanation(photo, photo, (half, half), {"S": DescriptorPart((half, half), 0.5)}, 0.5, True))
    {'score': 0.5, 'is_exact': True, 'maps': [[[0.5]], [[0.5]]], 'shares': {'S': 0.5}}
    """
    return {
        "score": round(explanation.score, DIGITS),
        "is_exact": explanation.is_exact,
        # As float64 first: the nearest float32 of a rounded number has more digits.
        "maps": [one.astype(np.float64).round(DIGITS).tolist() for one in explanation.maps],
        "shares": {letter: round(part.share, DIGITS) for letter, part in explanation.by_descriptor.items()},
    }


def _normalized(model: Embedder | PlainBackbone, photos: Tensor) -> Tensor:
    normalized = (photos.float() / 255 - model.mean) / model.std  # pyright: ignore[reportOperatorIssue]
    # The memory order that the models use themselves: a GPU may round a convolution differently in another one.
    return normalized.contiguous(memory_format=torch.channels_last)


def _finite_cosine(embeddings: Tensor) -> float:
    """Return the cosine similarity of two unit vectors (photo, dim); raises ValueError if it is not finite."""
    first, second = embeddings.double()
    score = float(first @ second)
    if not math.isfinite(score):
        raise ValueError("the embedding of a photo is not finite, so no similarity can be explained; use another model")
    return score


def _part(places: Tensor) -> DescriptorPart:
    """Return the maps of one descriptor from what the places of both photos contribute, (photo, part, height, width)."""
    whole = places.sum(dim=(2, 3))
    # The places of each photo are multiplied by the whole vector of the other one.
    maps = torch.einsum("pdhw,pd->phw", places, whole.flip(0)).float().cpu().numpy()
    return DescriptorPart((maps[0], maps[1]), float(whole[0] @ whole[1]))


def _summed(parts: Collection[DescriptorPart]) -> tuple[np.ndarray, np.ndarray]:
    of_first, of_second = (np.stack([part.maps[photo] for part in parts]).sum(axis=0) for photo in (0, 1))
    return of_first, of_second


def _gradient_times_input(model: Embedder | PlainBackbone, photos: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return gradient × input of the similarity for both photos, scaled to a largest absolute value of 1."""
    with torch.enable_grad():
        inputs = photos.clone().requires_grad_()
        first, second = _embeddings_of_constant_length(model, inputs)
        # Each photo is moved while the other one stays.
        similarity = first @ second.detach() + first.detach() @ second
        try:
            (gradient,) = torch.autograd.grad(similarity, inputs)
        except RuntimeError as error:
            raise ValueError(
                f"the match cannot be explained: the model has no gradient ({str(error).splitlines()[0]})"
            ) from error
    side = max(1, min(INEXACT_SIDE, photos.shape[2] // LEAST_PIXELS))
    # (photo, 3, height, width) to (photo, height, width), then to places.
    maps = F.adaptive_avg_pool2d((gradient * photos).sum(dim=1), side).float().cpu().numpy()
    largest = np.abs(maps).max()
    # Without a scale of its own: these numbers are no parts of the score.
    maps = maps / largest if largest > 0 else maps
    return maps[0], maps[1]


def _embeddings_of_constant_length(model: Embedder | PlainBackbone, photos: Tensor) -> Tensor:
    """Return (photo, dim) unit vectors whose lengths have no gradient, as they have none in an exact division.

    With it, the gradient would be zero for two equal photos, whose similarity cannot grow.
    """
    if isinstance(model, PlainBackbone):
        features = model.network(photos)
        return _scaled_by_constant(features.mean(dim=(2, 3)) if features.ndim == 4 else features)
    features = model.backbone(photos)
    pooled = [pool(features) for pool in model.descriptors]
    parts = [_scaled_by_constant(project(p)) for project, p in zip(model.projections, pooled, strict=True)]
    return _scaled_by_constant(torch.cat(parts, dim=1))


def _scaled_by_constant(vectors: Tensor) -> Tensor:
    return vectors / vectors.detach().norm(dim=1, keepdim=True).clamp(min=MIN_LENGTH)
