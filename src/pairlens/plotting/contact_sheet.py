"""Pictures with captions and borders, in rows on one sheet."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

RIGHT, WRONG, UNKNOWN = "#1a9850", "#d73027", "#8c8c8c"
INK, FADED, PAPER = "#1c1c1c", "#6a6a6a", "#ffffff"
SIDE, BORDER, GAP, CAPTION = 224, 8, 14, 40


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
        picture = resized(self.picture)
        if self.color is not None:
            ImageDraw.Draw(picture).rectangle((0, 0, SIDE - 1, SIDE - 1), outline=self.color, width=BORDER)
        return picture


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


def resized(picture: Image.Image) -> Image.Image:
    """Return a picture at display size."""
    return picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
