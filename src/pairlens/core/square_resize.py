"""Resizing of photos to squares: by torch where it is loaded, and by NumPy to the same pixels where it is not."""

import sys

import numpy as np

# torch multiplies bytes by weights that are whole numbers of 16 bits, and adds them up in 32 bits.
_WEIGHT_LIMIT = 1 << 15
_MAX_BITS = 22


def resize_to_square(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize (height, width, 3) to (size, size, 3), bilinear with antialiasing; the aspect ratio is not kept."""
    if pixels.shape[:2] == (size, size):
        return pixels
    # Both give the same pixels. torch is faster, but a process that has no other use for it, such as one that runs an ONNX
    # model, would wait two seconds for its import.
    if "torch" in sys.modules:
        return resize_by_torch(pixels, size, size)
    return resize_by_numpy(pixels, size)


def resize_by_torch(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize pixels as `resize_to_square` does, to (height, width, 3), computed by torch."""
    # torchvision takes longer to import than PyTorch itself, and most commands resize no photo.
    import torch
    from torchvision.transforms.v2 import functional

    # torch does not share memory that nobody may write into, such as that of a Pillow picture.
    owned = pixels if pixels.flags.writeable else pixels.copy()
    # torch resizes (3, height, width); the permuted view is not copied.
    planes = functional.resize(torch.from_numpy(owned).permute(2, 0, 1), [height, width], antialias=True)
    return planes.permute(1, 2, 0).numpy()


def resize_by_numpy(pixels: np.ndarray, size: int) -> np.ndarray:
    """Return the result of `resize_to_square`, computed by NumPy.

    It repeats the arithmetic of torch's kernel for bytes on processors with AVX2, to the last bit: first the width, then the
    height, each rounded to bytes. On other processors torch computes in floats, and single values differ by one level.

    >>> resize_by_numpy(np.arange(12, dtype=np.uint8).reshape(2, 2, 3), 1).tolist()
    [[[5, 6, 7]]]
    """
    # (height, width, 3) to (width, height, 3), whose rows are contiguous, and back.
    narrow = _resize_rows(pixels.transpose(1, 0, 2), size).transpose(1, 0, 2)
    return _resize_rows(narrow, size)


def _resize_rows(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize the first axis of (row, column, 3) to `size` rows."""
    if len(pixels) == size:
        return pixels
    taps, weights, bits = _row_weights(len(pixels), size)
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1)  # (row, column · 3)
    # Half of the divisor, so that the shift to the right rounds to the nearest level.
    total = np.full((size, rows.shape[1]), 1 << (bits - 1), np.int32)
    for tap, weight in zip(taps.T, weights.T, strict=True):
        total += np.multiply(rows[tap], weight[:, None], dtype=np.int32)
    return np.clip(total >> bits, 0, 255).astype(np.uint8).reshape(size, *pixels.shape[1:])


def _row_weights(rows: int, size: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return of each new row the old rows that it is made of, their weights as whole numbers, and the bits of a weight 1.

    Shapes:
        result: two arrays (size, tap), and a number.
    """
    scale = rows / size
    # A triangle around the centre of the new row; as wide as the new row, but at least as two old ones.
    support = max(scale, 1.0)
    center = scale * (np.arange(size) + 0.5)
    first = np.maximum((center - support + 0.5).astype(np.int64), 0)
    count = np.minimum((center + support + 0.5).astype(np.int64), rows) - first
    taps = first[:, None] + np.arange(count.max())
    triangle = np.maximum(1 - np.abs((taps - center[:, None] + 0.5) * (1 / support)), 0)
    triangle[np.arange(count.max()) >= count[:, None]] = 0
    shares = triangle / triangle.sum(axis=1, keepdims=True)
    largest = shares.max()
    bits = max(b for b in range(_MAX_BITS + 1) if b == 0 or int(0.5 + largest * (1 << b)) < _WEIGHT_LIMIT)
    weights = (shares * (1 << bits) + 0.5).astype(np.int32)
    # Taps beyond the last row have the weight 0.
    return np.minimum(taps, rows - 1), weights, bits
