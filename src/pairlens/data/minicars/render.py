"""Pictures of car models, drawn from a model number and a shot number."""

import io
from dataclasses import replace

import numpy as np
from PIL import Image, ImageFilter

from pairlens.data.minicars.canvas import TIMES_OF_DAY, Canvas
from pairlens.data.minicars.car import paint_car
from pairlens.data.minicars.car_models import CLASSES, CarModel, class_name, model_of
from pairlens.data.minicars.pose import paint_road, paint_shadow, random_pose
from pairlens.data.minicars.scene import paint_background, paint_foreground, paint_sky

__all__ = ["CLASSES", "SHOTS", "CarModel", "class_name", "draw", "model_of", "photograph"]

SHOTS: int = 20
_SEED = 196
# The canvas has three times the side of the picture; reducing it smooths the edges of all shapes.
_SUPERSAMPLING = 3


def draw(model: int, shot: int, size: int = 108) -> Image.Image:
    """Draw a picture of a car model as RGB of `size` × `size` pixels; the same numbers give the same picture.

    The model determines the shape of the car. Everything else (paint, light, background, pose, camera) is random and
    depends on the shot, so it says nothing about the class.

    >>> draw(3, 0, size=64).size
    (64, 64)

    Raises:
        ValueError: if there is no such model, the shot is negative, or the size is below 1.
    """
    return _render(model, shot, size)[0]


def photograph(model: int, shot: int, size: int = 108) -> bytes:
    """Return `draw(model, shot, size)` as a JPEG file of a random quality from 60 to 95.

    Raises:
        ValueError: if there is no such model, the shot is negative, or the size is below 1.
    """
    picture, rng = _render(model, shot, size)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=int(rng.integers(60, 96)))
    return file.getvalue()


def _render(model: int, shot: int, size: int) -> tuple[Image.Image, np.random.Generator]:
    """Paint a picture from back to front; return it with the generator, which also draws the JPEG quality.

    The order of the random numbers defines the data set, so no call may be added, removed or moved.
    """
    if shot < 0 or size < 1:
        raise ValueError(f"cannot draw shot {shot} at size {size}; use a shot of 0 or more and a size of 1 or more")
    car = model_of(model)
    rng = np.random.default_rng([_SEED, model, shot])
    side = size * _SUPERSAMPLING
    time_of_day = TIMES_OF_DAY[rng.choice(len(TIMES_OF_DAY), p=(0.26, 0.2, 0.18, 0.16, 0.12, 0.08))]
    far = Canvas.with_sky(time_of_day, side, rng)
    # The same picture without haze, for what is near: the road, the car and the foreground.
    near = replace(far, haze=0.0)
    pose = random_pose(rng, car.length, side)
    road_depth = rng.uniform(0.04, 0.13)
    horizon = pose.origin[1] / side - road_depth
    paint_sky(far)
    ground = paint_background(far, horizon)
    paint_road(near, pose, road_depth, ground)
    paint_shadow(near, pose)
    paint_car(near, pose, car)
    paint_foreground(near, pose.origin[1] / side)
    return _apply_camera(near.image.reduce(_SUPERSAMPLING), rng), rng


def _apply_camera(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Apply blur, colour cast, exposure, contrast, a brightness gradient and grain, all random."""
    if rng.random() < 0.25:
        # The radius grows with the picture, so every size is equally sharp.
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.5) * picture.width / 108))
    pixels = np.asarray(picture, np.float32)  # (height, width, 3)
    contrast = rng.uniform(0.88, 1.16)
    gain = contrast * rng.uniform(0.92, 1.08, 3) * rng.uniform(0.84, 1.16)  # (3,): colour cast and exposure
    across, down = rng.uniform(-0.16, 0.16, 2)
    ramp = np.linspace(-1, 1, picture.width)
    # (height, width, 1): a plane of brightness. The picture is square, so one ramp serves both directions.
    gradient = (1 + across * ramp + down * ramp[:, None])[:, :, None].astype(np.float32)
    grain = rng.standard_normal((*pixels.shape[:2], 1), dtype=np.float32) * np.float32(rng.uniform(0, 5))
    # Contrast is stretched around the middle grey 128.
    exposed = pixels * gain.astype(np.float32) + np.float32(128 * (1 - contrast))
    pixels_out = exposed * gradient + grain
    return Image.fromarray(pixels_out.clip(0, 255).astype(np.uint8))
