"""Scores of all pairs of a query and an item, in chunks of bounded memory; several processes can share them."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pairlens.core.distributed import all_reduce_sum

MAX_CHUNK_BYTES = 2**28
# Memory per pair: the score, both masks, and what a function of them makes of it.
BYTES_PER_PAIR = 40


@dataclass(frozen=True, eq=False)
class ScoreChunk:
    """The scores of some queries with all items.

    Attributes:
        scores: (query, item) cosine similarities.
        positive: (query, item) boolean: the item has the label of the query, and is not the query itself.
        negative: (query, item) boolean: the item has another label.
        class_of_query: (query,) positions of the labels of the queries in `PairScores.classes`.
    """

    scores: Tensor
    positive: Tensor
    negative: Tensor
    class_of_query: Tensor


@dataclass(frozen=True, eq=False)
class PairScores:
    """All pairs of a query and an item: the argument of the function of a `ClassMetric`.

    Attributes:
        queries: (query, dim) unit vectors, of which each has an item of its label.
        labels: (query,) their labels.
        items: (item, dim) unit vectors.
        item_labels: (item,) their labels.
        itself: (query,) the item that is the query, which is no pair; None if the queries are other photos.
        rank: the number of this process, if several share the queries.
        world_size: number of processes that share the queries.
    """

    queries: Tensor
    labels: Tensor
    items: Tensor
    item_labels: Tensor
    itself: Tensor | None
    rank: int = 0
    world_size: int = 1

    @property
    def classes(self) -> Tensor:
        """The (class,) labels of the queries, each once, in increasing order."""
        return self.labels.unique()

    def chunks(self) -> Iterator[ScoreChunk]:
        """Yield the scores of this process, chunk by chunk; can be called several times."""
        class_of_query = torch.searchsorted(self.classes, self.labels)
        size = max(1, MAX_CHUNK_BYTES // (BYTES_PER_PAIR * len(self.items)))
        # The chunks are the same for every number of processes, so a score is always rounded alike.
        starts = range(0, len(self.queries), size)[self.rank :: self.world_size]
        for start in starts:
            rows = slice(start, min(start + size, len(self.queries)))
            positive = self.labels[rows, None] == self.item_labels  # (query, 1) with (item,) -> (query, item)
            negative = ~positive
            if self.itself is not None:
                positive.scatter_(1, self.itself[rows, None], False)
            yield ScoreChunk(self.queries[rows] @ self.items.T, positive, negative, class_of_query[rows])

    def total(self, counts: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes; a function calls it for what it has counted in the chunks."""
        return counts if self.world_size == 1 else all_reduce_sum(counts)
