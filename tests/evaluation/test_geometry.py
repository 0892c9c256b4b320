"""Geometry of embeddings: every number against plain loops."""

import math

import pytest
import torch

from pairlens.core.pairs import Pairs
from pairlens.evaluation import geometry
from pairlens.evaluation.geometry import PairSimilarities
from support.twin_checks import unit_points

LABELS = torch.arange(24) % 6


@pytest.fixture
def vectors():
    return torch.nn.functional.normalize(unit_points(6, 8, 1)[LABELS] + 0.6 * unit_points(24, 8, 2), dim=1)


def looped(vectors):
    p, n = [], []
    for i in range(len(vectors)):
        for j in range(i + 1, len(vectors)):
            (p if LABELS[i] == LABELS[j] else n).append(float(vectors[i] @ vectors[j]))
    return p, n


def test_similarities_of_pairs(vectors):
    p, n = looped(vectors)
    found = PairSimilarities.of(vectors, LABELS)
    assert sorted(found.positive.tolist()) == pytest.approx(sorted(p))
    assert sorted(found.negative.tolist()) == pytest.approx(sorted(n))


def test_auc_d_prime_and_overlap_equal_plain_loops(vectors):
    p, n = looped(vectors)
    found = PairSimilarities.of(vectors, LABELS)
    wins = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a in p for b in n)
    assert geometry.roc_auc(found) == pytest.approx(wins / len(p) / len(n))
    means = [sum(x) / len(x) for x in (p, n)]
    variances = [sum((v - m) ** 2 for v in x) / len(x) for x, m in zip((p, n), means, strict=True)]
    assert geometry.d_prime(found) == pytest.approx((means[0] - means[1]) / math.sqrt(sum(variances) / 2))
    counts = [[sum(1 for v in x if -1 + b / 5 <= v < -1 + (b + 1) / 5) / len(x) for b in range(10)] for x in (p, n)]
    assert geometry.histogram_overlap(found, bins=10) == pytest.approx(sum(map(min, *counts)), abs=1e-6)


def test_the_true_positive_rate_is_at_the_threshold_of_the_negatives():
    found = PairSimilarities(torch.tensor([0.95, 0.91, 0.5]), torch.arange(1000) / 1000 * 0.9)
    assert geometry.true_positive_rate(found, at=1e-3) == pytest.approx(2 / 3)
    assert geometry.true_positive_rate(found, at=0.5) == 1.0


def test_disjoint_and_equal_distributions():
    apart = PairSimilarities(torch.full((5,), 0.9), torch.full((5,), 0.1))
    alike = PairSimilarities(torch.full((5,), 0.3), torch.full((5,), 0.3))
    assert (geometry.histogram_overlap(apart), geometry.histogram_overlap(alike)) == (0, pytest.approx(1))
    assert (geometry.roc_auc(apart), geometry.roc_auc(alike)) == (1.0, 0.5)


def test_alignment_and_uniformity(vectors):
    p, n = looped(vectors)
    found = PairSimilarities.of(vectors, LABELS)
    assert geometry.alignment(found) == pytest.approx(sum(2 - 2 * s for s in p) / len(p))
    every = [math.exp(-2 * (2 - 2 * s)) for s in p + n]
    assert geometry.uniformity(found) == pytest.approx(math.log(sum(every) / len(every)))


def test_class_spread(vectors):
    within, means = [], []
    for label in range(6):
        some = vectors[label == LABELS]
        d = [1 - float(some[i] @ some[j]) for i in range(4) for j in range(4) if i != j]
        within.append(sum(d) / len(d))
        means.append(some.mean(dim=0) / some.mean(dim=0).norm())
    between = [1 - float(means[i] @ means[j]) for i in range(6) for j in range(6) if i != j]
    intra, inter = geometry.class_spread(vectors, LABELS)
    assert intra == pytest.approx(sum(within) / 6)
    assert inter == pytest.approx(sum(between) / len(between))


def test_spectrum():
    vectors = torch.diag(torch.tensor([4.0, 2.0, 1.0, 1.0]))
    share = [0.5, 0.25, 0.125, 0.125]
    assert geometry.spectral_decay(vectors) == pytest.approx(sum(0.25 * math.log(0.25 / s) for s in share))
    assert geometry.effective_rank(vectors) == pytest.approx(math.exp(-sum(s * math.log(s) for s in share)))
    assert geometry.effective_rank(torch.ones(5, 3)) == pytest.approx(1.0, abs=1e-3)


def test_hubs(vectors):
    counts, bad = [0] * 24, 0
    for i in range(24):
        others = sorted((-float(vectors[i] @ vectors[j]), j) for j in range(24) if j != i)[:3]
        for _, j in others:
            counts[j] += 1
            bad += int(LABELS[i] != LABELS[j])
    found = geometry.hubness(vectors.float(), LABELS, k=3)
    mean = sum(counts) / 24
    deviation = math.sqrt(sum((c - mean) ** 2 for c in counts) / 24)
    assert found.occurrences.tolist() == counts
    assert found.skewness == pytest.approx(sum((c - mean) ** 3 for c in counts) / 24 / deviation**3)
    assert found.never == pytest.approx(counts.count(0) / 24)
    assert found.bad == pytest.approx(bad / 72)
    assert counts[int(found.hubs[0])] == max(counts)


def test_circle_pass_rate(vectors):
    passed = 0
    for a in range(24):
        s_p = min(float(vectors[a] @ vectors[j]) for j in range(24) if j != a and LABELS[j] == LABELS[a])
        s_n = max(float(vectors[a] @ vectors[j]) for j in range(24) if LABELS[j] != LABELS[a])
        passed += s_n**2 + (1 - s_p) ** 2 < 2 * 0.4**2
    assert geometry.circle_pass_rate(vectors, LABELS, 0.4) == pytest.approx(passed / 24)


def test_weight_share():
    pairs = Pairs.between(torch.zeros(1, dtype=torch.long), torch.tensor([0] + [1] * 199))
    gradient = torch.full((1, 200), 0.5)
    gradient[0, 0], gradient[0, 1], gradient[0, 2] = -100.0, 50.0, -0.5
    found = geometry.weight_share(gradient, pairs)
    total = 150 + 198 * 0.5
    assert found.hardest == pytest.approx(150 / total)
    assert found.effective == pytest.approx(total**2 / (100**2 + 50**2 + 198 * 0.25) / 200)
    assert found.wrong == pytest.approx(1 / 200)
