"""Retrieval failures: the worst queries, the classes that are most often confused, and hub photos."""

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from pairlens.core.images import load_image
from pairlens.data.catalog import Catalog
from pairlens.evaluation.embeddings import Embeddings
from pairlens.evaluation.evaluate import SeenClasses
from pairlens.evaluation.metrics import map_at_r
from pairlens.experiments.run_folder import OpenRun
from pairlens.neighbors.exact import nearest

NEIGHBORS = 10

# The colour of a square in the place of a photo that is not there.
NO_PHOTO = "#d0d0d0"


@dataclass(frozen=True, eq=False)
class Retrieval:
    """The nearest gallery items of every query.

    Attributes:
        labels: (query,) classes of the queries.
        neighbors: (query, rank) indices of the nearest gallery items, nearest first.
        neighbor_labels: (query, rank) their classes.
        relevant: (query,) R, the number of gallery items of the query's class, without the query itself.
    """

    labels: Tensor
    neighbors: Tensor
    neighbor_labels: Tensor
    relevant: Tensor

    @property
    def is_among_first_r(self) -> Tensor:
        """(query, rank) whether a rank is one of the first R of its query."""
        return torch.arange(self.neighbors.shape[1]) < self.relevant[:, None]

    @property
    def hits(self) -> Tensor:
        """(query, rank) whether a neighbour has the query's class."""
        return self.neighbor_labels == self.labels[:, None]


def retrieve(
    queries: Tensor, labels: Tensor, gallery: Tensor | None = None, gallery_labels: Tensor | None = None
) -> Retrieval:
    """Return the nearest items of every query, at least 10 and as many as the largest class needs.

    Unlike `evaluation.per_query`, which keeps only the metrics, this keeps the neighbours themselves.

    Args:
        queries: (query, dim) unit vectors.
        labels: (query,) integers.
        gallery: (item, dim) unit vectors, or None to search the queries among themselves; each query is then left out of
            its own search.
        gallery_labels: (item,) integers, given with `gallery`.
    """
    one_set = gallery is None or gallery_labels is None
    items, item_labels = (queries, labels) if gallery is None or gallery_labels is None else (gallery, gallery_labels)
    classes, class_of_query = labels.unique(return_inverse=True)
    class_sizes = torch.stack([(item_labels == label).sum() for label in classes])
    relevant = class_sizes[class_of_query] - int(one_set)
    # Average precision at R looks at R neighbours, the hubs look at 10.
    depth = min(max(NEIGHBORS, int(relevant.max())), len(items) - int(one_set))
    itself = torch.arange(len(queries)) if one_set else None
    neighbors = nearest(queries, items, depth, itself).indices
    return Retrieval(labels, neighbors, item_labels[neighbors], relevant)


@dataclass(frozen=True)
class WorstQuery:
    """A query that finds little of its class.

    Attributes:
        query: its index.
        average_precision: average precision at R.
        hits: number of its first R neighbours that have its class.
        relevant: R, the number of photos of its class that it could find.
    """

    query: int
    average_precision: float
    hits: int
    relevant: int


def worst_queries(retrieval: Retrieval, count: int = 8) -> list[WorstQuery]:
    """Return the queries with the lowest average precision at R, at most one per class, the first of equal ones."""
    # Queries without a relevant item have R = 0, by which the metric cannot divide; they are skipped below.
    precisions = map_at_r(retrieval.hits, retrieval.relevant.clamp(min=1))
    hits = (retrieval.hits & retrieval.is_among_first_r).sum(dim=1)
    worst: dict[int, WorstQuery] = {}
    for query in precisions.argsort(stable=True).tolist():
        label = int(retrieval.labels[query])
        relevant = int(retrieval.relevant[query])
        # One query per class, because a difficult class would otherwise fill the whole list.
        if relevant and label not in worst:
            worst[label] = WorstQuery(query, float(precisions[query]), int(hits[query]), relevant)
        if len(worst) == count:
            break
    return list(worst.values())


@dataclass(frozen=True)
class Confusion:
    """Two classes that are retrieved for each other.

    Attributes:
        first: label of the class whose queries retrieve the other class more often.
        second: label of the other class.
        share: share of the first R neighbours of both classes' queries that have the other class.
    """

    first: int
    second: int
    share: float


