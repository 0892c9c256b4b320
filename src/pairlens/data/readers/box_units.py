"""The unit of the boxes of a table or of records: pixels, or shares of width and height."""

from collections.abc import Sequence

from pairlens.core.boxes import Box, ShareBox

Corners = tuple[float, float, float, float]


def boxes_in_one_unit(listed: Sequence[tuple[str, Corners | None]]) -> list[Box | ShareBox | None]:
    """Return boxes in pixels, rounded; or as shares, if every box lies within 0 to 1.

    Args:
        listed: for each row, what it is called in messages, and its corners (x_1, y_1, x_2, y_2) if it has a box.

    Raises:
        ValueError: if some boxes lie within 0 to 1 and others do not; the message names a row of each kind.

    >>> boxes_in_one_unit([("row 1", (0.0, 0.25, 0.5, 1.0)), ("row 2", None)])
    [ShareBox(left=0.0, top=0.25, right=0.5, bottom=1.0), None]
    """
    given = [(row, corners) for row, corners in listed if corners is not None]
    shares = [(row, corners) for row, corners in given if all(0 <= value <= 1 for value in corners)]
    if shares and len(shares) < len(given):
        other = next(row for row, corners in given if not all(0 <= value <= 1 for value in corners))
        row, corners = shares[0]
        raise ValueError(
            f"{row}: the box {', '.join(f'{value:g}' for value in corners)} lies within 0 to 1, as shares of width and "
            f"height do, but that of {other} is in pixels; give all boxes in one unit"
        )
    convert = _as_shares if shares else _as_pixels
    return [None if corners is None else convert(corners) for _, corners in listed]


def _as_shares(corners: Corners) -> ShareBox:
    return ShareBox(*corners)


def _as_pixels(corners: Corners) -> Box:
    left, top, right, bottom = corners
    return round(left), round(top), round(right), round(bottom)
