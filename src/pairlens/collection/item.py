"""The records of a collection: a photo to be added, and a photo that the collection holds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from unicodedata import normalize

from pairlens.core.untrusted import is_plain_text

# What a value of the metadata may be: a JSON object without further objects or lists.
Value: TypeAlias = str | int | float | bool | None

MAX_TEXT = 1 << 12
MAX_KEYS = 256
# Whole numbers beyond this have no exact form in JSON as other programs read it.
MAX_WHOLE = 1 << 53
# Characters that have a meaning in the paths by which databases address a key of a JSON object.
_RESERVED = frozenset("\"'\\[]{}$")


@dataclass(frozen=True)
class Region:
    """A rectangle of a photo, in pixels of the upright photo; x and y are its upper left corner.

    >>> Region(10, 20, 30, 40).box
    (10, 20, 40, 60)
    """

    x: int
    y: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if min(self.x, self.y) < 0 or min(self.width, self.height) < 1 or max(self.box) >= 1 << 31:
            raise ValueError(
                f"the region x={self.x} y={self.y} width={self.width} height={self.height} is no rectangle inside a photo; "
                "x and y begin at 0, width and height at 1"
            )

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The region as (x_1, y_1, x_2, y_2); x_2 and y_2 are exclusive."""
        return self.x, self.y, self.x + self.width, self.y + self.height


@dataclass(frozen=True, eq=False)
class NewItem:
    """A photo, or a region of one, that is about to be added.

    Attributes:
        root: the absolute folder that `path` is relative to; empty if the photo is no file, or `path` is a URI.
        path: where the photo is, with forward slashes, in NFC; with root, region and collection it names the item.
        digest: SHA-256 of the bytes of the file, in hexadecimal digits; of pixels without a file, of the pixels.
        region: the part of the photo that is embedded; None for the whole photo.
        label: its class, in NFC; None if unknown.
        metadata: further values by name, see `checked_metadata`.
        width: of the upright photo in pixels; 0 if there are no pixels, as for vectors that were computed elsewhere.
        height: of the upright photo in pixels.
        look: 64 bits that are alike for the same picture in another encoding, see `pairlens.collection.look`.
        thumbnail: JPEG of at most 256 pixels; empty if there are no pixels.
        original: the bytes of the file if the collection is to keep them, as for uploaded photos; else empty.
    """

    root: str
    path: str
    digest: str
    region: Region | None = None
    label: str | None = None
    metadata: Mapping[str, Value] = field(default_factory=dict)
    width: int = 0
    height: int = 0
    look: int = 0
    thumbnail: bytes = b""
    original: bytes = b""


@dataclass(frozen=True)
class Item:
    """A photo, or a region of one, that a collection holds; the attributes are those of `NewItem`, and:

    Attributes:
        id: its number, from 1; a number is never used again.
        added: when it was added, in seconds since 1970.
        has_original: whether the collection keeps the bytes of the file.
    """

    id: int
    root: str
    path: str
    digest: str
    region: Region | None
    label: str | None
    metadata: Mapping[str, Value]
    width: int
    height: int
    look: int
    added: float
    has_original: bool = False

    @property
    def file(self) -> str:
        """The path with its root in front, which opens the photo where it was indexed."""
        return f"{self.root}/{self.path}" if self.root else self.path


def checked_metadata(metadata: Mapping[str, Any]) -> dict[str, Value]:
    """Return metadata as a collection stores them, texts and keys in NFC.

    Args:
        metadata: by name, texts, whole numbers up to 2^53, finite numbers, truth values or None.

    Raises:
        ValueError: naming the key whose name or value cannot be stored.

    >>> checked_metadata({"price": 3, "sold": False})
    {'price': 3, 'sold': False}
    """
    if not isinstance(metadata, Mapping):
        raise ValueError(f"metadata are a mapping such as {{'price': 3}}, not a {type(metadata).__name__}")
    if len(metadata) > MAX_KEYS:
        raise ValueError(f"the metadata have {len(metadata)} keys, but at most {MAX_KEYS} are stored for a photo")
    return {checked_key(key): _checked_value(key, value) for key, value in metadata.items()}


def checked_key(key: Any) -> str:
    """Return the name of a metadata value in NFC; raises ValueError if it is empty, long or has reserved characters."""
    if not isinstance(key, str) or not 0 < len(key) <= 64 or not is_plain_text(key) or _RESERVED & set(key):
        raise ValueError(
            f"the metadata key {str(key)[:80]!r} cannot be stored; a key is a text of 1 to 64 characters without quotes, "
            "brackets, braces, $, backslashes and control characters"
        )
    return normalize("NFC", key)


def _checked_value(key: str, value: Any) -> Value:
    # Scalars of NumPy and Arrow become Python's own.
    value = value.item() if hasattr(value, "item") and not isinstance(value, str) else value
    match value:
        case None | bool():
            return value
        case str() if len(value) <= MAX_TEXT and is_plain_text(value.replace("\n", " ").replace("\t", " ")):
            # Filters are composed, too; else a decomposed text would never be found.
            return normalize("NFC", value)
        case int() if abs(value) <= MAX_WHOLE:
            return value
        case float() if math.isfinite(value):
            return value
    raise ValueError(
        f"the metadata value of {key!r} is {str(value)[:80]!r}, which cannot be stored; give a text of at most {MAX_TEXT:,} "
        "characters, a finite number, a truth value or nothing"
    )
