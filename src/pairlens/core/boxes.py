"""The bounding box of what a photo shows."""

from dataclasses import dataclass

# (x_1, y_1, x_2, y_2) in pixels from the top left corner; x_2 and y_2 are exclusive.
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class ShareBox:
    """A bounding box as shares of the width and of the height of its photo, from 0 to 1.

    >>> ShareBox(0.25, 0.0, 0.75, 1.0).pixels(width=400, height=300)
    (100, 0, 300, 300)
    """

    left: float
    top: float
    right: float
    bottom: float

    def pixels(self, width: int, height: int) -> Box:
        """Return the box in pixels of a photo of this size."""
        across = round(self.left * width), round(self.right * width)
        down = round(self.top * height), round(self.bottom * height)
        return across[0], down[0], across[1], down[1]


class BoxOutsideError(ValueError):
    """No pixel of a box lies inside its picture."""
