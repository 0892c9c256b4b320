"""Metrics of a matrix of similarities, for rankings that no product of vectors gives, such as re-ranked ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pairlens.evaluation.per_query import QueryValues, search_task
from pairlens.neighbors.exact import Neighbors


@dataclass(frozen=True, eq=False)
class ScoreIndex:
    """A matrix of similarities as an index; a query is the number of its row.

    Attributes:
        scores: (query, item).
    """

    scores: Tensor

    def search(self, queries: Tensor, k: int, /, itself: Tensor | None = None) -> Neighbors:
        """Return the k items with the highest scores in some rows, (query, 1); equal scores are ordered by index."""
        scores = self.scores[queries[:, 0].long()]
        if itself is not None:
            scores[torch.arange(len(scores)), itself] = -torch.inf
        found = scores.sort(dim=1, descending=True, stable=True)
        return Neighbors(found.values[:, :k], found.indices[:, :k])


def measure_scores(
    scores: Tensor, labels: Tensor, item_labels: Tensor | None = None, *, recalls: Sequence[int] = (1, 2, 4, 8)
) -> QueryValues:
    """Return the standard metrics of every query of a matrix of similarities, as `measure_queries` does of vectors.

    Args:
        scores: (query, item); higher is more similar.
        labels: (query,) classes.
        item_labels: (item,) classes; None if the queries are the items, of which each is left out of its own search.
        recalls: the k of R@k and P@k.

    Raises:
        ValueError: if the matrix does not fit the labels, or no query has another item of its class.

    >>> scores = torch.tensor([[9.0, 2.0, 1.0], [2.0, 9.0, 3.0], [1.0, 3.0, 9.0]])
    >>> measure_scores(scores, torch.tensor([0, 0, 1]), recalls=(1,)).values["R@1"]
    tensor([1., 0.])
    """
    items = len(labels) if item_labels is None else len(item_labels)
    if scores.shape != (len(labels), items):
        raise ValueError(f"scores of shape {tuple(scores.shape)} do not fit {len(labels)} queries and {items} items")
    rows = torch.arange(len(labels), dtype=torch.float64)[:, None]
    gallery = None if item_labels is None else torch.zeros(items, 1)
    task = search_task(rows, labels, gallery, item_labels, recalls)
    positions, values = task.measure(ScoreIndex(scores))
    order = positions.argsort()
    columns = dict(zip((m.name for m in task.query_metrics), values[order].unbind(dim=1), strict=True))
    one_class = len(task.item_labels.unique()) == 1
    return QueryValues(
        positions[order], labels[positions[order]], columns, definitions=task.metrics, one_class=one_class
    )
