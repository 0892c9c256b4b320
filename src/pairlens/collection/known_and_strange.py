"""Queries of classes that a gallery holds and of classes that it does not hold, made from labelled photos."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pairlens.collection.match_features import NEAREST, Array, match_features

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LabelledVectors:
    """Unit vectors of labelled photos with all their cosines.

    Attributes:
        vectors: (photo, dim) unit vectors.
        classes: (photo,) numbers of their classes, from 0.
        cosines: (photo, photo).
        photos_of: the (photo,) positions of the photos of each class.
    """

    vectors: NDArray[np.float32]
    classes: Integers
    cosines: NDArray[np.float32]
    photos_of: tuple[Integers, ...]

    @classmethod
    def of(cls, vectors: NDArray[np.float32], classes: Integers) -> "LabelledVectors":
        """Compute the cosines and list the photos of each class."""
        photos_of = tuple(np.flatnonzero(classes == number) for number in range(int(classes.max()) + 1))
        return cls(vectors, classes, vectors @ vectors.T, photos_of)


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries with what is known about them.

    Attributes:
        features: (query, feature), see `match_features`.
        classes: (query,) the class of the query.
        is_right: (query,) whether its best match is of its class.
        is_strange: (query,) whether the gallery does not hold its class.
    """

    features: Array
    classes: Integers
    is_right: Booleans
    is_strange: Booleans

    @classmethod
    def join(cls, parts: "Sequence[Queries]") -> "Queries":
        """Return the queries of several divisions one after the other."""
        columns = ("features", "classes", "is_right", "is_strange")
        return cls(*(np.concatenate([getattr(part, column) for part in parts]) for column in columns))

    def at(self, chosen: Booleans) -> "Queries":
        """Return some of the queries."""
        return Queries(self.features[chosen], self.classes[chosen], self.is_right[chosen], self.is_strange[chosen])

    def weights(self) -> Array:
        """Return (query,) weights with a mean of 1: known and strange queries have the same sum, and so have their classes.

        The probability of a match depends on how many of the queries are strange, which no photo says; it is stated for
        the half.
        """
        cell = 2 * self.classes + self.is_strange
        _, cell_of, counts = np.unique(cell, return_inverse=True, return_counts=True)
        per_query = 1 / counts[cell_of]
        for kind in (False, True):
            per_query[self.is_strange == kind] /= per_query[self.is_strange == kind].sum()
        return per_query * len(per_query) / per_query.sum()


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
    shuffled = [rng.permutation(photos.photos_of[number]) for number in known]
    gallery_of = [one[: len(one) // 2] for one in shuffled]
    gallery = np.concatenate(gallery_of)
    strangers = np.concatenate([photos.photos_of[number] for number in strange])
    queries = np.concatenate([*(one[len(one) // 2 :] for one in shuffled), strangers])
    is_strange = np.arange(len(queries)) >= len(queries) - len(strangers)
    # The matrix is symmetric, and whole rows of the smaller gallery are read several times faster than single columns.
    cosines, ranked = _nearest(np.ascontiguousarray(photos.cosines[gallery].take(queries, axis=1).T))
    labels = photos.classes[gallery[ranked]]
    means = class_means([photos.vectors[rows] for rows in gallery_of])
    with_labels = (labels, photos.vectors[queries] @ means.T) if labelled else (None, None)
    is_right = (labels[:, 0] == photos.classes[queries]) & ~is_strange
    return Queries(match_features(cosines, *with_labels), photos.classes[queries], is_right, is_strange)


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
