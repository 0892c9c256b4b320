"""Rendering of a page as one HTML file of limited size that loads nothing else."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TypeGuard

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image

from pairlens.core.untrusted import regular_file
from pairlens.report.inline_images import QUALITIES, InlineImage, Quality, inline_photo, inline_svg
from pairlens.report.page import Block, CodeBlock, FigureBlock, Page, Paragraph, PhotoBlock, Section, TableBlock

MAX_BYTES = 5_000_000
# The text of a drawing has 9 to 12 CSS pixels, which is small beside the text of the page.
DRAWING_SCALE = 1.15
# What the template calls the kinds of blocks that it tells apart.
BLOCK_KINDS: dict[str, type] = {
    "paragraph": Paragraph,
    "table_block": TableBlock,
    "code": CodeBlock,
    "photos": PhotoBlock,
}


@dataclass(frozen=True)
class InlineFigure:
    """A figure inside a page.

    Attributes:
        wide: for wide screens and paper.
        narrow: for phones; None if the wide one serves there too.
        dark: on dark paper; None for a drawing, whose colours the page itself turns round.
        is_drawing: whether it is drawn black on white, and not made of photos.
    """

    wide: InlineImage
    narrow: InlineImage | None
    dark: InlineImage | None
    is_drawing: bool


# By the identity of a block: the figure, or for rows of photos the images of each row.
Images = dict[int, InlineFigure | list[list[InlineImage]]]


def render(page: Page, max_bytes: int = MAX_BYTES) -> str:
    """Return a page as HTML of limited size.

    Photos are stored as large and as exact as the size allows; if they do not fit even in the lowest quality, photos and the
    drawings without importance are left out, the least important ones first, and the page says so.

    Args:
        page: the page; the files of its figures must exist.
        max_bytes: the limit.

    Raises:
        ValueError: if the page exceeds the limit without any photo.
    """
    kept: Images = {}
    giving_way: list[FigureBlock | PhotoBlock] = []
    for block in page.blocks():
        # Most drawings are needed to read the page, and stay as they are.
        if _is_drawing(block) and block.importance:
            kept[id(block)] = _inline_drawing(block)
        elif isinstance(block, FigureBlock | PhotoBlock):
            giving_way.append(block)
    text = ""
    for images in _attempts(sorted(giving_way, key=lambda block: block.importance)):
        text = _fill_template(page, kept | images)
        if len(text.encode()) <= max_bytes:
            return text
    raise ValueError(
        f"the report takes {len(text.encode()) / 1e6:.1f} MB without any photo, more than {max_bytes / 1e6:.1f} MB; compare "
        "fewer losses or benchmarks in one study"
    )


def _is_drawing(block: Block) -> TypeGuard[FigureBlock]:
    return isinstance(block, FigureBlock) and block.picture.file.suffix == ".svg"


def _inline_drawing(block: FigureBlock) -> InlineFigure:
    narrow_file = block.picture.narrow_file
    narrow = inline_svg(narrow_file) if narrow_file.is_file() else None
    return InlineFigure(inline_svg(block.picture.file), narrow, None, is_drawing=True)


def _attempts(blocks: Sequence[FigureBlock | PhotoBlock]) -> Iterator[Images]:
    """Yield the photos smaller and smaller, then fewer and fewer blocks, the first ones being left out first."""
    drawings: Images = {id(block): _inline_drawing(block) for block in blocks if _is_drawing(block)}
    images: Images = {}
    for quality in QUALITIES:
        images = drawings | {id(block): _inline_photos(block, quality) for block in blocks if not _is_drawing(block)}
        yield images
    for left_out in range(1, len(blocks) + 1):
        # Here photos have the lowest quality, with which the loop above has ended.
        yield {id(block): images[id(block)] for block in blocks[left_out:]}


def _inline_photos(block: FigureBlock | PhotoBlock, quality: Quality) -> InlineFigure | list[list[InlineImage]]:
    if isinstance(block, PhotoBlock):
        return [[inline_photo(tile.photo, quality.tile, quality.webp) for tile in row.tiles] for row in block.rows]
    dark_file = block.picture.dark_file
    dark = _inline_sheet(dark_file, quality) if dark_file.is_file() else None
    return InlineFigure(_inline_sheet(block.picture.file, quality), None, dark, is_drawing=False)


def _inline_sheet(file: Path, quality: Quality) -> InlineImage:
    with Image.open(regular_file(file)) as sheet:
        return inline_photo(sheet, quality.sheet, quality.webp)


def _fill_template(page: Page, images: Mapping[int, object]) -> str:
    # Names of classes, files and losses come from the data, so everything is escaped.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    for name, kind in BLOCK_KINDS.items():
        environment.tests[name] = _is_of(kind)
    environment.filters["tie_percent"] = tie_percent
    folder = files("pairlens.report")
    template = environment.from_string(folder.joinpath("page.html").read_text(encoding="utf-8"))
    # The style sheet is part of the program, so it is the one text that needs no escaping.
    style = Markup(folder.joinpath("page.css").read_text(encoding="utf-8").strip())
    return template.render(
        page=page,
        style=style,
        images=images,
        key=id,
        anchors=anchors(page.sections),
        drawing_scale=DRAWING_SCALE,
    )


def _is_of(kind: type) -> object:
    def test(block: Block) -> bool:
        return isinstance(block, kind)

    return test


def tie_percent(text: str) -> str:
    r"""Return a text whose lines never break between a number and its percent sign.

    >>> tie_percent("8.7 % of all")
    '8.7\xa0% of all'
    """
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", text)


def anchors(sections: Sequence[Section]) -> list[str]:
    """Return a unique id for each section.

    >>> anchors([Section("Result", ()), Section("Result", ())])
    ['s1-result', 's2-result']
    """
    words = ["".join(c if c.isalnum() and c.isascii() else "-" for c in s.title.lower()) for s in sections]
    return [f"s{number}-{word}".strip("-") for number, word in enumerate(words, 1)]
