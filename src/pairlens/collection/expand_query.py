"""Query expansion: what a first search finds is mixed into the query of the second one."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pairlens.collection.filters import Condition
from pairlens.collection.search import QueryVector
from pairlens.collection.store import SearchMode, Store

ALPHA = 3.0


def expand_query(
    store: Store, query: QueryVector, count: int, where: Mapping[str, Condition], index: SearchMode = "auto"
) -> QueryVector:
    """Return a query plus the items nearest to it, weighted by their similarity: q + Σᵢ max(sᵢ, 0)³ xᵢ, of unit length.

    The result counts as a mixture of several photos, for which no calibration holds. The items of the query itself are not
    mixed in. Source: arXiv 1711.02512, section 3.4; see `post_processing.expand_queries`.

    Args:
        store: of the collection.
        query: what is searched for.
        count: number of items that are mixed in.
        where: the filter of the search.
        index: how to search.
    """
    found = store.search(query.vector[None], count, where, query.ids, index)
    is_found = found.ids[0] >= 0
    ids, scores = found.ids[0, is_found], found.scores[0, is_found]
    if not len(ids):
        return query
    weights = np.maximum(scores, 0).astype(np.float32) ** ALPHA
    mixed = query.vector + weights @ store.vectors(ids)
    return replace(query, vector=(mixed / np.linalg.norm(mixed)).astype(np.float32), seen=None, is_single=False)
