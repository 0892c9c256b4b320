"""Conversion of pixels with an embedded RGB profile (Display P3, Adobe RGB, ProPhoto) to sRGB."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

# A profile that moves no colour by more than this many of 255 levels is sRGB under another name.
_SAME_LEVELS = 2
_PROFILES_KEPT = 64
MAX_PROFILE_BYTES = 1 << 22


def to_srgb(pixels: np.ndarray, profile: bytes) -> np.ndarray:
    """Return RGB pixels in sRGB; the same array if the profile is sRGB, is not one of RGB, or is damaged.

    Colours outside sRGB are cut to it (relative colorimetric intent).

    Shapes:
        pixels, result: uint8 (height, width, 3).
    """
    transform = _transform(profile) if len(profile) <= MAX_PROFILE_BYTES else None
    return pixels if transform is None else _apply(transform, pixels)


@lru_cache(_PROFILES_KEPT)
def _transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """Return the conversion of a profile to sRGB, None if the pixels can stay as they are."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != "RGB":  # pyright: ignore[reportAttributeAccessIssue]
            return None
        target = ImageCms.createProfile("sRGB")
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        transform = ImageCms.buildTransform(source, target, "RGB", "RGB", intent)
        probe = _probe()
        difference = _apply(transform, probe).astype(int) - probe
    # The profile may come from anyone; without a usable one the numbers are taken as sRGB, as every viewer does.
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None
    return transform if np.abs(difference).max() > _SAME_LEVELS else None


def _probe() -> np.ndarray:
    """Return 9 × 9 × 9 colours that are spread over all of RGB, as pixels (27, 27, 3)."""
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    return np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)


def _apply(transform: ImageCms.ImageCmsTransform, pixels: np.ndarray) -> np.ndarray:
    # `apply` and not `applyTransform`, which would look for a profile in the picture.
    return np.array(transform.apply(Image.fromarray(pixels)))
