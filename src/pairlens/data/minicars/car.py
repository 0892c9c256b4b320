"""A car model as inked shapes, and a photograph's paint on them."""

from functools import cache
from itertools import accumulate, pairwise

import numpy as np
from PIL import Image, ImageDraw

from pairlens.data.minicars.bodywork import behind, bumpers, cabin, doors, fittings, grille, mirror, shading, shell
from pairlens.data.minicars.canvas import Canvas, Colour, Shade
from pairlens.data.minicars.car_models import CarModel
from pairlens.data.minicars.details import arches, headlamp, tail_lamp, wheels
from pairlens.data.minicars.geometry import Frame, Ink, Outline
from pairlens.data.minicars.pose import Pose

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


def paint_car(easel: Canvas, pose: Pose, model: CarModel) -> None:
    """Paint a model's shapes and wheels, the skin through a stencil of the body."""
    inks = _inks(easel)
    angles = easel.rng.uniform(0, 2 * np.pi, 2)
    placed = _placed([*_shapes(model), *wheels(model, (angles[0], angles[1]))], pose)
    skin, stencil = Image.new("RGB", easel.canvas.size, inks["paint"][:3]), Image.new("L", easel.canvas.size)
    _fill(easel.canvas, [pair for pair in placed if pair[0].layer == "behind"], inks)
    _fill(skin, [pair for pair in placed if pair[0].layer == "skin"], inks)
    for _, path in (pair for pair in placed if pair[0].layer == "body"):
        ImageDraw.Draw(stencil).polygon(path, fill=255)
    easel.canvas.paste(skin, mask=stencil)
    _fill(easel.canvas, [pair for pair in placed if pair[0].layer == "front"], inks)


@cache
def _shapes(model: CarModel) -> tuple[Outline, ...]:
    """The car without its wheels, back to front."""
    frame = Frame(model)
    return tuple(shape for part in _PARTS for shape in part(frame))


def _placed(shapes: list[Outline], pose: Pose) -> list[tuple[Outline, list[float]]]:
    """Carry all shapes to the canvas at once, as flat lists of x and y."""
    dots = pose.place(np.concatenate([shape.points for shape in shapes])).ravel().tolist()
    ends = list(accumulate((2 * len(shape.points) for shape in shapes), initial=0))
    return [(shape, dots[start:end]) for shape, (start, end) in zip(shapes, pairwise(ends), strict=True)]


def _fill(canvas: Image.Image, placed: list[tuple[Outline, list[float]]], inks: dict[Ink, Shade]) -> None:
    opaque, sheer = ImageDraw.Draw(canvas), ImageDraw.Draw(canvas, "RGBA")
    for shape, path in placed:
        ink = inks[shape.ink]
        (opaque if ink[3] == 255 else sheer).polygon(path, fill=ink)


def _inks(easel: Canvas) -> dict[Ink, Shade]:
    """Mix this shot's colours, none of which knows the model."""
    tone, lit, paint = easel.tone, easel.hour.lit, easel.one(_PAINTS)
    roof = easel.one(_ROOFS) if easel.rng.random() < 0.28 else paint
    red, green, blue = (
        int(0.28 * air + 0.72 * dark) for air, dark in zip(easel.hour.horizon, (38, 50, 68), strict=True)
    )
    return {
        "paint": tone(paint), "roof": tone(roof), "rim": tone(easel.one(_RIMS)), "seat": tone(easel.one(_SEATS)),
        "glass": (red, green, blue, 255), "inside": (16, 20, 30, 150), "glare": (255, 255, 255, 58),
        "shade": (8, 10, 34, 44), "light": (255, 255, 255, int(easel.rng.integers(50, 110))), "line": (10, 12, 24, 130),
        "trim": tone((44, 47, 54)), "chrome": tone((226, 230, 234)), "lens": tone((250, 236, 226)),
        "lamp": (255, 246, 206, 255) if lit else tone((246, 244, 226)), "signal": tone((246, 160, 54)),
        "tail": (255, 74, 60, 255) if lit else tone((206, 40, 44)), "well": (18, 19, 24, 255),
        "tyre": tone((36, 37, 42)), "wall": tone((54, 56, 62)), "hollow": tone((52, 54, 62)),
    }  # fmt: skip
