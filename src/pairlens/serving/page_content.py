"""What the templates of the page show."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pairlens.collection.item import Item
from pairlens.collection.result_pictures import verdict_sentence
from pairlens.collection.search import SearchMatch, SearchResult
from pairlens.serving.answers import thumbnail_address
from pairlens.serving.page_state import BROWSED, PageState
from pairlens.serving.picture_answers import photo_version
from pairlens.serving.search_request import SearchRequest
from pairlens.serving.service import CollectionService
from pairlens.serving.serving_state import ServingState

_THUMBNAIL_SIDE = 256
# Labels that are listed as filters; all are listed in the field that searches among them.
LABELS_SHOWN = 200


@dataclass(frozen=True, eq=False)
class PageContent:
    """What every page shows, and the values of its own.

    Attributes:
        name: of the collection.
        read_only: whether nothing can be changed.
        state: what is shown.
        photos: that the collection has.
        values: by the names that the template uses.
    """

    name: str
    read_only: bool
    state: PageState
    photos: int
    values: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class PhotoCard:
    """A photo in the grid of the page.

    Attributes:
        item: the photo.
        thumbnail: its address.
        width, height: of the thumbnail, so that the page has room for it before it comes.
        match: how it matches what is searched for; None where nothing is.
    """

    item: Item
    thumbnail: str
    width: int
    height: int
    match: SearchMatch | None = None

    @property
    def view(self) -> str:
        """The address of the photo in the size of a window."""
        return f"/api/photos/{self.item.id}/view?v={photo_version(self.item)}"

    @property
    def title(self) -> str:
        """What the photo is called where its label is unknown."""
        return self.item.label or self.item.path.rpartition("/")[2]


def photo_card(item: Item, match: SearchMatch | None = None) -> PhotoCard:
    """Return a photo as the page shows it."""
    width, height = item.width or _THUMBNAIL_SIDE, item.height or _THUMBNAIL_SIDE
    if item.region is not None:
        width, height = item.region.width, item.region.height
    scale = min(1.0, _THUMBNAIL_SIDE / max(width, height))
    return PhotoCard(item, thumbnail_address(item), max(1, round(width * scale)), max(1, round(height * scale)), match)


def page_request(service: CollectionService, state: PageState, k: int | None = None) -> SearchRequest:
    """Return the search of a page; raises FileNotFoundError if its uploaded photo is not kept any more."""
    return SearchRequest(
        photos=() if state.photo is None else (service.query_photos.read(state.photo),),
        ids=state.ids,
        unlike=state.unlike,
        region=state.region,
        where=state.conditions(),
        k=state.k if k is None else k,
        group=state.group,
    )


def view_content(serving: ServingState, state: PageState) -> PageContent:
    """Return the content of a search, or of a look at the collection."""
    service = serving.service
    result: SearchResult | None = None
    count = next_after = 0
    if state.is_search:
        result = service.search(page_request(service, state))
        cards = [photo_card(match.item, match) for match in result]
    else:
        items = service.store.page(state.after, BROWSED, state.conditions())
        cards = [photo_card(item) for item in items]
        count = service.store.count(state.conditions()) if state.where else service.store.count()
        next_after = items[-1].id if len(items) == BROWSED else 0
    values = {
        "cards": cards,
        "result": result,
        "sentence": "" if result is None else verdict_sentence(result),
        "count": count,
        "next_after": next_after,
        "filters": service.filters.wait(),
        "labels_shown": LABELS_SHOWN,
        "wanted": [photo_card(item) for item in service.store.items(state.ids)],
        "unwanted": [photo_card(item) for item in service.store.items(state.unlike)],
    }
    return PageContent(service.name, serving.settings.read_only, state, service.store.count(), values)


def photo_content(serving: ServingState, state: PageState, id: int) -> PageContent:
    """Return the content of one photo, beside the only one that was searched with if there is one."""
    service = serving.service
    item = service.item(id)
    query = None
    if state.is_of_one_photo and state.ids and state.ids != (id,):
        query = photo_card(service.item(state.ids[0]))
    match = _match(service, state, id) if state.is_search else None
    values = {
        "card": photo_card(item, match),
        "query": query,
        "can_compare": state.is_of_one_photo and state.ids != (id,),
        "copies": [photo_card(copy) for copy in service.copies(item)],
        "labels": [label for label, _ in service.filters.wait().labels if label is not None],
    }
    return PageContent(service.name, serving.settings.read_only, state, service.store.count(), values)


def _match(service: CollectionService, state: PageState, id: int) -> SearchMatch | None:
    """Return how one photo matches a search, as the page of its results says it."""
    found = service.search(page_request(service, state))
    return next((match for match in found if match.id == id), None)