def confused_classes(retrieval: Retrieval, count: int = 8) -> list[Confusion]:
    """Return the pairs of classes that are most often retrieved for each other among the first R neighbours."""
    classes, errors, total = _errors_between_classes(retrieval)
    # (class, class): of what the queries of the row's class should find, the share that has the column's class.
    confusion = errors / total.clamp(min=1)[:, None]
    rows, columns = torch.triu_indices(len(classes), len(classes), offset=1)
    # (pair,): both directions together, relative to what the queries of both classes should find.
    shares = (errors + errors.T)[rows, columns] / (total[rows] + total[columns]).clamp(min=1)
    pairs = []
    for pair in shares.argsort(descending=True, stable=True)[:count].tolist():
        if shares[pair] == 0:
            break
        row, col = int(rows[pair]), int(columns[pair])
        first, second = (row, col) if confusion[row, col] >= confusion[col, row] else (col, row)
        pairs.append(Confusion(int(classes[first]), int(classes[second]), float(shares[pair])))
    return pairs


def _errors_between_classes(retrieval: Retrieval) -> tuple[Tensor, Tensor, Tensor]:
    """Count the first R neighbours of the queries by class.

    Returns:
        (class,) the labels of the queries; (class, class) the number of neighbours with the column's class of the queries
        of the row's class; (class,) the sum of R over the queries of a class.
    """
    classes, class_of_query = retrieval.labels.unique(return_inverse=True)
    # (query, rank): the position of a neighbour's label among the labels of the queries, which may lack it.
    position = torch.searchsorted(classes, retrieval.neighbor_labels).clamp(max=len(classes) - 1)
    counted = retrieval.is_among_first_r & (classes[position] == retrieval.neighbor_labels)
    # One number per cell of the matrix, row by row, so that one count fills the matrix.
    cells = (class_of_query[:, None] * len(classes) + position)[counted]
    errors = torch.bincount(cells, minlength=len(classes) ** 2).view(len(classes), len(classes)).double()
    total = torch.zeros(len(classes)).double().index_add(0, class_of_query, retrieval.relevant.double())
    return classes, errors, total


@dataclass(frozen=True)
class Hub:
    """A photo that is among the nearest of unusually many queries.

    Attributes:
        item: its index in the gallery.
        occurrences: number of queries that have it among their 10 nearest.
        wrong: number of these queries that have another class.
        queries: the queries of another class, ordered by the rank at which they find it.
    """

    item: int
    occurrences: int
    wrong: int
    queries: tuple[int, ...]


def hubs(retrieval: Retrieval, items: int, count: int = 8) -> list[Hub]:
    """Return the gallery items that occur most often among the 10 nearest of all queries.

    Args:
        retrieval: the neighbours of every query.
        items: number of gallery items.
        count: number of hubs.
    """
    near = retrieval.neighbors[:, :NEIGHBORS]
    is_wrong = ~retrieval.hits[:, :NEIGHBORS]
    occurrences = torch.bincount(near.flatten(), minlength=items)
    found_hubs = []
    for item in occurrences.argsort(descending=True, stable=True)[:count].tolist():
        queries, ranks = ((near == item) & is_wrong).nonzero(as_tuple=True)
        by_rank = queries[ranks.argsort(stable=True)].tolist()
        found_hubs.append(Hub(item, int(occurrences[item]), len(by_rank), tuple(by_rank)))
    return found_hubs


@dataclass(frozen=True, eq=False)
class Searched:
    """The test photos of a run with the nearest photos of each.

    Attributes:
        queries: the photos of the queries.
        gallery: the photos that are searched; the same as `queries` if the data set has one test set.
        embeddings: the embeddings of the queries.
        retrieval: the nearest gallery items of every query.
        seen_classes: how many of the classes of the queries are training classes.
    """

    queries: Catalog
    gallery: Catalog
    embeddings: Embeddings
    retrieval: Retrieval
    seen_classes: SeenClasses = "none"

    @classmethod
    def open(cls, opened: OpenRun) -> "Searched":
        """Read the stored embeddings of a run and search them.

        Raises:
            ValueError: if the data set has been prepared again since the run.
        """
        splits = opened.splits
        stored = opened.run_folder.read_embeddings()
        if stored.queries.paths != splits.test.paths:
            raise ValueError(
                f"the photos of {opened.run_folder.path} have been prepared again since; embed them again with pairlens "
                "evaluate"
            )
        gallery = splits.test if splits.gallery is None else splits.gallery
        return cls(splits.test, gallery, stored.queries, retrieve(*stored.tensors), splits.seen_classes)


def photo(catalog: Catalog, index: int) -> Image.Image:
    """Return a photo of a catalog at its stored size; a grey square for features whose photo is not there."""
    jpeg = bytes(catalog.jpeg(index))
    return load_image(jpeg) if jpeg else Image.new("RGB", (catalog.size, catalog.size), NO_PHOTO)
