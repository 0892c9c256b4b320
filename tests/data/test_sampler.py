import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairlens.data.sampler import ClassBatches

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
