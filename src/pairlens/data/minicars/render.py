"""Minicars: a drawn data set of fine-grained car models, made on the spot from numbers alone."""

import io
from dataclasses import replace

import numpy as np
from PIL import Image, ImageFilter

from pairlens.data.minicars.canvas import HOURS, Canvas
from pairlens.data.minicars.car import paint_car
from pairlens.data.minicars.car_models import CLASSES, CarModel, class_name, model_of
from pairlens.data.minicars.pose import paint_road, paint_shadow, strike_pose
from pairlens.data.minicars.scene import paint_foreground, paint_place, paint_sky

__all__ = ["CLASSES", "SHOTS", "CarModel", "class_name", "draw", "model_of", "photograph"]

SHOTS: int = 20
_SEED = 196
_SUPERSAMPLING = 3


def draw(model: int, shot: int, size: int = 108) -> Image.Image:
    """Draw one photograph of a car model as RGB, `size` pixels square; the same numbers give the same picture.

    All but the car's shape (paint, light, place, pose, lens) is drawn anew for each shot, whatever the model.

    >>> draw(3, 0, size=64).size
    (64, 64)

    Raises:
        ValueError: There is no such model, the shot is negative, or the size is not positive.
    """
    return _shoot(model, shot, size)[0]


def photograph(model: int, shot: int, size: int = 108) -> bytes:
    """Give `draw(model, shot, size)` as JPEG bytes, of a quality from 60 to 95 that is the shot's own.

    Raises:
        ValueError: There is no such model, the shot is negative, or the size is not positive.
    """
    picture, rng = _shoot(model, shot, size)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=int(rng.integers(60, 96)))
    return file.getvalue()


def _shoot(model: int, shot: int, size: int) -> tuple[Image.Image, np.random.Generator]:
    """Paint the picture from the sky forwards and develop it; the generator goes on to the file."""
    if shot < 0 or size < 1:
        raise ValueError(f"cannot draw shot {shot} at size {size}: shots count from 0, sizes from 1 pixel")
    car = model_of(model)
    rng = np.random.default_rng([_SEED, model, shot])
    side = size * _SUPERSAMPLING
    hour = HOURS[rng.choice(len(HOURS), p=(0.26, 0.2, 0.18, 0.16, 0.12, 0.08))]
    far = Canvas.under(hour, side, rng)
    near = replace(far, haze=0.0)
    pose = strike_pose(rng, car.length, side)
    depth = rng.uniform(0.04, 0.13)
    horizon = pose.foot[1] / side - depth
    paint_sky(far)
    paint_road(near, pose, depth, paint_place(far, horizon))
    paint_shadow(near, pose)
    paint_car(near, pose, car)
    paint_foreground(near, pose.foot[1] / side)
    return _develop(near.canvas.reduce(_SUPERSAMPLING), rng), rng


def _develop(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Take the picture through a lens: blur, tint, exposure, contrast, a slope of light, grain."""
    if rng.random() < 0.25:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.5) * picture.width / 108))
    pixels = np.asarray(picture, np.float32)
    contrast = rng.uniform(0.88, 1.16)
    gain = contrast * rng.uniform(0.92, 1.08, 3) * rng.uniform(0.84, 1.16)
    across, down = rng.uniform(-0.16, 0.16, 2)
    ramp = np.linspace(-1, 1, picture.width)
    slope = (1 + across * ramp + down * ramp[:, None])[:, :, None].astype(np.float32)
    grain = rng.standard_normal((*pixels.shape[:2], 1), dtype=np.float32) * np.float32(rng.uniform(0, 5))
    pixels = (pixels * gain.astype(np.float32) + np.float32(128 * (1 - contrast))) * slope + grain
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
