"""Pictures of what a search has found: a contact sheet, the photos, and why they match."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pairlens.collection.collection_model import CollectionModel
from pairlens.collection.item import Item, Region
from pairlens.collection.migration import ChangedItem
from pairlens.collection.photo_bytes import photo_bytes
from pairlens.collection.photo_view import view_photo
from pairlens.collection.search import SearchMatch, SearchResult, items_by_path, thumbnail_picture
from pairlens.collection.store import Store
from pairlens.core.files import make_folder, write_picture
from pairlens.core.images import load_image
from pairlens.plotting.contact_sheet import UNKNOWN, Tile, tile_sheet

if TYPE_CHECKING:
    from pairlens.collection.match_explanation import MatchExplanation

SHEET_FILE = "sheet.png"
_TILES_PER_ROW = 6


def explain_item(store: Store, model: CollectionModel, seen: np.ndarray, item: Item) -> "MatchExplanation":
    """Return which places of a query and of an item make up their score.

    Args:
        store: of the item.
        model: the active model.
        seen: uint8 (image_size, image_size, 3) pixels of the query.
        item: what was found.

    Raises:
        ValueError: if the collection has no pixels of the item, or the model is an ONNX file or maps its vectors.
    """
    # Imported here, because it needs PyTorch, which a search by an ONNX model does not.
    from pairlens.collection.match_explanation import explain_match

    if model.mapped is not None:
        raise ValueError(
            f"the vectors of {store.name} pass through {model.mapped.steps}, so that places of photos do not add up to a "
            "score; explain with a collection without it"
        )
    if model.kind == "onnx":
        raise ValueError(
            f"{model.name} is an ONNX file, which does not show the places of a photo; explain with the run it was "
            "exported from"
        )
    return explain_match(model.network, seen, seen_pixels(store, model, item))


def seen_pixels(store: Store, model: CollectionModel, item: Item) -> np.ndarray:
    """Return an item as the model sees it: from its file if that is unchanged, else from what the collection keeps.

    Raises:
        ValueError: if the collection has no pixels of it.
    """
    box = None if item.region is None else item.region.box
    contents = photo_bytes(store, item)
    if contents is not None:
        return view_photo(contents, model.view, box).seen
    thumbnail = store.thumbnails([item.id]).get(item.id, b"")
    if not thumbnail:
        raise ValueError(f"{store.name} has no pixels of the photo {item.id} ({item.path}); index its file again")
    # The thumbnail is the region already.
    return view_photo(thumbnail, model.view).seen


def query_picture(store: Store, photo: str, region: Region | None) -> Image.Image | None:
    """Return what was searched for: the picture of a file, its region, or the thumbnail of an item; None without any."""
    if Path(photo).is_file():
        picture = load_image(Path(photo))
        if region is None:
            return picture
        left, top, right, bottom = region.box
        # A region may reach beyond the photo, where there is nothing to show.
        return picture.crop((left, top, min(right, picture.width), min(bottom, picture.height)))
    digits = photo.removeprefix("#")
    ids = [int(digits)] if digits.isdecimal() and len(digits) < 19 else []
    ids = ids or [item.id for item in items_by_path(store, photo)][:1]
    contents = store.thumbnails(ids) if ids else {}
    return thumbnail_picture(contents[ids[0]]) if contents else None


def write_result_pictures(query: Image.Image | None, result: SearchResult, folder: Path) -> list[Path]:
    """Write the contact sheet of a search and each photo that was found; returns the files, the sheet last.

    Pictures of an earlier search in the folder are replaced.

    Raises:
        OSError: if the folder cannot be written.
    """
    make_folder(folder, below=folder.parent)
    for old in folder.glob("match_*.jpg"):
        old.unlink()
    files = []
    for match in result:
        files.append(folder / f"match_{match.rank:03}_{match.score:.4f}.jpg")
        write_picture(files[-1], thumbnail_picture(match.thumbnail()))
    files.append(folder / SHEET_FILE)
    write_picture(files[-1], result_sheet(query, result))
    return files


def result_sheet(query: Image.Image | None, result: SearchResult) -> Image.Image:
    """Return one picture of the query and what was found, with scores, labels and the verdict."""
    tiles = [_tile(match) for match in result]
    first = [] if query is None else [Tile(query, "query", verdict_words(result))]
    rows = [first + tiles[: _TILES_PER_ROW - len(first)]]
    rest = tiles[len(rows[0]) - len(first) :]
    rows += [rest[start : start + _TILES_PER_ROW] for start in range(0, len(rest), _TILES_PER_ROW)]
    return tile_sheet(rows, "" if result.verdict == "not calibrated" else verdict_sentence(result), apart=len(first))


def _tile(match: SearchMatch) -> Tile:
    sure = "" if match.probability is None else f"   {100 * match.probability:.0f} %"
    copies = f"   +{len(match.copies)} like it" if match.copies else ""
    picture = thumbnail_picture(match.thumbnail())
    return Tile(picture, f"{match.rank}   {match.score:.3f}{sure}{copies}", match.label or match.path, UNKNOWN)


def verdict_words(result: SearchResult) -> str:
    """Return the verdict in a few words."""
    return "" if result.verdict == "not calibrated" else result.verdict


def verdict_sentence(result: SearchResult) -> str:
    """Return the verdict with what it promises, as one sentence."""
    if result.verdict == "not calibrated" or result.rate is None or result.interval is None:
        return f"No verdict: {result.reason}."
    low, high = result.interval
    measured = f"{100 * low:.2g} to {100 * high:.2g} % on new classes"
    promise = f"at a false accept rate of {_one_in(result.rate)} ({measured})"
    if result.verdict == "match":
        return f"The collection shows this, {promise}."
    return f"No photo is a sure match, {promise}."


def _one_in(rate: float) -> str:
    return f"1 in {round(1 / rate):,}"


def change_sheet(store: Store, changed: Sequence[ChangedItem]) -> Image.Image:
    """Return one picture of the items that a migration changed most: two rows each, what they found before and after."""
    rows = []
    for example in changed:
        for when, ids in (("before", example.before), ("after", example.after)):
            items = store.items([example.id, *ids[: _TILES_PER_ROW - 1]])
            # Another process may have removed the photo meanwhile.
            if not items or items[0].id != example.id:
                continue
            pictures = store.thumbnails([item.id for item in items])
            tiles = [Tile(thumbnail_picture(pictures.get(item.id, b"")), item.path, item.label or "") for item in items]
            rows.append([replace(tiles[0], first=when), *tiles[1:]])
    return tile_sheet(rows, "The photos whose nearest photos changed most")
