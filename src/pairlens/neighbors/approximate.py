"""Approximate nearest-neighbour indexes (FAISS IVF and HNSW) for galleries of a million items, with measured recall."""

import math
from dataclasses import dataclass
from typing import Any, Literal, SupportsIndex, TypeAlias

import torch
from torch import Tensor

from pairlens.core.inputs import Numbers
from pairlens.core.memory import check_space_for_faiss
from pairlens.neighbors.exact import ExactIndex, Neighbors

SAMPLE = 1000
# FAISS trains the centre of a list on at least this many vectors.
VECTORS_PER_LIST = 39


@dataclass(frozen=True)
class Ivf:
    """Inverted file: vectors are sorted into cells, of which only those nearest to a query are searched.

    Source: Sivic and Zisserman, "Video Google", ICCV 2003; as FAISS implements it (Johnson et al., arXiv 1702.08734).

    Attributes:
        lists: number of cells; 0 means 4 √n.
        probes: number of cells that are searched; more raise the recall and the time of a search.
    """

    lists: int = 0
    probes: int = 32

    def __post_init__(self) -> None:
        if self.lists < 0 or self.probes < 1:
            raise ValueError(f"lists {self.lists} must be at least 0 and probes {self.probes} must be at least 1")

    def lists_for(self, vectors: int) -> int:
        """Return the number of lists for a number of vectors, at most one list per 39 vectors.

        >>> Ivf().lists_for(1_000_000), Ivf().lists_for(100)
        (4000, 2)
        """
        return max(1, min(self.lists or round(4 * math.sqrt(vectors)), vectors // VECTORS_PER_LIST))


@dataclass(frozen=True)
class Hnsw:
    """Hierarchical navigable graph: a search walks to ever nearer neighbours, from a coarse layer down to the full one.

    Slow to build, fast to search. Several threads build it in no fixed order, so two builds may miss different items.

    Source: Malkov and Yashunin, TPAMI 2018, arXiv 1603.09320; as FAISS implements it.

    Attributes:
        links: neighbours that each vector is linked to (M).
        build: candidates that are examined to find them (efConstruction).
        effort: candidates that a search examines (efSearch), at least k; more raise the recall and the time of a search.
    """

    links: int = 32
    build: int = 80
    effort: int = 128

    def __post_init__(self) -> None:
        if min(self.links, self.build, self.effort) < 2:
            raise ValueError(f"links {self.links}, build {self.build} and effort {self.effort} must each be at least 2")


IndexName: TypeAlias = Literal["exact", "ivf", "hnsw"]
IndexKind: TypeAlias = IndexName | Ivf | Hnsw


@dataclass(frozen=True)
class Approximation:
    """The measured recall of an approximate index.

    Attributes:
        index: the index with its settings.
        recall: share of the exact k nearest items that are among the k that it finds.
        k: number of neighbours.
        queries: number of queries that this was measured on.

    >>> print(Approximation("Ivf(lists=0, probes=32)", 0.981, 8, 1000))
    approximate search, Ivf(lists=0, probes=32): finds 98.10 % of the 8 nearest (measured on 1000 queries)
    """

    index: str
    recall: float
    k: int
    queries: int

    def __str__(self) -> str:
        recall = f"finds {100 * self.recall:.2f} % of the {self.k} nearest (measured on {self.queries} queries)"
        return f"approximate search, {self.index}: {recall}"


class ApproximateIndex:
    """A gallery prepared for approximate searches; the scores it returns are exact, but nearer items may be missed.

    As in `ExactIndex`, an item is excluded by its index, and equal scores are ordered by index. A query for which fewer
    than k items are found is searched exactly.

    >>> index = ApproximateIndex(torch.eye(50), Ivf(probes=1))
    >>> index.search(torch.eye(50)[:1], 1).indices
    tensor([[0]])
    """

    def __init__(self, gallery: Tensor, settings: Ivf | Hnsw) -> None:
        """Build the index from (item, dim) vectors of any length, on the CPU."""
        self.settings = settings
        self._exact = ExactIndex(gallery)
        self._faiss: Any = _build(self._exact.distinct.vectors, settings)

    def search(self, queries: Numbers, k: SupportsIndex, itself: Numbers | None = None) -> Neighbors:
        """Return k near items of each query; arguments and errors as in `ExactIndex.search`."""
        return self._exact.search(queries, k, itself, top=self._top)

    def measure(
        self, queries: Tensor, k: int, rows: Tensor, itself: Tensor | None = None, sample: int = SAMPLE
    ) -> Approximation:
        """Return the share of the exact k nearest items that this index finds, measured on a sample of the queries.

        Args:
            queries: (query, dim).
            k: number of neighbours.
            rows: (row,) queries from which the sample is taken, evenly spaced.
            itself: (row,) gallery index that each of these rows must not find.
            sample: largest number of queries in the sample.
        """
        count = min(sample, len(rows))
        chosen = torch.arange(count, device=rows.device) * len(rows) // count  # evenly spaced in `rows`
        sampled = queries[rows[chosen]]
        excluded = None if itself is None else itself[chosen]
        approximate = self.search(sampled, k, excluded).indices  # (query, rank)
        exact = self._exact.search(sampled, k, excluded).indices
        # Neither list repeats an item, so in the sorted union of both an item that is in both stands beside itself.
        union = torch.cat([approximate, exact], dim=1).sort(dim=1).values
        recall = (union[:, 1:] == union[:, :-1]).sum() / (k * count)
        return Approximation(str(self.settings), float(recall), k, count)

    def _top(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        if isinstance(self.settings, Hnsw):
            # An attribute and not an argument of the search: importing faiss.contrib removes that argument.
            self._faiss.hnsw.efSearch = max(self.settings.effort, k)
        scores, groups = self._faiss.search(queries.cpu().numpy(), k)
        return torch.from_numpy(scores).to(queries.device), torch.from_numpy(groups).to(queries.device)


def open_index(gallery: Tensor, kind: IndexKind) -> ExactIndex | ApproximateIndex:
    """Return a gallery as an exact or an approximate index; raises ValueError for another kind.

    >>> type(open_index(torch.eye(3), "exact")).__name__
    'ExactIndex'
    """
    match kind:
        case "exact":
            return ExactIndex(gallery)
        case "ivf":
            return ApproximateIndex(gallery, Ivf())
        case "hnsw":
            return ApproximateIndex(gallery, Hnsw())
        case Ivf() | Hnsw():
            return ApproximateIndex(gallery, kind)
        case _:
            raise ValueError(f"index {kind!r} must be exact, ivf, hnsw, or an Ivf or Hnsw record")


def _build(vectors: Tensor, settings: Ivf | Hnsw) -> Any:
    """Return the FAISS index of (distinct, dim) unit vectors; inner products of unit vectors are cosines."""
    # Imported here, because most searches are exact and need no index.
    check_space_for_faiss()
    import faiss

    numbers = vectors.cpu().numpy()
    dim = vectors.shape[1]
    match settings:
        case Ivf():
            lists = settings.lists_for(len(numbers))
            index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
            # A list of a small gallery may get fewer than 39 vectors, and FAISS would print a warning.
            index.cp.min_points_per_centroid = 1
            index.nprobe = min(settings.probes, lists)
            index.train(numbers)  # pyright: ignore[reportCallIssue]
        case Hnsw():
            index = faiss.IndexHNSWFlat(dim, settings.links, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = settings.build
    index.add(numbers)  # pyright: ignore[reportCallIssue]
    return index
