"""Contact sheets: photos with captions, coloured borders and check marks or crosses, in rows on one picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from pairlens.plotting.lettering import Lettering
from pairlens.plotting.style import CYCLE

RIGHT, WRONG, UNKNOWN = "#0b7a3e", "#c0362c", "#7a7a7a"
INK, FADED, PAPER = "#1c1c1c", "#5c5c5c", "#ffffff"
# In pixels: the side of a photo, its border, the space between photos, and the height of two lines of caption.
SIDE, BORDER, GAP, CAPTION = 224, 8, 16, 50
TITLE, TEXT = Lettering(22), Lettering(14)
TITLE_HEIGHT = 58
# The diameter of the sign in the corner of a photo, and its strokes as points in a square of side 1.
SIGN_SIDE = 44
CHECK_MARK = (((0.28, 0.52), (0.44, 0.68), (0.74, 0.33)),)
CROSS = (((0.32, 0.32), (0.68, 0.68)), ((0.32, 0.68), (0.68, 0.32)))
# Not everybody can tell green from red, so these two colours come with a sign.
SIGNS = {RIGHT: CHECK_MARK, WRONG: CROSS}


@dataclass(frozen=True)
class Palette:
    """The colours of a picture made of photos.

    Attributes:
        paper: the background.
        ink: text.
        faded: text of less importance.
        classes: one colour per class.
    """

    paper: str
    ink: str
    faded: str
    classes: tuple[str, ...]


LIGHT = Palette(PAPER, INK, FADED, CYCLE)
# The paper is that of the dark report page. White takes the place of black, and the blues are lighter.
DARK = Palette(
    "#161616",
    "#e8e8e8",
    "#a8a8a8",
    ("#4c9fd8", "#E8743B", "#21b98c", "#CC79A7", "#E69F00", "#8fd0f5", "#ffffff", "#9a9a9a"),
)


@dataclass(frozen=True, eq=False)
class Tile:
    """A photo on a contact sheet.

    Attributes:
        picture: at any size.
        first: the line below it.
        second: the line below that.
        color: the colour of its border; None for no border. RIGHT and WRONG also show a check mark or a cross.
    """

    picture: Image.Image
    first: str
    second: str
    color: str | None = None

    def drawn(self) -> Image.Image:
        """Return the photo at display size with its border and its sign."""
        picture = resized(self.picture)
        if self.color is not None:
            ImageDraw.Draw(picture).rectangle((0, 0, SIDE - 1, SIDE - 1), outline=self.color, width=BORDER)
        if self.color in SIGNS:
            draw_sign(picture, self.color)
        return picture


def draw_sign(picture: Image.Image, color: str, size: int = SIGN_SIDE) -> None:
    """Draw a check mark (RIGHT) or a cross (WRONG) on a disc in the upper right corner of a photo.

    Args:
        picture: a photo at display size, which is changed.
        color: RIGHT or WRONG.
        size: diameter of the disc in pixels.
    """
    left = picture.width - size - BORDER // 2
    top = BORDER // 2
    canvas = ImageDraw.Draw(picture)
    canvas.ellipse((left, top, left + size, top + size), fill=color, outline=PAPER, width=size // 14)
    for stroke in SIGNS[color]:
        points = [(left + size * x, top + size * y) for x, y in stroke]
        canvas.line(points, fill=PAPER, width=size // 9, joint="curve")


def tile_sheet(rows: Sequence[Sequence[Tile]], title: str = "", apart: int = 1) -> Image.Image:
    """Return one picture with rows of tiles.

    Args:
        rows: from top to bottom.
        title: a line above them; none if empty.
        apart: how many of the first tiles of each row are set apart from the others by a wider gap.
    """
    columns = max(map(len, rows))
    head = TITLE_HEIGHT if title else GAP
    width = GAP + columns * (SIDE + GAP) + GAP
    sheet = Image.new("RGB", (width, head + len(rows) * (SIDE + CAPTION + GAP)), PAPER)
    canvas = ImageDraw.Draw(sheet)
    if title:
        TITLE.draw(canvas, (GAP, 15), TITLE.shortened(title, width - 2 * GAP), INK)
    for number, tiles in enumerate(rows):
        top = head + number * (SIDE + CAPTION + GAP)
        for column, tile in enumerate(tiles):
            left = GAP + column * (SIDE + GAP) + (GAP if column >= apart else 0)
            sheet.paste(tile.drawn(), (left, top))
            for line, (text, color) in enumerate(((tile.first, FADED), (tile.second, INK))):
                TEXT.draw(canvas, (left, top + SIDE + 3 + 22 * line), TEXT.shortened(text, SIDE), color)
    return sheet


def resized(picture: Image.Image) -> Image.Image:
    """Return a photo at display size."""
    return picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
