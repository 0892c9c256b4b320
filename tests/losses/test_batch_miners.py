"""The miners that look at the whole batch, and all miners that pytorch-metric-learning (PML) also has."""

import math

import pytest
import torch
from pytorch_metric_learning import miners as pml

from pairlens.core.pairs import Pairs
from pairlens.losses.loss_text import miner_from_text, miner_text
from pairlens.losses.miners import BatchEasyHard, HardestFraction, PairMargin, UniformHistogram
from support.twin_checks import unit_points

LABELS = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 4])


def batch(dim=3, seed=0):
    points = unit_points(len(LABELS), dim, seed)
    return points, points @ points.T, Pairs.within(LABELS)


def chosen(pairs):
    return {tuple(p) for p in pairs.positive.nonzero().tolist()}, {tuple(n) for n in pairs.negative.nonzero().tolist()}


def chosen_by_peer(miner, points):
    a1, p, a2, n = (places.tolist() for places in miner(points, LABELS))
    return set(zip(a1, p, strict=True)), set(zip(a2, n, strict=True))


SAME = [
    (PairMargin(), pml.PairMarginMiner()),
    (PairMargin(0.9, 1.2), pml.PairMarginMiner(0.9, 1.2)),
    *(
        (BatchEasyHard(p, n), pml.BatchEasyHardMiner(p.replace("_", ""), n.replace("_", "")))
        for p, n in [
            ("easy", "semi_hard"),
            ("hard", "semi_hard"),
            ("semi_hard", "hard"),
            ("semi_hard", "easy"),
            ("easy", "easy"),
            ("easy", "hard"),
            ("hard", "hard"),
            ("all", "hard"),
            ("easy", "all"),
            ("all", "all"),
        ]
    ),
    (
        BatchEasyHard("easy", "hard", (0.4, 1.6), (0.6, 1.8)),
        pml.BatchEasyHardMiner("easy", "hard", allowed_pos_range=(0.4, 1.6), allowed_neg_range=(0.6, 1.8)),
    ),
]


@pytest.mark.parametrize(("miner", "peer"), SAME, ids=lambda x: "" if isinstance(x, torch.nn.Module) else str(x))
@pytest.mark.parametrize("seed", range(3))
def test_selects_the_pairs_that_the_peer_selects(miner, peer, seed):
    points, similarity, pairs = batch(seed=seed)
    assert chosen(miner(similarity, pairs)) == chosen_by_peer(peer, points)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_hardest_fraction_is_that_of_the_peer_and_what_ties_with_it(fraction, seed):
    """Each pair of photos is there for both its anchors; of a last pair the peer takes one of the two."""
    points, similarity, pairs = batch(seed=seed)
    ours = chosen(HardestFraction(fraction)(similarity, pairs))
    for own, other in zip(ours, chosen_by_peer(pml.HDCMiner(fraction), points), strict=True):
        assert other <= own
        assert len(own - other) <= 1


@pytest.mark.parametrize("fraction", [0.01, 0.3, 1.0])
def test_the_hardest_fraction_is_a_share_of_all_pairs_of_the_batch(fraction):
    _, similarity, pairs = batch()
    mined = HardestFraction(fraction)(similarity, pairs)
    for found, every, hardness in (
        (mined.positive, pairs.positive, -similarity),
        (mined.negative, pairs.negative, similarity),
    ):
        ordered = sorted(hardness[every].tolist(), reverse=True)
        count = math.ceil(fraction * len(ordered))
        # Each pair of photos is there twice, once for each anchor, and both tie.
        assert int(found.sum()) in (count, count + 1)
        assert sorted(hardness[found].tolist(), reverse=True) == ordered[: int(found.sum())]


def test_each_bin_of_distances_gives_equally_many_pairs_or_all_that_it_has():
    points = unit_points(60, 3)
    labels = torch.arange(60) % 6
    similarity, pairs = points @ points.T, Pairs.within(labels)
    mined = UniformHistogram(bins=7, per_bin=5)(similarity, pairs)
    distance = (2 - 2 * similarity).clamp(min=0).sqrt()
    for found, every in ((mined.positive, pairs.positive), (mined.negative, pairs.negative)):
        low, high = float(distance[every].min()), float(distance[every].max())
        of_bin = lambda d, low=low, high=high: min(6, int((d - low) / (high - low) * 7))  # noqa: E731
        present = [of_bin(d) for d in distance[every].tolist()]
        kept = [of_bin(d) for d in distance[found].tolist()]
        assert [kept.count(b) for b in range(7)] == [min(5, present.count(b)) for b in range(7)]


def test_a_bin_is_sampled_anew_at_each_call_and_by_the_default_generator():
    _, similarity, pairs = batch()
    miner = UniformHistogram(bins=2, per_bin=3)
    torch.manual_seed(0)
    first, second = (miner(similarity, pairs).negative for _ in range(2))
    torch.manual_seed(0)
    assert torch.equal(miner(similarity, pairs).negative, first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("miner", [HardestFraction(), UniformHistogram(), PairMargin(), BatchEasyHard()], ids=str)
@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 0, 0], [0]], ids=str)
def test_a_batch_that_lacks_a_side_gives_none_of_it(miner, labels):
    similarity = torch.eye(len(labels))
    every = Pairs.within(torch.tensor(labels))
    mined = miner(similarity, every)
    assert not (mined.positive & ~every.positive).any()
    assert not (mined.negative & ~every.negative).any()


@pytest.mark.parametrize(
    ("text", "miner"),
    [
        ("hardest_fraction:fraction=0.25", HardestFraction(0.25)),
        ("uniform_histogram:bins=20", UniformHistogram(20)),
        ("pair_margin", PairMargin()),
        ("batch_easy_hard:positive=hard,positive_range=[0.1,1.5]", BatchEasyHard("hard", positive_range=(0.1, 1.5))),
    ],
)
def test_a_miner_has_a_word_on_the_command_line(text, miner):
    assert miner_from_text(text) == miner
    assert miner_from_text(miner_text(miner)) == miner
