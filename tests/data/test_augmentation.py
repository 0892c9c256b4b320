import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms import v2

from pairlens.core.images import decode
from pairlens.data.augmentation import AugmentName, change_colors, on_pictures
from pairlens.data.catalog import Catalog
from pairlens.data.loader import BatchConfig, TrainingBatches
from pairlens.data.sampler import ClassBatches

NAMES = AugmentName.__args__


def with_all_generators(photo):
    """A function that draws from each generator that the process shares."""
    shift = int(torch.randint(50, ()))
    noise = np.random.randint(0, 50, size=(1, *photo.shape[1:]))
    return (photo // 2 + shift + torch.from_numpy(noise) + random.randrange(20)).to(torch.uint8)


FUNCTIONS = [
    v2.Compose([v2.RandomResizedCrop(32), v2.RandomHorizontalFlip(), v2.ColorJitter(0.5)]),
    with_all_generators,
]


@pytest.fixture
def batches(data_path):
    catalog = Catalog.open(data_path / "bars" / "uncropped.arrow").select("train")
    return TrainingBatches(catalog, ClassBatches(catalog.labels, 8, 4, seed=0), image_size=32, workers=0)


def photos_of(batches, number=1):
    return torch.cat([batch.photos for batch in batches.epoch(number)])


def name_of(augment):
    """The name of an augmentation; `str` of a function has its address, which differs between two processes of pytest."""
    return augment if isinstance(augment, str) else getattr(augment, "__name__", type(augment).__name__)


@pytest.mark.parametrize("augment", [*NAMES, *FUNCTIONS], ids=name_of)
def test_photos_depend_on_seed_and_epoch_and_not_on_workers_or_the_state_of_the_process(batches, augment):
    made = replace(batches, augment=augment)
    expected = photos_of(made, 2)
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    assert torch.equal(expected, photos_of(replace(made, workers=3), 2))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())
    assert not torch.equal(expected, photos_of(made, 3))
    assert not torch.equal(expected, photos_of(replace(made, seed=1), 2))


@pytest.mark.parametrize("augment", [*NAMES, *FUNCTIONS], ids=name_of)
def test_shards_make_up_the_batch_and_a_resumed_epoch_goes_on_alike(batches, augment):
    made = replace(batches, augment=augment)
    whole = list(made.epoch(3))
    shards = [list(replace(made, rank=rank, ranks=2).epoch(3)) for rank in range(2)]
    for batch, *parts in zip(whole, *shards, strict=True):
        for field, joined in enumerate(batch):
            assert torch.equal(torch.cat([part[field] for part in parts]), joined)
    assert torch.equal(whole[1].photos, next(made.epoch(3, start=1)).photos)


def test_two_views_are_two_crops_of_each_photo_with_its_label(batches):
    whole = next(batches.epoch(1))
    batch = next(replace(batches, augment="two_views").epoch(1))
    assert torch.equal(batch.indices, whole.indices.repeat_interleave(2))
    assert torch.equal(batch.labels, whole.labels.repeat_interleave(2))
    assert batch.photos.shape == (16, 3, 32, 32)
    assert all(
        not torch.equal(first, second) for first, second in zip(batch.photos[::2], batch.photos[1::2], strict=True)
    )


@pytest.mark.parametrize("augment", ["color_jitter", "rand_augment"])
def test_colours_change_after_the_standard_crop(batches, augment):
    standard = photos_of(batches)
    changed = photos_of(replace(batches, augment=augment))
    assert changed.shape == standard.shape
    different = [not torch.equal(first, second) for first, second in zip(standard, changed, strict=True)]
    assert sum(different) > len(different) / 2


def test_colours_are_those_of_torchvision_with_the_same_random_numbers():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    planes = torch.from_numpy(pixels).permute(2, 0, 1)
    for augment, transform in (
        ("color_jitter", v2.ColorJitter(0.4, 0.4, 0.4, 0.1)),
        ("rand_augment", v2.RandAugment()),
    ):
        for seed in range(5):
            torch.manual_seed(seed)
            expected = transform(planes).permute(1, 2, 0).numpy()
            assert np.array_equal(change_colors(augment, pixels, seed), expected)


def test_a_function_gets_the_stored_photo_and_its_result_gets_the_size_of_the_model(batches):
    seen = []

    def keep(photo):
        seen.append(photo)
        return photo[:, :20]

    batch = next(replace(batches, augment=keep).epoch(1))
    stored = decode([batches.catalog.jpeg(int(i)) for i in batch.indices], batches.catalog.size)
    assert torch.equal(torch.stack(seen), stored)
    assert batch.photos.shape == (8, 3, 32, 32)


def test_a_function_of_pictures(batches):
    def invert(picture):
        assert isinstance(picture, Image.Image)
        return ImageOps.invert(picture)

    # At the stored size, where nothing is rounded.
    whole = replace(batches, image_size=batches.catalog.size)
    upright = photos_of(replace(whole, augment=lambda photo: photo))
    assert torch.equal(photos_of(replace(whole, augment=on_pictures(invert))), 255 - upright)


@pytest.mark.parametrize(
    ("result", "message"), [(lambda p: p.float(), "tensor of torch.float32"), (lambda p: None, "returned NoneType")]
)
def test_a_function_that_returns_no_photo_is_an_error_in_one_sentence(batches, result, message):
    with pytest.raises(ValueError, match=f"{message}.*, but must return a .* pl.on_pictures"):
        next(replace(batches, augment=result).epoch(1))


@pytest.mark.parametrize("augment", ["randaugment", "", 3, None])
def test_an_unknown_augmentation_is_an_error_before_anything_is_written(augment):
    with pytest.raises(
        ValueError, match=r"--augment .* is not one of standard, random_resized_crop, color_jitter, rand_au"
    ):
        BatchConfig(augment=augment)


class Pairs:
    """A batch sampler of another library: it draws lists of two."""

    def __init__(self, labels, size=2):
        self.count, self.size = len(labels), size

    def set_epoch(self, epoch):
        self.first = epoch

    def __len__(self):
        return 3

    def __iter__(self):
        return iter([[(self.first + step + i) % self.count for i in range(self.size)] for step in range(3)])


def test_any_sampler_with_epochs_and_lists_of_positions_can_be_used(batches):
    made = replace(batches, sampler=Pairs(batches.catalog.labels))
    assert [batch.indices.tolist() for batch in made.epoch(4)] == [[4, 5], [5, 6], [6, 7]]
    assert [batch.indices.tolist() for batch in made.epoch(4, start=2)] == [[6, 7]]
    assert len(made) == 3
    halves = [next(replace(made, rank=rank, ranks=2).epoch(4)) for rank in range(2)]
    assert torch.equal(torch.cat([half.photos for half in halves]), next(made.epoch(4)).photos)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([[0, 1]], "must yield lists of integers"),
        ([0.5], "must yield lists of integers"),
        ([], "must yield lists of integers"),
        ([0, 10**6], "chose photo 1000000, but there are photos 0 to"),
        ([0, 1, 2], "chose 3 photos, which cannot be divided evenly among 2 ranks"),
    ],
)
def test_a_batch_that_cannot_be_used_is_an_error_in_one_sentence(batches, batch, message):
    sampler = Pairs(batches.catalog.labels)
    sampler.__class__ = type("Theirs", (Pairs,), {"__iter__": lambda self: iter([batch])})
    with pytest.raises(ValueError, match=f"^the sampler Theirs {message}"):
        next(replace(batches, sampler=sampler, ranks=2).epoch(1))
