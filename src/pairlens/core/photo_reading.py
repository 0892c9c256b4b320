"""How the files of photos become pixels; one record for all photos of a data set."""

from dataclasses import dataclass, field
from typing import Literal

from pairlens.core.deep_pixels import Depth

BoxFrame = Literal["upright", "stored"]


@dataclass(frozen=True)
class PhotoReading:
    """How the files of photos become pixels.

    Attributes:
        convert_colours: whether pixels with an embedded RGB profile are converted to sRGB.
        box_frame: whether boxes refer to the upright photo or to the pixels as they are stored, before the EXIF turn.
        depth: what is white in pictures of more than 8 bits.
    """

    convert_colours: bool = True
    box_frame: BoxFrame = "upright"
    depth: Depth = field(default=Depth(), metadata={"omit_default": True})
