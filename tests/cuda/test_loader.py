"""Photos in pinned memory: the same pixels, and a copy to the GPU that does not block."""

from dataclasses import replace

import pytest
import torch

from pairlens.data.catalog import Catalog
from pairlens.data.loader import TestBatches, TrainingBatches
from pairlens.data.sampler import ClassBatches


@pytest.fixture
def catalog(data_path):
    return Catalog.open(data_path / "bars" / "uncropped.arrow").select("train")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("augment", ["standard", "random_resized_crop"])
def test_pinned_batches_have_the_pixels_of_others(catalog, augment, workers, device):
    sampler = ClassBatches(catalog.labels, 8, 4, seed=0)
    plain = TrainingBatches(catalog, sampler, image_size=32, augment=augment, workers=workers)
    pinned = replace(plain, pin=device.type == "cuda")
    assert_same(plain.epoch(1), pinned.epoch(1), device)


@pytest.mark.parametrize("workers", [0, 2])
def test_pinned_test_batches_have_the_pixels_of_others(catalog, workers, device):
    plain = TestBatches(catalog, 32, batch_size=7, workers=workers)
    assert_same(plain, replace(plain, pin=device.type == "cuda"), device)


def assert_same(plain, pinned, device):
    batches = list(zip(plain, pinned, strict=True))
    assert batches
    for one, other in batches:
        assert [part.is_pinned() for part in other[:2]] == [device.type == "cuda"] * 2
        assert other.photos.is_contiguous(memory_format=torch.channels_last)
        for here, there in zip(one, other, strict=True):
            assert torch.equal(here, there)
            assert torch.equal(here, there.to(device, non_blocking=True).cpu())


def test_a_pinned_batch_is_copied_without_blocking(catalog, device, no_waiting):
    batches = TestBatches(catalog, 32, batch_size=8, workers=0, pin=device.type == "cuda")
    with no_waiting():
        there = [[part.to(device, non_blocking=True) for part in batch[:2]] for batch in batches]
    assert torch.equal(torch.cat([labels for _, labels in there]).cpu(), catalog.labels)
    assert all(photos.is_contiguous(memory_format=torch.channels_last) for photos, _ in there)
