"""Classes divided into known ones, which a gallery holds, and strange ones, which it does not hold, and their queries."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Division:
    """A gallery and its queries, as positions of photos.

    Attributes:
        gallery_of: for each known class the (photo,) positions of its photos in the gallery.
        queries: (query,) positions of the queries, those of known classes first.
        is_strange: (query,) whether the gallery does not hold the class.
    """

    gallery_of: tuple[Integers, ...]
    queries: Integers
    is_strange: Booleans

    @classmethod
    def draw(
        cls, photos_of: Sequence[Integers], known: Integers, strange: Integers, rng: np.random.Generator
    ) -> "Division":
        """Put half of the photos of each known class into the gallery; the other half and all strange photos are queries.

        Args:
            photos_of: the (photo,) positions of the photos of each class.
            known: (class,) the classes that the gallery holds.
            strange: (class,) the classes that it does not hold.
            rng: draws the photos of the gallery.
        """
        shuffled = [rng.permutation(photos_of[number]) for number in known]
        strange_photos = np.concatenate([photos_of[number] for number in strange])
        queries = np.concatenate([*(one[len(one) // 2 :] for one in shuffled), strange_photos])
        is_strange = np.arange(len(queries)) >= len(queries) - len(strange_photos)
        return cls(tuple(one[: len(one) // 2] for one in shuffled), queries, is_strange)

    @property
    def gallery(self) -> Integers:
        """The (item,) positions of all photos of the gallery."""
        return np.concatenate(self.gallery_of)


def halves(classes: Integers, divisions: int, rng: np.random.Generator) -> Iterator[tuple[Integers, Integers]]:
    """Yield known and strange classes; each division is followed by its reverse, so every class is strange equally often.

    Args:
        classes: (class,) numbers.
        divisions: an even number.
        rng: draws the divisions.

    >>> [len(known) for known, strange in halves(np.arange(5), 4, np.random.default_rng(0))]
    [3, 2, 3, 2]
    """
    for _ in range(divisions // 2):
        one, other = np.array_split(rng.permutation(classes), 2)
        yield one, other
        yield other, one


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

    def cosines_in(self, division: Division) -> NDArray[np.float32]:
        """Return the (query, item) cosines of the queries of a division with its gallery."""
        # The matrix is symmetric, and whole rows of the smaller gallery are read several times faster than single columns.
        return np.ascontiguousarray(self.cosines[division.gallery].take(division.queries, axis=1).T)


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries with what is known about them.

    Attributes:
        features: (query, feature): what a score is computed from; the first is the cosine of the best match.
        classes: (query,) the class of the query.
        is_right: (query,) whether its best match is of its class.
        is_strange: (query,) whether the gallery does not hold its class.
    """

    features: Floats
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

    def weights(self) -> Floats:
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
