"""The records of a collection as the JSON of a server, and back."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pairlens.collection.filters import Between, Condition, Under, Wanted, as_conditions
from pairlens.collection.item import Item, Region
from pairlens.collection.search import SearchMatch, SearchResult
from pairlens.collection.store import IndexRecall


def filter_as_json(where: Mapping[str, Wanted] | None) -> dict[str, Any]:
    """Return a filter as a server reads it; raises ValueError as `as_conditions`."""
    return {key: _plain_condition(condition) for key, condition in as_conditions(where).items()}


def _plain_condition(condition: Condition) -> Any:
    match condition:
        case Between():
            return {"from": condition.low, "to": condition.high}
        case Under():
            return {"under": condition.prefix}
    return list(condition.values)


def item_of_json(row: Mapping[str, Any]) -> Item:
    """Return a photo; a server does not say where its folders are."""
    region = row["region"]
    return Item(
        id=row["id"],
        root="",
        path=row["path"],
        digest=row["digest"],
        region=None if region is None else Region(*region),
        label=row["label"],
        metadata=row["metadata"],
        width=row["width"],
        height=row["height"],
        look=0,
        added=row["added"],
    )


def result_of_json(
    answer: Mapping[str, Any], thumbnail: Callable[[int], bytes], explain: Callable[[int], Any] | None
) -> SearchResult:
    """Return the results of a search.

    Args:
        answer: of a server.
        thumbnail: asks for the thumbnail of an id.
        explain: asks for the explanation of an id; None if there is none.
    """
    recall = answer["recall"]
    low, high = recall["interval"]
    interval = answer["interval"]
    return SearchResult(
        matches=tuple(_match(row, thumbnail, explain) for row in answer["matches"]),
        verdict=answer["verdict"],
        probability=answer["probability"],
        rate=answer["false_accept_rate"],
        interval=None if interval is None else (interval[0], interval[1]),
        reason=answer["reason"],
        recall=IndexRecall(recall["value"], low, high, 0, recall["queries"]),
        vector=np.array(answer["vector"], np.float32),
    )


def _match(
    row: Mapping[str, Any], thumbnail: Callable[[int], bytes], explain: Callable[[int], Any] | None
) -> SearchMatch:
    return SearchMatch(
        rank=row["rank"],
        item=item_of_json(row),
        score=row["score"],
        probability=row["probability"],
        copies=tuple(row["copies"]),
        _explain=None if explain is None else lambda: explain(row["id"]),
        _thumbnail=lambda: thumbnail(row["id"]),
    )
