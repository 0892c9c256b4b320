"""Every miner selects the same pairs on a GPU as on the CPU."""

import pytest
import torch

from losses.test_miners import MINERS
from pairlens.core.pairs import Pairs
from pairlens.core.similarity import unit
from pairlens.losses.miners import DistanceWeighted
from pairlens.training.random_state import random_state, set_random_state

LABELS = torch.arange(40) % 8


def scene(device):
    points = torch.randn(40, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    vectors = unit(points).to(device)
    return vectors @ vectors.T, Pairs.within(LABELS.to(device))


@pytest.mark.parametrize("miner", [one for one in MINERS if not isinstance(one, DistanceWeighted)], ids=str)
def test_the_pairs_are_those_of_the_cpu(miner, device):
    expected, found = miner(*scene("cpu")), miner(*scene(device))
    assert torch.equal(found.positive.cpu(), expected.positive)
    assert torch.equal(found.negative.cpu(), expected.negative)
    assert expected.positive.any()


@pytest.mark.parametrize("miner", MINERS, ids=str)
def test_a_miner_does_not_block_the_cpu(miner, device, no_waiting):
    similarity, pairs = scene(device)
    miner(similarity, pairs)
    with no_waiting():
        miner(similarity, pairs)


def test_draws_are_negatives_and_are_repeated_from_a_saved_state(device):
    miner, (similarity, pairs) = DistanceWeighted(dim=16), scene(device)
    miner(similarity, pairs)
    state = random_state()
    first, other = miner(similarity, pairs), miner(similarity, pairs)
    torch.manual_seed(9)
    set_random_state(state)
    again = miner(similarity, pairs)
    assert torch.equal(first.negative, again.negative)
    assert not torch.equal(first.negative, other.negative)
    assert not (first.negative & ~pairs.negative).any()
    assert (first.negative.sum(dim=1) <= pairs.positive.sum(dim=1)).all()
    assert first.negative.any()
