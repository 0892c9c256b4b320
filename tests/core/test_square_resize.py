"""Resizing by torch and by NumPy: the same pixels; and not far from Pillow's."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from pairlens.core.square_resize import resize_by_numpy, resize_by_torch, resize_to_square

# torch has the kernel for bytes where the processor has AVX2; elsewhere it computes in floats.
LEVELS = 0 if torch.backends.cpu.get_cpu_capability().startswith("AVX") else 1
# Smaller, larger, only one side changed, one row, far too wide.
SHAPES = [(50, 33), (33, 50), (8, 9), (24, 60), (60, 24), (1, 7), (3, 400), (701, 5)]


def noise(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def gradient(height, width):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 3 % 256, columns * 2 % 256, (rows + columns) % 256], axis=2).astype(np.uint8)


@pytest.mark.parametrize("draw", [noise, gradient])
@pytest.mark.parametrize("shape", SHAPES)
def test_numpy_computes_the_pixels_of_torch(shape, draw):
    pixels = draw(*shape)
    ours, theirs = resize_by_numpy(pixels, 24), resize_by_torch(pixels, 24, 24)
    assert ours.shape == (24, 24, 3)
    assert ours.dtype == np.uint8
    assert np.abs(ours.astype(int) - theirs).max() <= LEVELS


def test_one_channel_is_the_weighted_mean_of_its_neighbours():
    """The plain formula: a triangle as wide as two new pixels around the centre of each."""
    row = np.array([10, 200, 60, 90, 30, 255], dtype=np.uint8)
    size, scale = 2, 3.0
    expected = []
    for place in range(size):
        center = scale * (place + 0.5)
        weights = [max(0.0, 1 - abs((i + 0.5 - center) / scale)) for i in range(len(row))]
        expected.append(sum(w * float(v) for w, v in zip(weights, row, strict=True)) / sum(weights))
    pixels = np.repeat(row[None, :, None], 3, axis=2).repeat(2, axis=0)  # (2, 6, 3)
    assert np.abs(resize_by_numpy(pixels, size)[0, :, 0] - expected).max() <= 0.51


@pytest.mark.parametrize("resize", [resize_by_numpy, lambda pixels, size: resize_by_torch(pixels, size, size)])
def test_resizing_differs_from_pillow_by_at_most_one_level(resize):
    pixels = gradient(83, 111)
    expected = np.asarray(Image.fromarray(pixels).resize((40, 40), Image.Resampling.BILINEAR), dtype=int)
    assert np.abs(resize(pixels, 40) - expected).max() <= 1
    window = pixels[:, 3:70]
    assert np.array_equal(resize(window, 40), resize(np.ascontiguousarray(window), 40))


def test_torch_is_used_where_it_is_loaded(monkeypatch):
    pixels = noise(30, 20)
    assert np.array_equal(resize_to_square(pixels, 8), resize_by_torch(pixels, 8, 8))
    monkeypatch.delitem(sys.modules, "torch")
    assert np.array_equal(resize_to_square(pixels, 8), resize_by_numpy(pixels, 8))
    assert "torch" not in sys.modules
    square = noise(8, 8)
    assert resize_to_square(square, 8) is square
