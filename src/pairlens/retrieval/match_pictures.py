"""Pictures of search results: each match with its border, and a contact sheet."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from pairlens.core.files import UnwritableError, make_folder, write_picture
from pairlens.plotting.contact_sheet import RIGHT, UNKNOWN, WRONG, Tile, resized, tile_sheet
from pairlens.retrieval.gallery import Match, Query

QUERY_FILE, SHEET_FILE = "query_img.jpg", "sheet.png"


def write_pictures(query: Query, matches: Sequence[Match], folder: Path) -> list[Path]:
    """Write the query, each match with its border, and one contact sheet; returns the files.

    The matches are named `retrieval_img_<rank>_<distance>.jpg`. A border is green for the class of the query, red for
    another class, and grey if the class of the query is unknown. Pictures of an earlier query in the folder are
    replaced.

    Raises:
        ValueError: if the folder cannot be written.
    """
    try:
        make_folder(folder, below=folder.parent)
        # An earlier query may have had more matches, whose pictures would stay beside those of this one.
        for old in folder.glob("retrieval_img_*.jpg"):
            old.unlink()
        files = [folder / QUERY_FILE]
        write_picture(files[0], resized(query.picture))
        for match in matches:
            files.append(folder / f"retrieval_img_{match.rank}_{match.distance:.4f}.jpg")
            write_picture(files[-1], framed(match))
        files.append(folder / SHEET_FILE)
        write_picture(files[-1], contact_sheet([(query, matches)]))
    except UnwritableError:
        # Its message already says which file could not be written, and why.
        raise
    except OSError as error:
        raise ValueError(
            f"the pictures cannot be written to {folder} ({error.strerror}); give another --out"
        ) from error
    return files


def framed(match: Match) -> Image.Image:
    """Return a match at display size with its border."""
    return tile_of(match).drawn()


def tile_of(match: Match) -> Tile:
    """Return a match with its rank, distance and class name as captions."""
    # In words as well as in colour, for readers who cannot tell green from red.
    verdict = {True: "correct", False: "wrong", None: ""}[match.right]
    color = {True: RIGHT, False: WRONG, None: UNKNOWN}[match.right]
    return Tile(match.picture, f"{match.rank}   distance {match.distance:.3f}  {verdict}", match.class_name, color)


def contact_sheet(rows: Sequence[tuple[Query, Sequence[Match]]], title: str = "") -> Image.Image:
    """Return one picture with one row per query: the query, then its matches with rank, class name and distance."""
    return tile_sheet(
        [
            [Tile(query.picture, "query", query.class_name or query.name), *map(tile_of, matches)]
            for query, matches in rows
        ],
        title,
    )
