"""Where retrieval goes wrong: the worst queries, the classes most often taken for each other, the photos always found."""

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from pairlens.data.catalog import Catalog
from pairlens.data.images import load_image
from pairlens.evaluation.embeddings import Embeddings
from pairlens.experiments.run_folder import OpenRun
from pairlens.neighbors.exact import nearest

NEIGHBORS = 10


@dataclass(frozen=True, eq=False)
class Retrieval:
    """What every query finds.

    Attributes:
        labels: (query,) classes of the queries.
        found: (query, k) indices of the nearest gallery items, nearest first.
        found_labels: (query, k) their classes.
        relevant: (query,) how many gallery items have the query's class, itself left out.
    """

    labels: Tensor
    found: Tensor
    found_labels: Tensor
    relevant: Tensor


def retrieve(
    queries: Tensor, labels: Tensor, gallery: Tensor | None = None, gallery_labels: Tensor | None = None
) -> Retrieval:
    """Search queries among themselves or in a gallery, as deep as the largest class needs, at least 10.

    Args:
        queries: (query, dim) unit vectors.
        labels: (query,) integers.
        gallery: (item, dim), or None to search the queries themselves, each left out of its own search.
        gallery_labels: (item,), given with `gallery`.
    """
    items, item_labels = (queries, labels) if gallery is None or gallery_labels is None else (gallery, gallery_labels)
    itself = torch.arange(len(queries)) if gallery is None else None
    relevant = torch.stack([(item_labels == label).sum() for label in labels.unique()])
    relevant = relevant[labels.unique(return_inverse=True)[1]] - int(gallery is None)
    most = min(max(NEIGHBORS, int(relevant.max())), len(items) - int(gallery is None))
    found = nearest(queries, items, most, itself).indices
    return Retrieval(labels, found, item_labels[found], relevant)


@dataclass(frozen=True)
class WorstQuery:
    """A query that finds little of its class.

    Attributes:
        query: its index.
        average_precision: at R, the number of photos it should find: mean over the ranks of its hits of the precision.
        hits: how many of the first R are right.
        relevant: R.
    """

    query: int
    average_precision: float
    hits: int
    relevant: int


def worst_queries(retrieval: Retrieval, count: int = 8) -> list[WorstQuery]:
    """Return the queries of lowest average precision at R, at most one a class; of equal ones the first."""
    ranks = torch.arange(1, retrieval.found.shape[1] + 1)
    right = (retrieval.found_labels == retrieval.labels[:, None]) & (ranks <= retrieval.relevant[:, None])
    precision = right.cumsum(dim=1) / ranks
    values = (precision * right).sum(dim=1) / retrieval.relevant.clamp(min=1)
    chosen: dict[int, WorstQuery] = {}
    for query in values.argsort(stable=True).tolist():
        label, relevant = int(retrieval.labels[query]), int(retrieval.relevant[query])
        if relevant and label not in chosen:
            chosen[label] = WorstQuery(query, float(values[query]), int(right[query].sum()), relevant)
        if len(chosen) == count:
            break
    return list(chosen.values())


@dataclass(frozen=True)
class Confusion:
    """Two classes that are taken for each other.

    Attributes:
        first: label of the class whose queries err more.
        second: of the other.
        share: of the first R neighbours of both classes' queries, how many are of the other class.
    """

    first: int
    second: int
    share: float


def confused_classes(retrieval: Retrieval, count: int = 8) -> list[Confusion]:
    """Return the pairs of classes most often taken for each other among the first R neighbours."""
    classes, number = retrieval.labels.unique(return_inverse=True)
    ranks = torch.arange(retrieval.found.shape[1])
    counted = ranks < retrieval.relevant[:, None]
    position = torch.searchsorted(classes, retrieval.found_labels).clamp(max=len(classes) - 1)
    counted &= classes[position] == retrieval.found_labels
    cells = (number[:, None] * len(classes) + position)[counted]
    errors = torch.bincount(cells, minlength=len(classes) ** 2).view(len(classes), len(classes)).double()
    total = torch.zeros(len(classes)).double().index_add(0, number, retrieval.relevant.double())
    both = ((errors + errors.T) / (total[:, None] + total).clamp(min=1)).triu(1)
    pairs = []
    for cell in both.flatten().argsort(descending=True, stable=True)[:count].tolist():
        a, b = divmod(cell, len(classes))
        if both[a, b] > 0:
            a, b = (a, b) if errors[a, b] / total[a] >= errors[b, a] / total[b] else (b, a)
            pairs.append(Confusion(int(classes[a]), int(classes[b]), float(both.max(both.T)[a, b])))
    return pairs


@dataclass(frozen=True)
class Hub:
    """A photo that is found by most queries.

    Attributes:
        item: its index in the gallery.
        occurrences: how many queries have it among their 10 nearest.
        wrong: for how many of these it has another class.
        queries: the queries that find it wrongly, those that find it first before the others.
    """

    item: int
    occurrences: int
    wrong: int
    queries: tuple[int, ...]


def hubs(retrieval: Retrieval, items: int, count: int = 8) -> list[Hub]:
    """Return the gallery items that occur most often among the 10 nearest of all queries."""
    near = retrieval.found[:, :NEIGHBORS]
    wrong = retrieval.found_labels[:, :NEIGHBORS] != retrieval.labels[:, None]
    occurrences = torch.bincount(near.flatten(), minlength=items)
    found = []
    for item in occurrences.argsort(descending=True, stable=True)[:count].tolist():
        query, rank = ((near == item) & wrong).nonzero(as_tuple=True)
        ordered = query[rank.argsort(stable=True)].tolist()
        found.append(Hub(item, int(occurrences[item]), len(ordered), tuple(ordered)))
    return found


@dataclass(frozen=True, eq=False)
class Searched:
    """The test photos of a run with what every one of them finds.

    Attributes:
        queries: their photos.
        gallery: the photos they are searched in; the same where the data set has one test set.
        embeddings: of the queries.
        retrieval: what they find.
    """

    queries: Catalog
    gallery: Catalog
    embeddings: Embeddings
    retrieval: Retrieval

    @classmethod
    def open(cls, opened: OpenRun) -> "Searched":
        """Open the stored embeddings of a run beside their photos.

        Raises:
            ValueError: if the data set was prepared anew since.
        """
        parts, stored = opened.splits, opened.run_folder.read_embeddings()
        queries = stored.queries
        if queries.paths != parts.test.paths:
            raise ValueError(
                f"{opened.run_folder.path}: its photos were prepared anew since; embed them again with pairlens evaluate"
            )
        found = retrieve(*stored.tensors)
        return cls(parts.test, parts.gallery or parts.test, queries, found)


def photo(catalog: Catalog, index: int) -> Image.Image:
    """Return a photo of a catalog at its stored size."""
    return load_image(bytes(catalog.jpeg(index)))
