"""Queries of classes that a gallery holds and of classes that it does not hold, made from labelled photos."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pairlens.collection.match_features import NEAREST, match_features
from pairlens.evaluation.class_divisions import Division, Integers, LabelledVectors, Queries


def divided(
    photos: LabelledVectors, known: Integers, strange: Integers, labelled: bool, rng: np.random.Generator
) -> Queries:
    """Put half of the photos of each known class into a gallery, and query with the other half and with all strange photos.

    Args:
        photos: the labelled photos.
        known: (class,) the classes that the gallery holds.
        strange: (class,) the classes that it does not hold.
        labelled: whether the features may use the labels of the gallery.
        rng: draws the photos of the gallery.
    """
    division = Division.draw(photos.photos_of, known, strange, rng)
    cosines, ranked = _nearest(photos.cosines_in(division))
    labels, classes = photos.classes[division.gallery[ranked]], photos.classes[division.queries]
    means = class_means([photos.vectors[rows] for rows in division.gallery_of])
    with_labels = (labels, photos.vectors[division.queries] @ means.T) if labelled else (None, None)
    is_right = (labels[:, 0] == classes) & ~division.is_strange
    return Queries(match_features(cosines, *with_labels), classes, is_right, division.is_strange)


def class_means(vectors_of: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the (class, dim) mean vectors of classes, scaled to unit length, from the (photo, dim) vectors of each."""
    means = np.stack([vectors.mean(axis=0) for vectors in vectors_of])
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    # Opposite vectors have the mean 0, which has no direction.
    return means / np.maximum(lengths, np.finfo(np.float32).tiny)


def _nearest(cosines: NDArray[np.float32]) -> tuple[NDArray[np.float32], Integers]:
    """Return the (query, rank) cosines of the nearest items, best first, and the positions of these items."""
    ranks = min(NEAREST, cosines.shape[1])
    found = np.argpartition(cosines, -ranks, axis=1)[:, -ranks:]
    values = np.take_along_axis(cosines, found, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(found, order, axis=1)
