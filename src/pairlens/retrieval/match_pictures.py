"""What was retrieved, as pictures."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from pairlens.plotting.contact_sheet import RIGHT, UNKNOWN, WRONG, Tile, resized, tile_sheet
from pairlens.retrieval.gallery import Match, Query

QUERY_FILE, SHEET_FILE = "query_img.jpg", "sheet.png"


def write_pictures(query: Query, matches: Sequence[Match], folder: Path) -> list[Path]:
    """Write the query, each match with its border, and one contact sheet; returns the files written.

    The matches are named `retrieval_img_<rank>_<distance>.jpg`. A border is green for the query's class, red for
    another, grey where the query's class is unknown. Pictures of an earlier query in the folder are replaced.

    Raises:
        ValueError: if the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("retrieval_img_*.jpg"):
            old.unlink()
        files = [folder / QUERY_FILE]
        resized(query.picture).save(files[0], quality=95)
        for match in matches:
            files.append(folder / f"retrieval_img_{match.rank}_{match.distance:.4f}.jpg")
            framed(match).save(files[-1], quality=95)
        files.append(folder / SHEET_FILE)
        contact_sheet([(query, matches)]).save(files[-1])
    except OSError as error:
        raise ValueError(
            f"the pictures cannot be written to {folder} ({error.strerror}); give another --out"
        ) from error
    return files


def framed(match: Match) -> Image.Image:
    """Return a match at display size with its border."""
    return tile_of(match).drawn()


def tile_of(match: Match) -> Tile:
    """Return a match with rank, distance and class name under it."""
    first = f"{match.rank}   distance {match.distance:.3f}  {_verdict(match)}"
    return Tile(match.picture, first, match.class_name, _color(match))


def contact_sheet(rows: Sequence[tuple[Query, Sequence[Match]]], title: str = "") -> Image.Image:
    """Return one picture with a row a query: the query, then its matches with rank, class name and distance."""
    return tile_sheet(
        [
            [Tile(query.picture, "query", query.class_name or query.name), *map(tile_of, matches)]
            for query, matches in rows
        ],
        title,
    )


def _verdict(match: Match) -> str:
    # In words as well as in colour, for those who cannot tell green from red.
    return {True: "right", False: "wrong", None: ""}[match.right]


def _color(match: Match) -> str:
    return {True: RIGHT, False: WRONG, None: UNKNOWN}[match.right]
