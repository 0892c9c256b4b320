"""A car painted on the canvas: the shapes of its model in the colours of the shot."""

from functools import cache
from itertools import accumulate, pairwise

import numpy as np
from PIL import Image, ImageDraw

from pairlens.data.minicars.bodywork import behind, bumpers, cabin, doors, fittings, grille, mirror, shading, shell
from pairlens.data.minicars.canvas import Canvas, Colour, ColourWithAlpha
from pairlens.data.minicars.car_models import CarModel
from pairlens.data.minicars.details import arches, headlamp, tail_lamp, wheels
from pairlens.data.minicars.geometry import Frame, Ink, Outline
from pairlens.data.minicars.pose import Pose

# The parts from back to front.
_PARTS = (
    behind, shell, shading, cabin, doors, fittings, bumpers, grille, headlamp, tail_lamp, arches, mirror
)  # fmt: skip
_PAINTS: tuple[Colour, ...] = (
    (200, 46, 48), (232, 92, 60), (244, 168, 52), (246, 208, 88), (112, 160, 84), (46, 112, 92), (84, 176, 176),
    (66, 134, 196), (38, 70, 128), (108, 84, 148), (196, 120, 148), (236, 232, 222), (198, 204, 210), (128, 136, 146),
    (62, 68, 78), (116, 78, 60), (206, 186, 154), (150, 40, 72),
)  # fmt: skip
_ROOFS: tuple[Colour, ...] = ((244, 242, 234), (46, 50, 58), (226, 206, 172))
_RIMS: tuple[Colour, ...] = ((214, 218, 224), (176, 182, 190), (236, 232, 220), (148, 150, 156))
_SEATS: tuple[Colour, ...] = ((150, 92, 62), (64, 60, 66), (214, 198, 172))


def paint_car(canvas: Canvas, pose: Pose, model: CarModel) -> None:
    """Paint a car model in random colours."""
    colours = _colours(canvas)
    angles = canvas.rng.uniform(0, 2 * np.pi, 2)
    shapes = [*_body_shapes(model), *wheels(model, (angles[0], angles[1]))]
    polygons = _to_canvas(shapes, pose)
    _fill(canvas.image, [pair for pair in polygons if pair[0].layer == "behind"], colours)
    # The layer "skin" (roof, windows, lamps, shading) is painted on a separate picture and pasted through a mask of the
    # layer "body", so its shapes may be drawn roughly beyond the edge of the car.
    skin = Image.new("RGB", canvas.image.size, colours["paint"][:3])
    _fill(skin, [pair for pair in polygons if pair[0].layer == "skin"], colours)
    mask = Image.new("L", canvas.image.size)
    for shape, corners in polygons:
        if shape.layer == "body":
            ImageDraw.Draw(mask).polygon(corners, fill=255)
    canvas.image.paste(skin, mask=mask)
    _fill(canvas.image, [pair for pair in polygons if pair[0].layer == "front"], colours)


@cache
def _body_shapes(model: CarModel) -> tuple[Outline, ...]:
    """Return the shapes of a car without its wheels, from back to front."""
    frame = Frame(model)
    return tuple(shape for part in _PARTS for shape in part(frame))


def _to_canvas(shapes: list[Outline], pose: Pose) -> list[tuple[Outline, list[float]]]:
    """Return each shape with its corners in pixels, as Pillow takes them: x, y, x, y, ..."""
    # All points of all shapes, (point, 2), are mapped at once, which is faster than shape by shape.
    points = np.concatenate([shape.points for shape in shapes])
    flat = pose.to_pixels(points).ravel().tolist()
    ends = list(accumulate((2 * len(shape.points) for shape in shapes), initial=0))
    return [(shape, flat[start:end]) for shape, (start, end) in zip(shapes, pairwise(ends), strict=True)]


def _fill(
    picture: Image.Image, polygons: list[tuple[Outline, list[float]]], colours: dict[Ink, ColourWithAlpha]
) -> None:
    opaque = ImageDraw.Draw(picture)
    translucent = ImageDraw.Draw(picture, "RGBA")
    for shape, corners in polygons:
        colour = colours[shape.ink]
        brush = opaque if colour[3] == 255 else translucent
        brush.polygon(corners, fill=colour)


def _colours(canvas: Canvas) -> dict[Ink, ColourWithAlpha]:
    """Return a random colour for each ink; none depends on the model."""
    lit = canvas.lit
    lamps_on = canvas.time_of_day.lamps_on
    paint = canvas.pick(_PAINTS)
    roof = canvas.pick(_ROOFS) if canvas.rng.random() < 0.28 else paint
    # Glass reflects the sky at the horizon.
    red, green, blue = (
        int(0.28 * air + 0.72 * dark) for air, dark in zip(canvas.time_of_day.horizon, (38, 50, 68), strict=True)
    )
    return {
        "paint": lit(paint), "roof": lit(roof), "rim": lit(canvas.pick(_RIMS)), "seat": lit(canvas.pick(_SEATS)),
        "glass": (red, green, blue, 255), "inside": (16, 20, 30, 150), "glare": (255, 255, 255, 58),
        "shade": (8, 10, 34, 44), "light": (255, 255, 255, int(canvas.rng.integers(50, 110))),
        "line": (10, 12, 24, 130), "trim": lit((44, 47, 54)), "chrome": lit((226, 230, 234)),
        "lens": lit((250, 236, 226)), "lamp": (255, 246, 206, 255) if lamps_on else lit((246, 244, 226)),
        "signal": lit((246, 160, 54)), "tail": (255, 74, 60, 255) if lamps_on else lit((206, 40, 44)),
        "well": (18, 19, 24, 255), "tyre": lit((36, 37, 42)), "wall": lit((54, 56, 62)), "hollow": lit((52, 54, 62)),
    }  # fmt: skip
