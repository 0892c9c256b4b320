"""Averages over anchors and over pairs, and the photos of a class taken two by two."""

import pytest
import torch

from pairlens import losses as ls
from pairlens.core.pairs import Pairs
from pairlens.losses.photo_pairs import pair_up
from pairlens.losses.protocols import has_pair_weights, is_embedding_loss
from support.naive.whole_batch import rounds
from support.twin_checks import unit_points

OF_PAIRS = [
    ls.NTXent(average="pair"),
    ls.TupletMargin(average="pair"),
    ls.Angular(average="pair"),
    ls.AllTriplets(average="pair"),
    ls.AllTriplets(average="pair", semi_hard=True),
]
OF_A_BATCH = [
    *OF_PAIRS,
    ls.NCA(),
    ls.PNP(),
    ls.IntraPairVariance(),
    ls.DynamicSoftMargin(),
    ls.ThresholdConsistentMargin(),
    ls.VICReg(),
]


def value(loss, points, labels):
    if is_embedding_loss(loss):
        return loss.of_embeddings(points, labels)
    return loss(points @ points.T, Pairs.within(labels))


@pytest.mark.parametrize("loss", OF_PAIRS, ids=str)
def test_a_photo_without_a_positive_adds_nothing_to_an_average_over_pairs(loss):
    """Its negatives are negatives of the other anchors, but it is no anchor: a copy of it changes no count of anchors."""
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    points = unit_points(6)
    full = Pairs.within(labels)
    alone = torch.zeros(6, dtype=torch.bool).index_fill(0, torch.tensor([5]), True)[:, None]
    without = Pairs(full.positive & ~alone, full.negative & ~alone)
    assert torch.equal(loss(points @ points.T, full), loss(points @ points.T, without))


@pytest.mark.parametrize("loss", OF_A_BATCH, ids=str)
def test_an_empty_batch_gives_zero_with_a_graph(loss):
    points = torch.zeros(0, 4, requires_grad=True)
    found = value(loss, points, torch.zeros(0, dtype=torch.long))
    assert float(found.detach()) == 0
    assert torch.autograd.grad(found, points)[0].shape == (0, 4)


def test_a_sum_with_an_average_over_pairs_is_the_sum_of_its_losses():
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 2])
    points = unit_points(9)
    parts = ls.Circle(), ls.NTXent(average="pair")
    whole = ls.Sum(parts, (1.0, 0.5))
    assert not has_pair_weights(whole)
    expected = value(parts[0], points, labels) + 0.5 * value(parts[1], points, labels)
    assert torch.allclose(value(whole, points, labels), expected, atol=1e-12)
    of_anchors = value(ls.Sum((ls.Circle(), ls.NTXent()), (1.0, 0.5)), points, labels)
    assert abs(of_anchors - expected) > 1e-3


@pytest.mark.parametrize("labels", [[0, 0, 1, 1], [0, 1, 0, 1, 0, 1, 0], [3, 3, 3, 3, 1, 1, 3], [0, 1, 2]], ids=str)
def test_photos_are_paired_in_the_order_of_the_batch(labels):
    pairs = pair_up(torch.tensor(labels))
    expected = rounds(labels)
    found = list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert set(found) == {pair for one in expected for pair in one}
    assert torch.equal(pairs.meetings.positive, torch.eye(len(found), dtype=torch.bool))
    negatives = {(a, q) for one in expected for a, _ in one for b, q in one if labels[a] != labels[b]}
    assert {(found[i][0], found[j][1]) for i, j in pairs.meetings.negative.nonzero().tolist()} == negatives
