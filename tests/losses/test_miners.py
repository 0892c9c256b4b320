"""Every miner against plain loops, and with every loss of pairs."""

import math
from functools import partial
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairlens.core.pairs import Pairs
from pairlens.losses import Contrastive, miners
from pairlens.losses.batch_easy_hard import Strategy
from pairlens.losses.miners import (
    AngularPairs,
    BatchEasyHard,
    DistanceWeighted,
    EasyPositive,
    Hardest,
    HardestFraction,
    Miner,
    MultiSimilarityPairs,
    PairMargin,
    SemiHard,
    UniformHistogram,
)
from pairlens.losses.protocols import accepts_miner
from pairlens.training.criterion import Criterion
from support.loss_cases import BATCH, parameter_name
from support.twin_checks import unit_points

MINERS = [
    Hardest(),
    SemiHard(),
    EasyPositive(),
    DistanceWeighted(dim=16),
    MultiSimilarityPairs(),
    AngularPairs(),
    BatchEasyHard(),
    PairMargin(),
    HardestFraction(),
    UniformHistogram(4, 2),
]
# Their selection depends on all pairs of the batch, or on chance; their tests are in test_batch_miners.py, or below.
OF_A_BATCH = {HardestFraction, UniformHistogram, DistanceWeighted}
layouts = st.lists(st.integers(0, 3), min_size=2, max_size=9)


def random_batch(labels, seed=0, dim=4):
    points = unit_points(len(labels), dim, seed)
    return points @ points.T, Pairs.within(torch.tensor(labels))


def sides(similarity, pairs, a):
    """The (place, similarity) of the positives and of the negatives of an anchor."""
    return (
        [(j, float(similarity[a, j])) for j in range(similarity.shape[1]) if mask[a, j]]
        for mask in (pairs.positive, pairs.negative)
    )


def d(s):
    return math.sqrt(max(0.0, 2 - 2 * s))


def hardest(p, n):
    return [j for j, s in p if s == min(x for _, x in p)], [j for j, s in n if s == max(x for _, x in n)]


def semi_hard(p, n, margin=0.2):
    between = lambda s_p, s_n: d(s_p) < d(s_n) < d(s_p) + margin  # noqa: E731
    return (
        [j for j, s in p if any(between(s, x) for _, x in n)],
        [j for j, s in n if any(between(x, s) for _, x in p)],
    )


def easy_positive(p, n):
    return [j for j, s in p if s == max(x for _, x in p)], [j for j, _ in n]


def multi_similarity(p, n, epsilon=0.1):
    return (
        [j for j, s in p if n and s < max(x for _, x in n) + epsilon],
        [j for j, s in n if p and s > min(x for _, x in p) - epsilon],
    )


def angular(p, n, degrees=20.0):
    def beyond(s_p, s_n):
        to_middle = max(0.0, d(s_n) ** 2 - d(s_p) ** 2 / 4)
        angle = math.pi / 2 if to_middle == 0 else math.atan(d(s_p) / (2 * math.sqrt(to_middle)))
        return angle > math.radians(degrees)

    return (
        [j for j, s in p if n and beyond(s, max(x for _, x in n))],
        [j for j, s in n if p and beyond(min(x for _, x in p), s)],
    )


def batch_easy_hard(p, n, positive, negative, positive_range=(0, 2), negative_range=(0, 2)):
    """The strategies in distances; ties are all kept."""
    p = [(j, d(s)) for j, s in p if positive_range[0] <= d(s) <= positive_range[1]]
    n = [(j, d(s)) for j, s in n if negative_range[0] <= d(s) <= negative_range[1]]

    def extreme(pairs, choose):
        return [(j, x) for j, x in pairs if x == choose(y for _, y in pairs)]

    if positive == "semi_hard":
        n = extreme(n, max if negative == "easy" else min)
        p = extreme([(j, x) for j, x in p if n and x < n[0][1]], max)
    elif negative == "semi_hard":
        p = extreme(p, min if positive == "easy" else max)
        n = extreme([(j, x) for j, x in n if p and x > p[0][1]], min)
    else:
        p = p if positive == "all" else extreme(p, min if positive == "easy" else max)
        n = n if negative == "all" else extreme(n, max if negative == "easy" else min)
    if "all" not in (positive, negative) and not (p and n):
        return [], []
    return [j for j, _ in p], [j for j, _ in n]


def pair_margin(p, n, positive_margin=0.2, negative_margin=0.8):
    return [j for j, s in p if d(s) > positive_margin], [j for j, s in n if d(s) < negative_margin]


STRATEGIES = [
    (p, n)
    for p in get_args(Strategy)
    for n in get_args(Strategy)
    if "semi_hard" not in (p, n) or {p, n} & {"easy", "hard"}
]
TWINS = [
    *((BatchEasyHard(*both), partial(batch_easy_hard, positive=both[0], negative=both[1])) for both in STRATEGIES),
    (
        BatchEasyHard("hard", "easy", (0.2, 1.4), (0.5, 1.5)),
        partial(
            batch_easy_hard, positive="hard", negative="easy", positive_range=(0.2, 1.4), negative_range=(0.5, 1.5)
        ),
    ),
    (PairMargin(), pair_margin),
    (PairMargin(1.0, 1.3), partial(pair_margin, positive_margin=1.0, negative_margin=1.3)),
    (Hardest(), hardest),
    (SemiHard(), semi_hard),
    (EasyPositive(), easy_positive),
    (MultiSimilarityPairs(), multi_similarity),
    (AngularPairs(), angular),
]


