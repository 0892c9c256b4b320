"""The embedding of a photo as a sum over the places of its feature map, one part per descriptor."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from pairlens.core.similarity import MIN_LENGTH
from pairlens.model.descriptors import GEM_FLOOR, GeneralizedMean, Max, Mean, letters
from pairlens.model.embedder import Embedder
from pairlens.model.plain_backbone import PlainBackbone

# How far the sum of the parts of an embedding may be from the embedding. Two such errors change a cosine by 1e-4 at most.
TOLERANCE = 5e-5


def places_of_embeddings(model: Embedder | PlainBackbone, photos: Tensor) -> dict[str, Tensor] | None:
    """Return what each place of a photo contributes to its embedding, or None if the embedding is no sum over places.

    Of a channel with the value f_p at n places, which is pooled to d, place p has the part

        S: f_p / n,
        G: d x_p^k / Σ_q x_q^k with x = max(f, ε), which is x_p^k / (n d^(k-1)),
        M: d / number of maxima where f_p is the maximum, otherwise 0,

    where k is the power of the generalised mean. Equal maxima share the value, so a channel that is the same everywhere
    says nothing about any place. The projection is linear without bias and is applied to each part; the lengths by which
    an embedding is divided are constants of the photo. A backbone as it comes is divided like S if it averages a map.

    Args:
        model: in evaluation mode.
        photos: (photo, 3, height, width), normalised.

    Shapes:
        result: by the letter of the descriptor (photo, part_dim, height, width) in float64. Summed over the places, the
        parts of all descriptors one after the other are the embedding; this is compared with what
        the model returns.

    >>> model = Embedder(backbone="resnet10t", descriptors="SM", dim=8, weights="none", image_size=64).eval()
    >>> with torch.no_grad():
    ...     places = places_of_embeddings(model, torch.rand(2, 3, 64, 64))
    >>> {letter: part.shape for letter, part in places.items()}
    {'S': torch.Size([2, 4, 4, 4]), 'M': torch.Size([2, 4, 4, 4])}
    """
    expected = model.embed_batch(photos)
    candidates = (
        _places_of_plain(model, photos) if isinstance(model, PlainBackbone) else _places_of_parts(model, photos)
    )
    return next((places for places in candidates if _add_up(places, expected)), None)


def _add_up(places: dict[str, Tensor], expected: Tensor) -> bool:
    found = _whole(places)
    # Also false for embeddings that are not finite.
    return found.shape == expected.shape and bool(((found - expected).norm(dim=1) <= TOLERANCE).all())


def _places_of_parts(model: Embedder, photos: Tensor) -> Iterator[dict[str, Tensor]]:
    features = _on_grid(model.backbone(photos))
    # What is no descriptor takes the only place of a vector.
    if features is None or not all(isinstance(pool, Mean | Max | GeneralizedMean) for pool in model.descriptors):
        return
    places: dict[str, Tensor] = {}
    names = letters(model.architecture.descriptors)
    for letter, pool, projection in zip(names, model.descriptors, model.projections, strict=True):
        weight: Any = projection.weight
        # (photo, channel, height, width) to (photo, part_dim, height, width): the same projection at each place.
        projected = torch.einsum("pchw,dc->pdhw", _places_of_pooled(pool, features), weight.double())
        places |= _scaled({letter: projected})
    yield _scaled(places)


def _places_of_pooled(pool: nn.Module, features: Tensor) -> Tensor:
    """Return what each place contributes to a pooled map, (photo, channel, height, width) in float64."""
    values = features.double()
    match pool:
        case Max():
            is_maximum = (values == values.amax(dim=(2, 3), keepdim=True)).double()
            return values * is_maximum / is_maximum.sum(dim=(2, 3), keepdim=True)
        case GeneralizedMean():
            positive = values.clamp(min=GEM_FLOOR)
            power = pool.power.double()
            largest = positive.amax(dim=(2, 3), keepdim=True)
            # Relative to the largest value of the channel, so that no power overflows.
            powers = (positive / largest).pow(power)
            pooled = largest * powers.mean(dim=(2, 3), keepdim=True).pow(1 / power)
            return pooled * powers / powers.sum(dim=(2, 3), keepdim=True)
        case _:
            return values / values[0, 0].numel()


def _places_of_plain(model: PlainBackbone, photos: Tensor) -> Iterator[dict[str, Tensor]]:
    """Yield the places of each form of the last map of a backbone as it comes, as if the backbone averaged that map.

    Whether it does is found by comparing, because the code of a network after its map may be of any kind.
    """
    network: Any = model.network
    # A `Backbone`, which stands in for a network whose pooling has weights, only returns its map.
    features = network.forward_features(photos) if hasattr(network, "forward_features") else network(photos)
    for form in _forms(features):
        yield _scaled({"S": _places_of_pooled(Mean(), form)})


def _forms(features: Any) -> list[Tensor]:
    """Return in which ways the features of a network can be a map (photo, channel, height, width)."""
    if not isinstance(features, Tensor) or features.ndim not in (3, 4):
        return []
    if features.ndim == 4:
        # The channels come first or last.
        forms = [_on_grid(features), features.movedim(3, 1)]
    else:
        # (photo, token, channel): the class token and registers come first, the others are the square of the photo.
        side = math.isqrt(features.shape[1])
        forms = [_on_grid(features.mT[:, :, -(side**2) :, None])]
    return [form for form in forms if form is not None]


def _on_grid(features: Tensor) -> Tensor | None:
    """Return a map with a row of tokens (photo, channel, token, 1) as the square that they are in the photo.

    Photos are square. None if the tokens are no square, so that nobody knows their places.
    """
    count = features.shape[2]
    if features.shape[3] > 1 or count == 1:
        return features
    side = math.isqrt(count)
    return features[..., 0].unflatten(2, (side, side)) if side**2 == count else None


def _scaled(places: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scale the parts of embeddings so that their sum over the places has length 1; as in `unit`, zero stays zero."""
    length = torch.linalg.vector_norm(_whole(places), dim=1)
    scale = torch.where(length > MIN_LENGTH, 1 / length, 0)
    return {letter: part * scale[:, None, None, None] for letter, part in places.items()}


def _whole(places: dict[str, Tensor]) -> Tensor:
    """Return the (photo, dim) sums over all places, the parts one after the other."""
    return torch.cat([part.sum(dim=(2, 3)) for part in places.values()], dim=1)
