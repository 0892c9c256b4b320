"""Pictures made part of a page: SVG as elements whose names clash with no other's, photos as WebP in the text itself."""

import base64
import io
import re
from dataclasses import dataclass
from xml.etree import ElementTree

from markupsafe import Markup
from PIL import Image

from pairlens.plotting.style import Picture

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
PIXELS_A_POINT = 96 / 72
FONTS = "'DejaVu Sans', Verdana, Geneva, Roboto, 'Segoe UI', sans-serif"
MATPLOTLIB_FONTS = re.compile(r"font-family: [^;\"]*|(?<=px )'DejaVu Sans'[^;\"]*")
ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", XLINK)


@dataclass(frozen=True)
class Quality:
    """How large and how exact photos are kept: the widest they may be, and the quality of their WebP."""

    width: int
    webp: int


QUALITIES = (Quality(1480, 80), Quality(1200, 72), Quality(960, 62), Quality(760, 50))


@dataclass(frozen=True)
class Inlined:
    """A picture as HTML.

    Attributes:
        html: the element.
        width: its natural width in CSS pixels.
    """

    html: Markup
    width: int


def inline_svg(text: str, number: int, alt: str) -> Inlined:
    """Return an SVG as an element of a page, named by `alt`, its ids and references marked with a number.

    >>> found = inline_svg('<svg xmlns="http://www.w3.org/2000/svg" width="72pt" height="36pt"><g id="a"/></svg>', 3, "x")
    >>> found.width, '<g id="p3-a" />' in found.html, 'role="img" aria-label="x"' in found.html
    (96, True, True)
    """
    root = ElementTree.fromstring(text)
    for parent in list(root.iter()):
        for child in list(parent):
            # Metadata names addresses of the web; a style sheet inside an SVG would hold for the whole page.
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        for name, value in element.attrib.items():
            element.set(name, _marked(name, value, f"p{number}-"))
    width, height = (
        round(float(root.attrib[side].removesuffix("pt")) * PIXELS_A_POINT) for side in ("width", "height")
    )
    for name, value in (("width", width), ("height", height), ("role", "img"), ("aria-label", alt)):
        root.set(name, str(value))
    return Inlined(Markup(ElementTree.tostring(root, encoding="unicode").strip()), width)


def _marked(name: str, value: str, mark: str) -> str:
    if name == "id":
        return mark + value
    if name in ("href", f"{{{XLINK}}}href") and value.startswith("#"):
        return f"#{mark}{value[1:]}"
    value = value.replace("url(#", f"url(#{mark}")
    return MATPLOTLIB_FONTS.sub(lambda found: _fonts(found.group()), value) if name == "style" else value


def _fonts(found: str) -> str:
    return f"font-family: {FONTS}" if found.startswith("font-family") else FONTS


def inline_photo(picture: Image.Image, alt: str, quality: Quality) -> Inlined:
    """Return a picture as an element of a page, its bytes in the address."""
    width = min(picture.width, quality.width)
    height = round(picture.height * width / picture.width)
    buffer = io.BytesIO()
    picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS).save(buffer, "WEBP", quality=quality.webp)
    text = base64.b64encode(buffer.getvalue()).decode()
    html = Markup('<img src="data:image/webp;base64,{}" width="{}" height="{}" alt="{}">').format(
        text, width, height, alt
    )
    return Inlined(html, picture.width)


def inline(picture: Picture, number: int, quality: Quality) -> Inlined:
    """Return a figure on disk as an element of a page; an SVG is the same at every quality."""
    if picture.file.suffix == ".svg":
        return inline_svg(picture.file.read_text(encoding="utf-8"), number, picture.alt)
    with Image.open(picture.file) as opened:
        return inline_photo(opened, picture.alt, quality)


def is_photo(picture: Picture) -> bool:
    """Whether a picture is made of pixels."""
    return picture.file.suffix != ".svg"
