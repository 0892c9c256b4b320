"""The range that the photos of a data set use, if they have more than 8 bits."""

from collections.abc import Iterable
from pathlib import Path

from pairlens.core.deep_pixels import DeepKind, Depth, read_largest_value, white_of
from pairlens.core.threads import map_in_order
from pairlens.data.annotations import Annotations

# Files of other formats have 8 bits, or are read with 8. Opening each of a million JPEGs would take minutes.
_DEEP_SUFFIXES = frozenset(
    (".png", ".apng", ".tif", ".tiff", ".pgm", ".ppm", ".pnm", ".pfm", ".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c")
)
_AHEAD = 8


def find_depth(annotations: Annotations, cores: int) -> Depth:
    """Return what is white in the pictures of more than 8 bits: the end of the smallest usual range that holds them all.

    Each such picture is decoded once for this. One range for all photos keeps a dark photo dark.
    """
    paths = {photo.path for photo in annotations.photos if Path(photo.path).suffix.lower() in _DEEP_SUFFIXES}
    files = [annotations.root / path for path in sorted(paths)]
    found = [largest for largest in map_in_order(read_largest_value, files, cores, _AHEAD) if largest is not None]
    return Depth(integers=_white("integers", found), floats=_white("floats", found))


def _white(kind: DeepKind, found: Iterable[tuple[DeepKind, float]]) -> float:
    values = [value for other, value in found if other == kind]
    return white_of(kind, max(values)) if values else 0.0
