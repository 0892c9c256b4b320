"""Approximate nearest neighbours for galleries of a million and more: FAISS IVF and HNSW, with what they miss measured."""

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import faiss
import torch
from torch import Tensor

from pairlens.neighbors.exact import ExactIndex, Neighbors

SAMPLE = 1000
# FAISS wants so many vectors a list to place its centres by.
VECTORS_A_LIST = 39


@dataclass(frozen=True)
class Ivf:
    """Inverted lists: vectors sorted into cells, of which only those nearest to a query are searched.

    Source: Sivic and Zisserman, "Video Google", ICCV 2003; as FAISS implements it (Johnson et al., arXiv 1702.08734).

    Attributes:
        lists: how many cells; 0 takes 4 √n.
        probes: how many are searched: more find more and take longer.
    """

    lists: int = 0
    probes: int = 32

    def __post_init__(self) -> None:
        if self.lists < 0 or self.probes < 1:
            raise ValueError(f"lists {self.lists} must be at least 0 and probes {self.probes} at least 1")

    def lists_for(self, vectors: int) -> int:
        """Return how many lists so many vectors get, at most one for every 39 of them.

        >>> Ivf().lists_for(1_000_000), Ivf().lists_for(100)
        (4000, 2)
        """
        return max(1, min(self.lists or round(4 * math.sqrt(vectors)), vectors // VECTORS_A_LIST))


@dataclass(frozen=True)
class Hnsw:
    """A navigable graph: from a coarse layer down, always on to the neighbour that is nearer to the query.

    Slow to build, fast to search. It is built by several threads in no fixed order, so two builds may differ in what
    they miss.

    Source: Malkov and Yashunin, TPAMI 2018, arXiv 1603.09320; as FAISS implements it.

    Attributes:
        links: neighbours that each vector is linked with (M).
        build: candidates looked at for these (efConstruction).
        effort: candidates looked at in a search (efSearch), at least k: more find more and take longer.
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
    """How much an approximate search finds.

    Attributes:
        index: which, with its settings.
        recall: share of the exact k nearest items that are among the k it finds.
        k: the k of that.
        queries: how many queries this was measured on.

    >>> print(Approximation("Ivf(lists=0, probes=32)", 0.981, 8, 1000))
    approximate search, Ivf(lists=0, probes=32): finds 98.10 % of the 8 nearest (measured on 1000 queries)
    """

    index: str
    recall: float
    k: int
    queries: int

    def __str__(self) -> str:
        found = f"finds {100 * self.recall:.2f} % of the {self.k} nearest (measured on {self.queries} queries)"
        return f"approximate search, {self.index}: {found}"


class ApproximateIndex:
    """A gallery made ready for approximate searches; what it returns has its true score, but better may be missed.

    As with `ExactIndex` an item is excluded by its index, and equal scores come by index. A query for which fewer than k
    are found is searched exactly.

    >>> index = ApproximateIndex(torch.eye(50), Ivf(probes=1))
    >>> index.search(torch.eye(50)[:1], 1).indices
    tensor([[0]])
    """

    def __init__(self, gallery: Tensor, settings: Ivf | Hnsw) -> None:
        """Build it of (item, dim) vectors of any length, on the CPU."""
        self.settings = settings
        self._exact = ExactIndex(gallery)
        self._faiss: Any = _build(self._exact.distinct.vectors, settings)

    def search(self, queries: Tensor, k: int, itself: Tensor | None = None) -> Neighbors:
        """Return k near items of each query; arguments and errors are those of `ExactIndex.search`."""
        return self._exact.search(queries, k, itself, top=self._top)

    def measure(
        self, queries: Tensor, k: int, rows: Tensor, itself: Tensor | None = None, sample: int = SAMPLE
    ) -> Approximation:
        """Return how much of the k nearest it finds for a sample, evenly spaced, of some rows of the queries.

        Args:
            queries: (query, dim).
            k: how many neighbours.
            rows: (row,) which queries may be in the sample.
            itself: (row,) what each must not find.
            sample: how many at most.
        """
        count = min(sample, len(rows))
        chosen = torch.arange(count, device=rows.device) * len(rows) // count
        some, without = queries[rows[chosen]], None if itself is None else itself[chosen]
        found = self.search(some, k, without).indices
        both = torch.cat([found, self._exact.search(some, k, without).indices], dim=1).sort(dim=1).values
        recall = (both[:, 1:] == both[:, :-1]).sum() / (k * count)
        return Approximation(str(self.settings), float(recall), k, count)

    def _top(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        if isinstance(self.settings, Hnsw):
            # Set here and not given to the search, which does not take it any more once faiss.contrib is imported.
            self._faiss.hnsw.efSearch = max(self.settings.effort, k)
        scores, groups = self._faiss.search(queries.cpu().numpy(), k)
        return torch.from_numpy(scores).to(queries.device), torch.from_numpy(groups).to(queries.device)


def open_index(gallery: Tensor, kind: IndexKind) -> ExactIndex | ApproximateIndex:
    """Make a gallery ready for searching, exactly or by one of the approximate ways.

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
            raise ValueError(f"index {kind!r} must be exact, ivf, hnsw, or a record Ivf or Hnsw")


def _build(vectors: Tensor, settings: Ivf | Hnsw) -> faiss.Index:
    numbers, dim = vectors.cpu().numpy(), vectors.shape[1]
    match settings:
        case Ivf():
            lists = settings.lists_for(len(numbers))
            index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
            # One list of a small gallery may have fewer, and FAISS would say so on the screen.
            index.cp.min_points_per_centroid = 1
            index.nprobe = min(settings.probes, lists)
            index.train(numbers)  # pyright: ignore[reportCallIssue]
        case Hnsw():
            index = faiss.IndexHNSWFlat(dim, settings.links, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = settings.build
    index.add(numbers)  # pyright: ignore[reportCallIssue]
    return index
