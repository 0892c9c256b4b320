"""Photos and results as plain data for JSON; without the folders of the server, which are nobody's business."""

from collections.abc import Sequence
from typing import Any

from pairlens.collection.collection import Collection
from pairlens.collection.item import Item
from pairlens.collection.result_pictures import verdict_sentence
from pairlens.collection.search import SearchMatch, SearchResult, plain_item, plain_result
from pairlens.serving.picture_answers import photo_version


def plain_photo(item: Item) -> dict[str, Any]:
    """Return a photo of a collection, without the folder that it lies in."""
    photo = plain_item(item)
    del photo["root"]
    return {**photo, "thumbnail": thumbnail_address(item)}


def thumbnail_address(item: Item) -> str:
    """Return where the thumbnail of a photo is; the address changes with its pixels."""
    return f"/api/photos/{item.id}/thumbnail?v={photo_version(item)}"


def search_answer(
    result: SearchResult, digests: Sequence[str], explanations: Sequence[dict[str, Any]] | None, with_vector: bool
) -> dict[str, Any]:
    """Return the results of a search."""
    answer = plain_result(result)
    del answer["matches"]
    return {
        **answer,
        "sentence": verdict_sentence(result),
        "photos": list(digests),
        "vector": result.vector.astype(float).round(8).tolist() if with_vector else None,
        "matches": [
            {**_plain_served_match(match), "explanation": None if explanations is None else explanations[n]}
            for n, match in enumerate(result)
        ],
    }


def _plain_served_match(match: SearchMatch) -> dict[str, Any]:
    return {
        **plain_photo(match.item),
        "rank": match.rank,
        "score": round(match.score, 6),
        "probability": None if match.probability is None else round(match.probability, 6),
        "copies": list(match.copies),
    }


def collection_answer(collection: Collection, name: str, read_only: bool) -> dict[str, Any]:
    """Return what a collection holds, in numbers."""
    about = collection.info()
    del about["roots"]
    models = collection.store.models()
    return {
        **about,
        "collection": name,
        "fingerprint": models[0].fingerprint if models else None,
        "change": collection.store.change(),
        "read_only": read_only,
    }
