"""Photos as people have them (files, pictures, arrays, tensors, bytes) to the pixels that evaluation gives a model."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, Union

import numpy as np
from PIL import Image

from pairlens.core.images import as_rgb, decode_one, encode, reduce_to_square
from pairlens.core.photo_reading import PhotoReading

# PyTorch takes long to import, and a process that runs an ONNX model reads photos without it.
if TYPE_CHECKING:
    from torch import Tensor

# `Union`, because the operator | does not take the name of a class that is not imported.
OnePhoto: TypeAlias = Union[str, Path, bytes, Image.Image, np.ndarray, "Tensor"]

_KINDS = (
    "a path, a PIL picture, the bytes of a picture file, a uint8 array of (height, width, 3), or a uint8 tensor of "
    "(3, height, width)"
)


@dataclass(frozen=True)
class PhotoInput:
    """How a photo becomes the pixels that a model sees, in evaluation as in `Embedder.embed`.

    `prepare` stores a photo as a square JPEG of `stored_size` pixels, and evaluation resizes that to `image_size`.
    Pixels that already are `image_size` pixels high and wide are taken as they are.

    Attributes:
        image_size: height and width of the photos that the model sees.
        stored_size: side of the stored pictures.
        quality: JPEG quality of the stored pictures.
        reading: how the files of photos become pixels, if not as usual.
    """

    image_size: int
    stored_size: int
    quality: int
    reading: PhotoReading | None = None

    def read(self, photos: Sequence[Any]) -> "Tensor":
        """Return photos as one batch of pixels with the channels last in memory; raises the errors of `read_pixels`.

        Shapes:
            result: uint8 (photo, 3, image_size, image_size).
        """
        import torch

        return torch.from_numpy(self.read_pixels(photos)).permute(0, 3, 1, 2)

    def read_pixels(self, photos: Sequence[Any]) -> np.ndarray:
        """Return photos as one batch of pixels, without PyTorch.

        Shapes:
            result: uint8 (photo, image_size, image_size, 3).

        Raises:
            FileNotFoundError: if a file does not exist.
            ValueError: if a photo is damaged, or is nothing that can be read as a photo.
        """
        batch = np.empty((len(photos), self.image_size, self.image_size, 3), np.uint8)
        for row, photo in zip(batch, photos, strict=True):
            row[:] = self._seen_pixels(photo)
        return batch

    def stored_form(self, photo: Any) -> bytes:
        """Return one photo as `prepare` stores it: a square JPEG of `stored_size` pixels; raises the errors of `read`."""
        match photo:
            case str() | Path():
                return self._stored_file(Path(photo))
            case bytes() | bytearray() | memoryview():
                return reduce_to_square(bytes(photo), self.stored_size, None, self.quality, self._reading)
            case _:
                return self._stored_pixels(pixels_of(photo, self._reading))

    @property
    def _reading(self) -> PhotoReading:
        return self.reading or PhotoReading()

    def _seen_pixels(self, photo: Any) -> np.ndarray:
        """Return one photo as (image_size, image_size, 3)."""
        if isinstance(photo, str | Path | bytes | bytearray | memoryview):
            return decode_one(self.stored_form(photo), self.image_size)
        pixels = pixels_of(photo, self._reading)
        if pixels.shape[:2] == (self.image_size, self.image_size):
            return pixels
        # Through the same JPEG as in `prepare`, so that a photo has one embedding, however it is given.
        return decode_one(self._stored_pixels(pixels), self.image_size)

    def _stored_file(self, file: Path) -> bytes:
        if file.is_dir():
            raise ValueError(f"{file} is a folder; give its picture files, as a list of paths")
        return reduce_to_square(file, self.stored_size, None, self.quality, self._reading)

    def _stored_pixels(self, pixels: np.ndarray) -> bytes:
        return encode(Image.fromarray(pixels), self.stored_size, quality=self.quality)


def single_photos(photos: Any) -> tuple[list[Any], bool]:
    """Return photos as a list of single ones, and whether they were one photo and not a list or a batch of photos.

    >>> single_photos("a.jpg"), single_photos(["a.jpg"])
    ((['a.jpg'], True), (['a.jpg'], False))
    """
    is_batch = (isinstance(photos, np.ndarray) or is_tensor(photos)) and photos.ndim == 4
    # An array of texts holds paths, and a generator, such as that of `Path.glob`, holds photos.
    is_paths = isinstance(photos, np.ndarray) and photos.ndim == 1 and photos.dtype.kind in "UO"
    if is_paths:
        return photos.tolist(), False
    if is_batch or isinstance(photos, list | tuple | Iterator):
        return list(photos), False
    return [photos], True


def is_tensor(value: Any) -> TypeGuard["Tensor"]:
    """Return whether a value is a tensor of PyTorch; nothing is in a process that has not imported PyTorch.

    >>> import torch
    >>> is_tensor(torch.zeros(2)), is_tensor(np.zeros(2))
    (True, False)
    """
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def check_batch(photos: Any) -> None:
    """Raise ValueError unless photos are a batch as a model takes it: (photo, 3, height, width), uint8 or floats."""
    if not is_tensor(photos):
        raise ValueError(
            f"a model takes a tensor (photo, 3, height, width), not a {type(photos).__name__}; `embed` takes photos in "
            "other forms"
        )
    # Floats are normalised already. Other integers would be taken for such.
    if not (photos.is_floating_point() or str(photos.dtype) == "torch.uint8") or photos.ndim != 4:
        raise ValueError(
            f"a model takes photos (photo, 3, height, width) that are uint8, or floats that are normalised already, not "
            f"{photos.dtype} of shape {tuple(photos.shape)}"
        )


def pixels_of(photo: Any, reading: PhotoReading) -> np.ndarray:
    """Return the (height, width, 3) pixels of a picture, an array or a tensor; raises ValueError if it is nothing such."""
    match photo:
        case Image.Image():
            return _pixels_of_picture(photo, reading)
        case np.ndarray():
            return _checked_array(photo)
        case _ if is_tensor(photo):
            return _checked_tensor(photo)
        case _:
            raise ValueError(f"a {type(photo).__name__} is not a photo; give {_KINDS}, or a list of these")


def _pixels_of_picture(picture: Image.Image, reading: PhotoReading) -> np.ndarray:
    try:
        return np.array(as_rgb(picture, reading))
    # Pillow reads the pixels only now, and a damaged file makes its decoders raise errors of many types.
    except Exception as error:
        raise ValueError(f"the PIL picture cannot be read ({error}); replace or remove it") from error


def _checked_array(array: np.ndarray) -> np.ndarray:
    """Return a (height, width, 3) or grey (height, width) array as (height, width, 3)."""
    _check_type(array.dtype == np.uint8, "array", array.dtype)
    colours = np.repeat(array[:, :, None], 3, axis=2) if array.ndim == 2 else array
    if colours.ndim != 3 or colours.shape[2] != 3 or not colours.size:
        raise ValueError(
            f"an array of shape {array.shape} is not a photo; give (height, width, 3), grey (height, width), or several "
            "photos as (photo, height, width, 3)"
        )
    return np.ascontiguousarray(colours)


def _checked_tensor(tensor: "Tensor") -> np.ndarray:
    """Return a (3, height, width) tensor as a (height, width, 3) array."""
    _check_type(str(tensor.dtype) == "torch.uint8", "tensor", tensor.dtype)
    if tensor.ndim != 3 or tensor.shape[0] != 3 or not tensor.numel():
        raise ValueError(
            f"a tensor of shape {tuple(tensor.shape)} is not a photo; give (3, height, width), or several photos as "
            "(photo, 3, height, width)"
        )
    return np.ascontiguousarray(tensor.detach().cpu().permute(1, 2, 0).numpy())


def _check_type(is_uint8: bool, what: str, dtype: object) -> None:
    if not is_uint8:
        raise ValueError(f"a photo as {what} has uint8 values from 0 to 255, not {dtype}; convert it to uint8")
