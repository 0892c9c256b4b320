"""What a caller searches for, as the service takes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pairlens.collection.filters import Condition
from pairlens.collection.item import Region
from pairlens.collection.store import SearchMode


@dataclass(frozen=True, eq=False)
class SearchRequest:
    """A search; of several photos, ids and vectors the mean is searched for.

    Attributes:
        photos: contents of picture files.
        ids: of photos of the collection.
        vectors: float (dim,) each.
        unlike: ids of photos that the results should not look like.
        region: the part of the only photo that is searched for.
        where: the filter.
        k: number of results.
        index: "exact" or "auto".
        group: whether near-duplicates are collapsed into one result.
        rate: false accept rate of the verdict; None for the usual one.
    """

    photos: tuple[bytes, ...] = ()
    ids: tuple[int, ...] = ()
    vectors: tuple[np.ndarray, ...] = ()
    unlike: tuple[int, ...] = ()
    region: Region | None = None
    where: Mapping[str, Condition] = field(default_factory=dict)
    k: int = 10
    index: SearchMode = "auto"
    group: bool = False
    rate: float | None = None

    @property
    def manner(self) -> tuple[object, ...]:
        """Everything but what is searched for; requests with one manner are searched as one batch."""
        return self.k, tuple(self.where.items()), self.index, self.group, self.rate
