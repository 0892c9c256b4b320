r"""Text on pictures in any script: Latin, Greek and Cyrillic always, others where a font of the system has them.

Pillow's own font has nothing but ASCII and draws every other character as the same box. DejaVu Sans, which Matplotlib
brings along, has the scripts of Europe; the fonts of the system are searched for what it lacks. A character that no font has
is written as an escape such as \u4e2d, so that two names never look the same.
"""

import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

from PIL import ImageDraw, ImageFont

FONT_FILE = "mpl-data/fonts/ttf/DejaVuSans.ttf"
# What fonts draw as nothing or as a box: controls, half characters, private use, and characters that do not exist.
INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


@dataclass(frozen=True)
class Lettering:
    """A size of text.

    Attributes:
        size: in pixels.
    """

    size: int

    def width(self, text: str) -> float:
        """Return the width of a text in pixels."""
        return sum(_font(file, self.size).getlength(part) for file, part in _runs(text))

    def shortened(self, text: str, width: int) -> str:
        """Return a text, cut with an ellipsis if it is wider than a number of pixels."""
        # No character is narrower than one pixel, so a longer text never fits; measuring a very long text takes long.
        shown = text[:width]
        if shown == text and self.width(text) <= width:
            return text
        while shown and self.width(shown + "…") > width:
            shown = shown[:-1]
        return shown + "…"

    def draw(
        self,
        canvas: ImageDraw.ImageDraw,
        position: tuple[float, float],
        text: str,
        color: str,
        anchor: str = "la",
        stroke: tuple[int, str] = (0, ""),
    ) -> None:
        """Draw a text in one line.

        Args:
            canvas: where to draw.
            position: (x, y) in pixels.
            text: in any script.
            color: of the letters.
            anchor: what the position is, as in Pillow: la, the top left; lm, the middle of the left side; mm, the middle.
            stroke: width in pixels and colour of a line around the letters.
        """
        x, y = position
        if anchor[0] == "m":
            x -= self.width(text) / 2
        ascent, descent = _font(_dejavu(), self.size).getmetrics()
        # All fonts stand on the same baseline, whatever their heights.
        baseline = y + (ascent if anchor[1] == "a" else (ascent - descent) / 2)
        width, around = stroke
        for file, part in _runs(text):
            font = _font(file, self.size)
            canvas.text(
                (x, baseline), part, color, font=font, anchor="ls", stroke_width=width, stroke_fill=around or None
            )
            x += font.getlength(part)


def _runs(text: str) -> list[tuple[Path, str]]:
    """Return the parts of a text that are drawn with one font each, with the file of the font."""
    # A letter and its accent are one character where there is such a character.
    composed = unicodedata.normalize("NFC", text)
    drawable = [(font, c) if (font := _font_of(c)) else (_dejavu(), _escape(c)) for c in composed]
    return [
        (file, "".join(c for _, c in characters)) for file, characters in groupby(drawable, key=lambda drawn: drawn[0])
    ]


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


@cache
def _font_of(character: str) -> Path | None:
    """Return the font that has a character, None if no font has it."""
    if unicodedata.category(character) in INVISIBLE:
        return None
    if _has(_dejavu(), character):
        return _dejavu()
    return next((file for file in _system_fonts() if _has(file, character)), None)


@cache
def _dejavu() -> Path:
    found = find_spec("matplotlib")
    assert found is not None, "Matplotlib is a dependency of Pairlens"
    assert found.origin is not None
    return Path(found.origin).parent / FONT_FILE


@cache
def _system_fonts() -> tuple[Path, ...]:
    # Imported here, because it takes long, and most names need no font of the system.
    from matplotlib import font_manager

    # Sorted, so that the same machine always takes the same font; regular faces before bold and italic ones.
    files = sorted(map(Path, font_manager.findSystemFonts()))
    return tuple(sorted(files, key=lambda file: "regular" not in file.stem.lower()))


@cache
def _characters(file: Path) -> frozenset[int]:
    """Return the characters of a font; none if it cannot be drawn at any size, as fonts of coloured pictures."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(str(file))
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    # A file of the system may be damaged, or of a kind that FreeType does not know.
    except (RuntimeError, OSError, ValueError):
        return frozenset()


def _has(file: Path, character: str) -> bool:
    return ord(character) in _characters(file)


@cache
def _font(file: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(file), size)
