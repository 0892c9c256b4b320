"""The passes in which a network that is not trained computes a batch on a CPU: as many photos as its caches can use."""

from typing import TYPE_CHECKING

# A model in an ONNX file is used without PyTorch.
if TYPE_CHECKING:
    from torch import Tensor

# The maps of more photos do not fit into the caches of a processor, and the C library gives blocks of their size back to the
# system after every layer, which clears them for the next one.
PIXELS = 16 * 128**2


def photos_of_a_pass(height: int, width: int) -> int:
    """Return how many photos of a size a network sees at a time.

    >>> photos_of_a_pass(128, 128), photos_of_a_pass(224, 224), photos_of_a_pass(1000, 1000)
    (16, 5, 1)
    """
    return max(1, PIXELS // max(1, height * width))


def passes_of(photos: "Tensor") -> "tuple[Tensor, ...]":
    """Return a batch in the parts that a network computes one after the other.

    An accelerator gets the whole batch, and so do layers whose input are no photos but vectors.

    Shapes:
        photos: (photo, 3, height, width); the parts are (at most `photos_of_a_pass`, 3, height, width), one at least.

    >>> import torch
    >>> [len(part) for part in passes_of(torch.zeros(40, 3, 128, 128))]
    [16, 16, 8]
    """
    if photos.ndim != 4 or photos.device.type != "cpu":
        return (photos,)
    return tuple(photos.split(photos_of_a_pass(photos.shape[2], photos.shape[3])))
