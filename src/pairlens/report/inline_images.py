"""Images as data URIs, so that a page is one file: drawings as SVG, photos as WebP."""

import base64
import io
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pairlens.core.untrusted import read_text

CSS_PIXELS_PER_POINT = 96 / 72

# Within a tag: a name of a loss may look like an attribute, and stands between two tags.
_STYLE = re.compile(r'(<[a-zA-Z][^<>]*?) style="([^"<>]*)"')


@dataclass(frozen=True)
class Quality:
    """How large and how exact photos are stored in a page.

    Attributes:
        sheet: the greatest width of a picture made of many photos, in pixels.
        tile: the greatest side of a single photo, in pixels.
        webp: the quality of the WebP encoder, up to 100.
    """

    sheet: int
    tile: int
    webp: int


# From the best to the smallest; a page takes the first with which it fits its size.
QUALITIES = (Quality(1480, 224, 80), Quality(1200, 180, 72), Quality(960, 144, 62), Quality(760, 108, 50))


@dataclass(frozen=True)
class InlineImage:
    """An image inside a page.

    Attributes:
        uri: the data URI.
        width: in CSS pixels.
        height: in CSS pixels.
    """

    uri: str
    width: int
    height: int


def inline_svg(file: Path) -> InlineImage:
    """Return an SVG as a data URI; inside it, its ids and its styles cannot clash with those of the page.

    Raises:
        ValueError: if the file does not state its size in points.
    """
    text = read_text(file)
    # Matplotlib writes the width before the height, in points.
    size = re.search(r'<svg[^>]*\bwidth="([\d.]+)pt" height="([\d.]+)pt"', text)
    if size is None:
        raise ValueError(f"{file} does not state its size in points")
    width, height = (round(float(points) * CSS_PIXELS_PER_POINT) for points in size.groups())
    return InlineImage(_data_uri("image/svg+xml", _with_classes(text).encode()), width, height)


def _with_classes(svg: str) -> str:
    """Return an SVG whose repeated style attributes are classes: of a figure with many points they are half of the file."""
    counts = Counter(style for _, style in _STYLE.findall(svg))
    names = {style: f"s{number}" for number, style in enumerate(counts) if counts[style] > 1}
    rules = "".join(f".{name}{{{style}}}" for style, name in names.items())
    shorter = _STYLE.sub(lambda tag: f'{tag[1]} class="{names[tag[2]]}"' if tag[2] in names else tag[0], svg)
    return shorter.replace("<defs>", f"<defs><style>{rules}</style>", 1)


def inline_photo(photo: Image.Image, max_width: int, webp: int) -> InlineImage:
    """Return a photo as a data URI, reduced to a width if it is wider."""
    width = min(photo.width, max_width)
    height = max(1, round(photo.height * width / photo.width))
    buffer = io.BytesIO()
    photo.convert("RGB").resize((width, height), Image.Resampling.LANCZOS).save(buffer, "WEBP", quality=webp)
    return InlineImage(_data_uri("image/webp", buffer.getvalue()), width, height)


def _data_uri(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