def test_every_miner_is_tried():
    assert {type(miner) for miner in MINERS} == set(get_args(Miner))
    assert {type(miner) for miner, _ in TWINS} | OF_A_BATCH == set(get_args(Miner))


@pytest.mark.parametrize(("miner", "twin"), TWINS, ids=parameter_name)
@settings(max_examples=30, deadline=None)
@given(labels=layouts, seed=st.integers(0, 99))
def test_equals_its_plain_loop(miner, twin, labels, seed):
    similarity, pairs = random_batch(labels, seed)
    mined = miner(similarity, pairs)
    for a in range(len(labels)):
        p, n = sides(similarity, pairs, a)
        positives, negatives = twin(p, n)
        assert mined.positive[a].nonzero().flatten().tolist() == positives
        assert mined.negative[a].nonzero().flatten().tolist() == negatives


@pytest.mark.parametrize("miner", MINERS, ids=str)
@settings(max_examples=20, deadline=None)
@given(labels=layouts, seed=st.integers(0, 99))
def test_only_existing_pairs_are_mined(miner, labels, seed):
    similarity, pairs = random_batch(labels, seed)
    mined = miner(similarity, pairs)
    assert not (mined.positive & ~pairs.positive).any()
    assert not (mined.negative & ~pairs.negative).any()


def test_distance_weighted_draws_every_distance_as_often_as_its_density_says():
    labels, dim = [0, 0, *range(1, 60)], 8
    similarity, pairs = random_batch(labels, dim=dim)
    drawn = torch.zeros(len(labels))
    for _ in range(4000):
        drawn += DistanceWeighted(dim=dim)(similarity, pairs).negative[0]
    distance = (2 - 2 * similarity[0]).clamp(min=0).sqrt()
    log_q = (dim - 2) * distance.clamp(min=0.5).log() + (dim - 3) / 2 * (1 - distance**2 / 4).log()
    chance = torch.where(pairs.negative[0] & (distance <= 1.4), (-log_q).exp(), 0.0)
    expected = 4000 * chance / chance.sum()
    assert drawn[0] == drawn[1] == 0
    assert drawn.sum() == 4000  # one negative for the one positive of the anchor
    assert ((drawn - expected).abs() < 5 * expected.sqrt() + 5).all()


def test_distance_weighted_keeps_as_many_negatives_as_positives_at_most_and_takes_a_far_one_if_there_is_no_other():
    similarity, pairs = random_batch([0, 0, 0, 0, *range(1, 40)], dim=16)
    mined = DistanceWeighted(dim=16)(similarity, pairs).negative.sum(dim=1)
    assert (mined[:4] <= 3).all()
    assert (mined[:4] >= 1).all()
    opposite = torch.tensor([[1.0, 1.0, -1.0]])
    far = Pairs.between(torch.tensor([0]), torch.tensor([0, 0, 1]))
    assert DistanceWeighted()(opposite, far).negative.tolist() == [[False, False, True]]


@pytest.mark.parametrize("miner", MINERS, ids=str)
def test_any_miner_goes_with_any_loss_of_pairs(miner):
    labels = torch.arange(24) % 6
    for loss in BATCH:
        if not accepts_miner(loss):
            continue
        embeddings = torch.randn(24, 16, requires_grad=True)
        value = Criterion(loss, miner=miner, classes=6)(embeddings, labels)
        value.backward()
        assert torch.isfinite(value), loss
        assert torch.isfinite(embeddings.grad).all(), loss


def test_a_mined_pair_list_changes_what_is_learned():
    labels, embeddings = torch.arange(24) % 6, torch.randn(24, 16)
    loss = Contrastive()
    assert Criterion(loss, miner=Hardest())(embeddings, labels) < Criterion(loss)(embeddings, labels)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (SemiHard, {"margin": 0.0}, "margin 0.0"),
        (DistanceWeighted, {"dim": 2}, "dim 2"),
        (DistanceWeighted, {"cutoff": 1.5}, "cutoff 1.5"),
        (MultiSimilarityPairs, {"epsilon": -1.0}, "epsilon -1.0"),
        (AngularPairs, {"degrees": 90.0}, "degrees 90.0"),
        (PairMargin, {"negative_margin": 3.0}, "negative_margin 3.0"),
        (HardestFraction, {"fraction": 0.0}, "fraction 0.0"),
        (UniformHistogram, {"bins": 0}, "bins 0"),
        (UniformHistogram, {"per_bin": 0}, "per_bin 0"),
        (BatchEasyHard, {"positive": "softly"}, "are not all known; use easy, semi_hard, hard, all"),
        (BatchEasyHard, {"positive": "all"}, "semi_hard needs a single pair of the other side"),
        (BatchEasyHard, {"positive": "semi_hard"}, "semi_hard needs a single pair of the other side"),
        (BatchEasyHard, {"negative_range": (1.0, 0.5)}, "negative_range 1.0 to 0.5"),
    ],
)
def test_a_setting_out_of_range_is_named(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**settings)


def test_the_package_names_its_miners():
    assert miners.Hardest is Hardest
