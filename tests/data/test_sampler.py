import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from pairlens.data.catalog import Catalog
from pairlens.data.loader import TrainingBatches
from pairlens.data.sampler import ClassBatches, PKSampler

LABELS = torch.tensor([0] * 10 + [1] * 7 + [2] * 4 + [3] * 2 + [4])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=12), st.integers(2, 5), st.integers(0, 99), st.data())
def test_every_batch_has_p_classes_of_k_photos(sizes, per_class, seed, data):
    labels = torch.tensor([label for label, size in enumerate(sizes) for _ in range(size)])
    classes = data.draw(st.integers(2, len(sizes)))
    batches = ClassBatches(labels, classes * per_class, per_class, seed)
    for batch in batches.epoch(1):
        batch_classes, counts = labels[batch].unique(return_counts=True)
        assert len(batch_classes) == classes
        assert (counts == per_class).all()
        for label in batch_classes.tolist():
            photos = batch[labels[batch] == label]
            assert len(photos.unique()) == min(per_class, sizes[label])


def test_every_class_is_drawn_once_before_any_class_is_drawn_again():
    labels = torch.arange(10).repeat_interleave(12)
    batches = ClassBatches(labels, batch_size=12, per_class=4, seed=3)
    order = [label for batch in batches.epoch(1) for label in labels[batch][::4].tolist()]
    assert len(batches.epoch(1)) == 10
    for start in range(0, 30, 10):
        assert sorted(order[start : start + 10]) == list(range(10))


def test_batches_depend_on_seed_and_epoch_only():
    first = ClassBatches(LABELS, 8, 4, seed=1)
    again = ClassBatches(LABELS, 8, 4, seed=1)
    torch.rand(3)
    assert all(torch.equal(a, b) for a, b in zip(first.epoch(5), again.epoch(5), strict=True))
    assert not torch.equal(torch.cat(first.epoch(5)), torch.cat(first.epoch(6)))
    assert not torch.equal(torch.cat(first.epoch(5)), torch.cat(ClassBatches(LABELS, 8, 4, seed=2).epoch(5)))


def test_these_batches_are_the_same_on_every_machine():
    assert ClassBatches(torch.arange(4).repeat_interleave(3), 4, 2, seed=0).epoch(1)[0].tolist() == GOLDEN


GOLDEN = [10, 11, 1, 2]


@pytest.mark.parametrize(
    ("batch_size", "per_class", "message"),
    [
        (8, 0, "per_class 0 must be at least 1"),
        (10, 4, "must be a multiple"),
        (4, 4, "at least two"),
        (32, 4, "use --batch_size 20"),
        (46, 4, "use --batch_size 20"),
    ],
)
def test_sizes_that_do_not_fit_are_an_error_with_a_remedy(batch_size, per_class, message):
    with pytest.raises(ValueError, match=message):
        ClassBatches(LABELS, batch_size, per_class)


def test_photos_are_grouped_by_class_for_labels_that_are_not_consecutive():
    labels = torch.tensor([3, 1, 3, 7, 1, 1, 7, 3, 3, 9, 9, 1])
    batches = ClassBatches(labels, 4, 2, seed=5)
    order, starts = batches._by_class
    for c, label in enumerate(labels.unique().tolist()):
        assert order[starts[c] : starts[c + 1]].tolist() == [i for i in range(12) if labels[i] == label]


def test_the_first_batch_does_not_need_the_others():
    batches = ClassBatches(LABELS, 4, 2, seed=5)
    assert torch.equal(next(batches.iter_epoch(2)), batches.epoch(2)[0])


def test_a_sampler_draws_the_batches_of_training_epoch_by_epoch(data_path):
    catalog = Catalog.open(data_path / "bars" / "uncropped.arrow").select("train")
    training = TrainingBatches(catalog, ClassBatches(catalog.labels, 8, 4, seed=3), image_size=32, workers=0)
    sampler = PKSampler(catalog.labels, classes=2, per_class=4, seed=3)
    assert len(sampler) == len(training)
    for epoch in (1, 2):
        assert list(sampler) == [batch.indices.tolist() for batch in training.epoch(epoch)]


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_labels_may_be_a_list_an_array_or_a_tensor(kind):
    assert list(PKSampler(kind(LABELS.tolist()), 2, 4)) == [
        batch.tolist() for batch in ClassBatches(LABELS, 8).epoch(1)
    ]


def test_an_epoch_can_be_set_for_the_next_pass():
    sampler = PKSampler(LABELS, 2, 2, seed=1)
    first, second, third = list(sampler), list(sampler), list(sampler)
    assert first != second
    sampler.set_epoch(2)
    assert [list(sampler), list(sampler)] == [second, third]


@pytest.mark.parametrize("options", [{}, {"num_workers": 1}, {"num_workers": 1, "persistent_workers": True}], ids=str)
def test_a_data_loader_draws_new_batches_in_every_epoch(options):
    photos = TensorDataset(torch.arange(len(LABELS)))
    loader = DataLoader(photos, batch_sampler=PKSampler(LABELS, 2, 4, seed=5), **options)
    expected = ClassBatches(LABELS, 8, 4, seed=5)
    assert len(loader) == len(expected)
    for epoch in (1, 2, 3):
        assert [batch.tolist() for (batch,) in loader] == [batch.tolist() for batch in expected.epoch(epoch)]


def test_every_rank_draws_the_same_batches_and_keeps_its_part():
    ranks = [PKSampler(LABELS, 2, 3, seed=2, rank=rank, world=3) for rank in range(3)]
    assert [sampler.batch_size for sampler in ranks] == [2, 2, 2]
    whole = [batch.tolist() for batch in ClassBatches(LABELS, 6, 3, seed=2).epoch(1)]
    assert [first + second + third for first, second, third in zip(*ranks, strict=True)] == whole


def test_the_ranks_are_those_of_the_process_group_that_is_made_later(monkeypatch):
    sampler = PKSampler(LABELS, 2, 2)
    monkeypatch.setattr("pairlens.data.sampler.rank_of_process", lambda: 1)
    monkeypatch.setattr("pairlens.data.sampler.world_size", lambda: 2)
    assert next(iter(sampler)) == ClassBatches(LABELS, 4, 2).epoch(1)[0][2:].tolist()
    monkeypatch.setattr("pairlens.data.sampler.world_size", lambda: 3)
    with pytest.raises(ValueError, match="cannot be divided evenly among 3 ranks"):
        next(iter(sampler))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels": ["a", "b"]}, "labels must be integers, one per photo"),
        ({"labels": [[0], [1, 2]]}, "labels must be integers, one per photo"),
        ({"labels": []}, "there are no labels"),
        ({"labels": torch.rand(4)}, "not torch.float32"),
        ({"labels": torch.zeros(4, 2).long()}, r"of shape \(4, 2\)"),
        ({"classes": 6}, "classes 6 is not possible with labels of 5 classes"),
        ({"classes": 1}, "needs at least 2 classes"),
        ({"per_class": 0}, "per_class 0 must be a whole number, 1 or more"),
        ({"per_class": 2.0}, "per_class 2.0 must be a whole number"),
        ({"classes": True}, "classes True must be"),
        ({"seed": -1}, "seed -1 must be"),
        ({"rank": 2, "world": 2}, "rank 2 of 2 processes does not exist"),
        ({"world": 3, "classes": 2, "per_class": 2}, "a batch of 4 photos cannot be divided evenly among 3 ranks"),
    ],
)
def test_wrong_arguments_of_a_sampler_are_one_sentence(settings, message):
    with pytest.raises(ValueError, match=message):
        PKSampler(**{"labels": LABELS, "classes": 2, **settings})
