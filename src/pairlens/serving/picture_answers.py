"""Answers that are pictures: thumbnails, larger views, and the files themselves."""

import hashlib
from typing import Any

import numpy as np
from PIL import Image
from starlette.responses import Response

from pairlens.collection.item import Item
from pairlens.core.images import read_picture
from pairlens.core.jpeg import encode_jpeg
from pairlens.core.orientation import turn_upright
from pairlens.core.photo_reading import PhotoReading

VIEW_SIDE, VIEW_QUALITY = 1280, 88
# What files begin with, and what browsers may take them for. SVG and HTML are not among them, because they run programs.
_JPEG2000 = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_SIGNATURES = (
    (b"\xff\xd8\xff", "image/jpeg", "jpg"),
    (b"\x89PNG\r\n\x1a\n", "image/png", "png"),
    (b"GIF87a", "image/gif", "gif"),
    (b"GIF89a", "image/gif", "gif"),
    (b"BM", "image/bmp", "bmp"),
    (b"II*\x00", "image/tiff", "tif"),
    (b"MM\x00*", "image/tiff", "tif"),
    (_JPEG2000, "image/jp2", "jp2"),
)
_UNKNOWN = "application/octet-stream", "bin"
FOREVER = "private, max-age=31536000, immutable"


def picture_type(contents: bytes) -> tuple[str, str]:
    r"""Return the media type of a picture file and the suffix of its name, judged by its first bytes alone.

    >>> picture_type(b"\xff\xd8\xff\xe0"), picture_type(b"<svg onload=alert(1)>")
    (('image/jpeg', 'jpg'), ('application/octet-stream', 'bin'))
    """
    for start, media_type, suffix in _SIGNATURES:
        if contents.startswith(start):
            return media_type, suffix
    if contents[:4] == b"RIFF" and contents[8:12] == b"WEBP":
        return "image/webp", "webp"
    if contents[4:8] == b"ftyp":
        return ("image/avif", "avif") if contents[8:12] in (b"avif", b"avis") else ("image/heic", "heic")
    return _UNKNOWN


def photo_version(item: Item) -> str:
    """Return what stands for the pixels of an item in an address: they may change while the id stays."""
    return item.digest[:12] if item.region is None else f"{item.digest[:12]}-{'.'.join(map(str, item.region.box))}"


def picture_answer(
    contents: bytes, asked: str | None, version: str, given_version: str | None, headers: dict[str, str] | None = None
) -> Response:
    """Return a picture with a strong ETag; or 304 if the caller has it already.

    Args:
        contents: of the picture file.
        asked: the If-None-Match header.
        version: of the photo.
        given_version: the version in the address; if it is the right one, the answer never changes.
        headers: further ones.
    """
    tag = f'"{hashlib.sha256(contents).hexdigest()[:32]}"'
    cache = FOREVER if given_version == version else "private, no-cache"
    all_headers = {"etag": tag, "cache-control": cache, **(headers or {})}
    if asked is not None and tag in [part.strip().removeprefix("W/") for part in asked.split(",")]:
        return Response(status_code=304, headers=all_headers)
    return Response(contents, headers=all_headers, media_type=picture_type(contents)[0])


def file_headers(item: Item, contents: bytes) -> dict[str, str]:
    """Return the headers with which an untrusted file is sent: under a plain name, and in a box without rights."""
    media_type, suffix = picture_type(contents)
    kind = "attachment" if media_type == _UNKNOWN[0] else "inline"
    return {
        "content-disposition": f'{kind}; filename="photo-{item.id}.{suffix}"',
        "content-security-policy": "default-src 'none'; sandbox",
    }


def view_of(contents: bytes, box: tuple[int, int, int, int] | None = None, side: int = VIEW_SIDE) -> bytes:
    """Return a photo, or a region of it, as an upright JPEG of at most `side` pixels; raises ValueError if it is none."""
    picture = read_picture(contents, PhotoReading())
    pixels: Any = turn_upright(picture.pixels, picture.orientation)
    if box is not None:
        left, top, right, bottom = (value // picture.factor for value in box)
        pixels = pixels[top : max(bottom, top + 1), left : max(right, left + 1)]
    view = Image.fromarray(pixels)
    view.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return encode_jpeg(np.asarray(view), VIEW_QUALITY)
