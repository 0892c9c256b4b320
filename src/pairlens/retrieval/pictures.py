"""What was retrieved, as pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pairlens.retrieval.gallery import Match, Query

RIGHT, WRONG, UNKNOWN = "#1a9850", "#d73027", "#8c8c8c"
INK, FADED, PAPER = "#1c1c1c", "#6a6a6a", "#ffffff"
SIDE, BORDER, GAP, CAPTION = 224, 8, 14, 40
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
        _resized(query.picture).save(files[0], quality=95)
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


@dataclass(frozen=True, eq=False)
class Tile:
    """A picture on a sheet.

    Attributes:
        picture: at any size.
        first: the line under it.
        second: the line under that.
        color: of its border; None for no border.
    """

    picture: Image.Image
    first: str
    second: str
    color: str | None = None

    def drawn(self) -> Image.Image:
        """Return the picture at display size with its border."""
        picture = _resized(self.picture)
        if self.color is not None:
            ImageDraw.Draw(picture).rectangle((0, 0, SIDE - 1, SIDE - 1), outline=self.color, width=BORDER)
        return picture


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


def tile_sheet(rows: Sequence[Sequence[Tile]], title: str = "", apart: int = 1) -> Image.Image:
    """Return one picture of rows of tiles, the first `apart` of each row set apart from the others."""
    columns = max(map(len, rows))
    head = 46 if title else GAP
    width = GAP + columns * (SIDE + GAP) + GAP
    sheet = Image.new("RGB", (width, head + len(rows) * (SIDE + CAPTION + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((GAP, 13), title, INK, font=_font(20))
    for number, tiles in enumerate(rows):
        top = head + number * (SIDE + CAPTION + GAP)
        for column, tile in enumerate(tiles):
            left = GAP + column * (SIDE + GAP) + (GAP if column >= apart else 0)
            sheet.paste(tile.drawn(), (left, top))
            _caption(draw, left, top, tile.first, tile.second)
    return sheet


def _caption(draw: ImageDraw.ImageDraw, left: int, top: int, first: str, second: str) -> None:
    draw.text((left, top + SIDE + 3), _shortened(first, draw), FADED, font=_font(13))
    draw.text((left, top + SIDE + 20), _shortened(second, draw), INK, font=_font(14))


def _shortened(text: str, draw: ImageDraw.ImageDraw) -> str:
    # No letter is narrower than a pixel, and to measure a text takes time.
    text = text[:SIDE]
    if draw.textlength(text, font=_font(14)) <= SIDE:
        return text
    while draw.textlength(text + "…", font=_font(14)) > SIDE:
        text = text[:-1]
    return text + "…"


def _verdict(match: Match) -> str:
    # In words as well as in colour, for those who cannot tell green from red.
    return {True: "right", False: "wrong", None: ""}[match.right]


def _color(match: Match) -> str:
    return {True: RIGHT, False: WRONG, None: UNKNOWN}[match.right]


def _resized(picture: Image.Image) -> Image.Image:
    return picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
