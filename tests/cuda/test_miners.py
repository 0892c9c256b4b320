"""Every miner selects the same pairs on a GPU as on the CPU."""

import pytest
import torch

from losses.test_miners import MINERS
from pairlens.core.pairs import Pairs
from pairlens.core.similarity import unit
from pairlens.losses.miners import DistanceWeighted, UniformHistogram
from pairlens.training.random_state import random_state, set_random_state

LABELS = torch.arange(40) % 8
# They draw pairs at random, and a GPU has a random generator of its own.
RANDOM = (DistanceWeighted, UniformHistogram)


def scene(device):
    points = torch.randn(40, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    vectors = unit(points).to(device)
    return vectors @ vectors.T, Pairs.within(LABELS.to(device))


@pytest.mark.parametrize("miner", [one for one in MINERS if not isinstance(one, RANDOM)], ids=str)
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


@pytest.mark.parametrize("miner", [one for one in MINERS if isinstance(one, RANDOM)], ids=str)
def test_draws_are_pairs_and_are_repeated_from_a_saved_state(miner, device):
    similarity, pairs = scene(device)
    miner(similarity, pairs)
    state = random_state()
    first, other = miner(similarity, pairs), miner(similarity, pairs)
    torch.manual_seed(9)
    set_random_state(state)
    again = miner(similarity, pairs)
    assert torch.equal(first.positive, again.positive)
    assert torch.equal(first.negative, again.negative)
    assert not torch.equal(first.negative, other.negative)
    assert not (first.positive & ~pairs.positive).any()
    assert not (first.negative & ~pairs.negative).any()
    assert first.positive.any()
    assert first.negative.any()


def test_distance_weighted_draws_no_more_negatives_than_positives(device):
    similarity, pairs = scene(device)
    drawn = DistanceWeighted(dim=16)(similarity, pairs)
    assert (drawn.negative.sum(dim=1) <= pairs.positive.sum(dim=1)).all()


def test_a_uniform_histogram_draws_as_many_pairs_from_each_bin(device):
    miner, (similarity, pairs) = UniformHistogram(bins=4, per_bin=2), scene(device)
    drawn = miner(similarity, pairs)
    # Only a bin with less than two pairs gives fewer.
    assert 4 < drawn.positive.sum() <= 8
    assert 4 < drawn.negative.sum() <= 8
