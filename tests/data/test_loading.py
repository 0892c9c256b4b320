from dataclasses import replace

import numpy as np
import pytest
import torch

from pairlens.data import loading
from pairlens.data.catalog import Catalog
from pairlens.data.images import decode
from pairlens.data.loading import TestBatches, TrainingBatches
from pairlens.data.sampling import ClassBatches


@pytest.fixture
def photos(data_path):
    catalog = Catalog.open(data_path / "bars" / "uncropped.arrow").select("train")
    return TrainingBatches(catalog, ClassBatches(catalog.labels, 8, 4, seed=0), image_size=32, workers=0)


def test_a_training_batch_is_uint8_of_the_right_shape_and_labels(photos):
    for batch in photos.epoch(1):
        assert batch.photos.shape == (8, 3, 32, 32)
        assert batch.photos.dtype == torch.uint8
        assert torch.equal(batch.labels, photos.catalog.labels[batch.indices])


def test_a_standard_photo_is_a_crop_of_the_squashed_photo_maybe_flipped(photos):
    batch = next(photos.epoch(1))
    whole = decode([photos.catalog.jpeg(int(i)) for i in batch.indices], 36)
    flipped = 0
    for seen, full in zip(batch.photos, whole, strict=True):
        crops = [full[:, t : t + 32, left : left + 32] for t in range(5) for left in range(5)]
        straight = any(torch.equal(seen, c) for c in crops)
        mirrored = any(torch.equal(seen.flip(2), c) for c in crops)
        assert straight or mirrored
        flipped += not straight
    assert 0 < flipped < 8


def test_crops_and_flips_differ_between_epochs_and_photos(photos):
    first, second = (torch.cat([b.photos for b in photos.epoch(n)]) for n in (1, 2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("augment", ["standard", "random_resized_crop"])
def test_batches_do_not_depend_on_the_number_of_workers(photos, augment):
    alone = list(replace(photos, augment=augment).epoch(3))
    shared_out = list(replace(photos, augment=augment, workers=2).epoch(3))
    for a, b in zip(alone, shared_out, strict=True):
        assert torch.equal(a.photos, b.photos)
        assert torch.equal(a.indices, b.indices)


@pytest.mark.parametrize("augment", ["standard", "random_resized_crop"])
def test_the_shares_of_two_ranks_are_the_batch_and_do_not_overlap(photos, augment):
    whole = list(replace(photos, augment=augment).epoch(3))
    shares = [list(replace(photos, augment=augment, rank=rank, ranks=2).epoch(3)) for rank in range(2)]
    for batch, *parts in zip(whole, *shares, strict=True):
        for field, joined in enumerate(batch):
            assert torch.equal(torch.cat([part[field] for part in parts]), joined)
        assert [len(part.labels) for part in parts] == [4, 4]


def test_a_batch_that_cannot_be_shared_out_is_refused_with_a_size_that_can(photos):
    with pytest.raises(ValueError, match="batch_size 8 cannot be shared out evenly to 3 ranks; use 12"):
        replace(photos, ranks=3)


def test_random_resized_crop_gives_the_image_size_and_varies(photos):
    batch = next(replace(photos, augment="random_resized_crop", image_size=24).epoch(1))
    assert batch.photos.shape == (8, 3, 24, 24)
    assert np.ptp(batch.photos.float().mean(dim=(1, 2, 3)).numpy()) > 0


def test_test_batches_hold_every_photo_once_in_order(photos):
    batches = list(TestBatches(photos.catalog, image_size=36, batch_size=7, workers=0))
    assert torch.equal(torch.cat([b.indices for b in batches]), torch.arange(len(photos.catalog)))
    assert torch.equal(batches[0].photos[0], decode([photos.catalog.jpeg(0)], 36)[0])


def test_crops_of_one_photo_fall_in_many_places():
    ramp = (
        torch.arange(36 * 36, dtype=torch.int64).remainder(251).to(torch.uint8).view(1, 1, 36, 36).expand(40, 3, 36, 36)
    )
    places = loading._draw_corners(40, 4, np.random.default_rng(0))
    corners = {int(photo[0, 0, 0]) for photo in loading._crop(ramp, 32, places)}
    assert len(corners) > 12


def test_random_resized_crops_show_more_or_less_of_a_photo():
    ramp = torch.arange(200, dtype=torch.uint8).expand(60, 3, 200, 200)
    crops = loading._crop_resized(ramp, 16, loading._draw_boxes(60, 200, np.random.default_rng(0)))
    shown = (crops[:, 0, 0, -1].float() - crops[:, 0, 0, 0].float()) / 200
    assert shown.min() < 0.5
    assert shown.max() > 0.85
