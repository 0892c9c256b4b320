"""Whether code is traced, and what is computed once per record."""

from types import SimpleNamespace

import torch

from pairlens.core.pairs import Pairs
from pairlens.core.similarity import is_one_zero, one_zero
from pairlens.core.tracing import computed_once, is_readable, is_traced, is_transformed


def test_every_transform_is_noticed():
    seen = []

    def look(x):
        seen.append((is_transformed(), is_traced(), is_readable(x)))
        return x.sum()

    look(torch.zeros(2))
    torch.func.grad(look)(torch.zeros(2))
    torch.func.vmap(look)(torch.zeros(2, 2))
    assert seen == [(False, False, True), (True, True, False), (True, True, False)]


def test_a_value_is_computed_once_but_each_time_in_a_trace():
    record = SimpleNamespace()
    calls = []

    def compute():
        calls.append(0)
        return len(calls)

    assert [computed_once(record, "_value", compute) for _ in range(2)] == [1, 1]
    torch.func.vmap(lambda x: x + computed_once(record, "_value", compute))(torch.zeros(2))
    assert len(calls) == 2


def test_masks_that_change_in_place_are_counted_again():
    """What is known of pairs must not outlive a change, such as that of a miner that works in place."""
    pairs = Pairs.within(torch.tensor([0, 0, 1, 1]))
    assert pairs.all_complete
    assert pairs.complete_count == 4
    pairs.negative[0] = False
    assert not pairs.all_complete
    assert pairs.complete.tolist() == [False, True, True, True]
    pairs.positive.zero_()
    assert pairs.complete_count == 0


def test_pairs_of_inference_mode_are_counted():
    with torch.inference_mode():
        pairs = Pairs.within(torch.tensor([0, 0, 1]))
        assert pairs.complete_count == 2
        pairs.positive[0] = False
        assert pairs.complete_count == 1


def test_no_anchors_are_not_all_complete():
    assert not Pairs.within(torch.zeros(0, dtype=torch.long)).all_complete


def test_only_a_shared_zero_is_one():
    zeros = torch.zeros(2, 3)
    assert not is_one_zero(zeros)
    assert not is_one_zero(torch.ones(()).expand(2, 3))
    with torch.no_grad():
        assert is_one_zero(one_zero(zeros))
        assert not is_one_zero(torch.ones(()).expand(2, 3))
        assert not is_one_zero(zeros)
        assert not is_one_zero(torch.zeros(0, 3))
