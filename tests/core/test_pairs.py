import pytest
import torch

from pairlens.core.pairs import Pairs


def test_within_excludes_self_by_index_and_keeps_duplicates():
    pairs = Pairs.within(torch.tensor([3, 3, 5]))
    assert pairs.positive.tolist() == [[False, True, False], [True, False, False], [False, False, False]]
    assert pairs.negative.tolist() == [[False, False, True], [False, False, True], [True, True, False]]


def test_labels_above_float_precision_do_not_collide():
    big = 2**24
    assert not Pairs.within(torch.tensor([big, big + 1])).positive.any()


def test_complete_needs_a_positive_and_a_negative():
    assert Pairs.within(torch.tensor([0, 0, 1])).complete.tolist() == [True, True, False]
    assert not Pairs.within(torch.tensor([0, 0])).complete.any()


def test_transposed_swaps_anchors_and_references():
    pairs = Pairs.between(torch.tensor([0, 1]), torch.tensor([0, 1, 2]))
    assert torch.equal(pairs.transposed.positive, pairs.positive.T)


@pytest.mark.parametrize("labels", [torch.tensor([0.0, 1.0]), torch.zeros(2, 2, dtype=torch.long)])
def test_labels_that_are_not_a_vector_of_integers_are_an_error(labels):
    with pytest.raises(ValueError, match="labels must be integers, one per photo"):
        Pairs.within(labels)


def test_masks_of_different_shape_or_type_are_an_error():
    with pytest.raises(ValueError, match="same shape"):
        Pairs(torch.zeros(2, 2, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="boolean"):
        Pairs(torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.bool))
