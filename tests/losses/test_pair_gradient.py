"""The pair weight of losses without a closed form: autograd's dL/ds against that of their plain-loop twins."""

import pytest
import torch

from pairlens.core.pairs import Pairs
from pairlens.losses import (
    Angular,
    DynamicSoftMargin,
    Histogram,
    IntraPairVariance,
    LiftedStructure,
    PooledCircle,
    Quadruplet,
    SimilarityContrastive,
    SoftTriple,
    SubCenterArcFace,
    ThresholdConsistentMargin,
)
from pairlens.losses.pair_gradient import pair_gradient, pair_gradients, similarity_measure
from pairlens.losses.protocols import centers_of, possible_sources, weighs_pairs
from pairlens.losses.third_party import wrap_pairs
from support import naive
from support.loss_cases import BATCH, PROXIES, parameter_name
from support.naive import pairwise, proxies, whole_batch
from support.twin_checks import gradient_of, unit_points

CLASSES = 4
# Classes of very different size, one of a single photo.
LAYOUTS = [[0, 0, 1, 1, 2, 2, 3], [0, 0, 0, 0, 0, 1, 1, 2], [0, 1, 0, 1, 0, 1, 0, 1]]

OF_A_BATCH = [
    (Angular(), lambda s, y: pairwise.angular(s, y, 45)),
    (Angular(60), lambda s, y: pairwise.angular(s, y, 60)),
    (Histogram(11), lambda s, y: pairwise.histogram(s, y, 11)),
    (DynamicSoftMargin(), lambda s, y: whole_batch.dynamic_soft_margin(s, y, 512)),
    (IntraPairVariance(), lambda s, y: whole_batch.intra_pair_variance(s, y, 0.01, 0.01)),
    (ThresholdConsistentMargin(), lambda s, y: whole_batch.threshold_consistent(s, y, 0.9, 0.5, 1.0, 1.0)),
    (LiftedStructure(), lambda s, y: pairwise.lifted(s, y, 1.0)),
    (PooledCircle(), lambda s, y: pairwise.pooled_circle(s, y, 0.4, 80)),
    (PooledCircle(0.25, 16), lambda s, y: pairwise.pooled_circle(s, y, 0.25, 16)),
    (Quadruplet(), lambda s, y: pairwise.quadruplet(s, y, 1.0, 0.5)),
]


def soft_triple_twin(similarity, labels, loss):
    """The plain loop of SoftTriple as a function of similarities: embeddings whose products with the centres they are."""
    size = CLASSES * loss.centers
    centers = torch.eye(size, dtype=similarity.dtype).view(CLASSES, loss.centers, size)
    return naive.soft_triple(similarity, labels, centers, loss.lam, loss.gamma, 0.0, loss.delta)


def arc_face_twin(similarity, labels, loss):
    return proxies.sub_center_arc_face(similarity, labels, loss.centers, loss.scale, loss.margin)


OF_CENTRES = [
    (SoftTriple(centers=3), soft_triple_twin),
    (SoftTriple(centers=2, lam=5.0, gamma=0.5, delta=0.2), soft_triple_twin),
    (SubCenterArcFace(centers=3), arc_face_twin),
    (SubCenterArcFace(centers=2, scale=8, margin=0.2), arc_face_twin),
]


def test_every_loss_has_a_test_of_its_pair_weights():
    tested = {type(loss) for loss, _ in OF_A_BATCH + OF_CENTRES}
    without_closed_form = {
        type(loss) for loss in [*BATCH, *PROXIES] if not hasattr(loss, "weigh") and weighs_pairs(loss)
    }
    assert without_closed_form == tested


@pytest.mark.parametrize("labels", LAYOUTS, ids=str)
@pytest.mark.parametrize(("loss", "twin"), OF_A_BATCH, ids=parameter_name)
def test_pair_weight_of_a_batch_is_that_of_the_plain_loop(loss, twin, labels):
    points = unit_points(len(labels), dim=3)
    similarity = points @ points.T
    found = pair_gradient(similarity_measure(loss), similarity, Pairs.within(torch.tensor(labels)))
    slow = similarity.detach().clone().requires_grad_()
    expected = gradient_of(twin(slow, labels), slow)
    # A loop may read a pair from either of its two entries; the weight of the pair is the sum of both.
    assert torch.allclose(found + found.T, expected + expected.T, atol=1e-9, rtol=1e-9)
    assert found.abs().max() > 0


@pytest.mark.parametrize("labels", LAYOUTS, ids=str)
@pytest.mark.parametrize(("loss", "twin"), OF_CENTRES, ids=parameter_name)
def test_pair_weight_of_centres_is_that_of_the_plain_loop(loss, twin, labels):
    similarity = unit_points(len(labels)) @ unit_points(CLASSES * loss.centers, seed=1).T
    classes = torch.arange(CLASSES).repeat_interleave(loss.centers)
    found = pair_gradient(loss, similarity, Pairs.between(torch.tensor(labels), classes))
    slow = similarity.detach().clone().requires_grad_()
    expected = gradient_of(twin(slow, labels, loss), slow)
    assert torch.allclose(found, expected, atol=1e-9, rtol=1e-9)
    assert found.abs().max() > 0


def test_a_wrong_weight_is_seen():
    labels = LAYOUTS[0]
    points = unit_points(len(labels), dim=3)
    similarity = points @ points.T
    pairs = Pairs.within(torch.tensor(labels))
    circle = pair_gradient(PooledCircle(), similarity, pairs)
    other = pair_gradient(PooledCircle(margin=0.41), similarity, pairs)
    assert not torch.allclose(circle, other, atol=1e-9, rtol=1e-9)


def test_the_similarities_are_left_as_they_were():
    similarity = torch.eye(3)
    pair_gradient(SimilarityContrastive(), similarity, Pairs.within(torch.tensor([0, 0, 1])))
    assert similarity.grad is None
    assert torch.equal(similarity, torch.eye(3))


@pytest.mark.parametrize("loss", [loss for loss in [*BATCH, *PROXIES] if weighs_pairs(loss)], ids=parameter_name)
def test_many_matrices_at_a_time_give_what_each_gives_alone(loss, monkeypatch):
    labels = torch.tensor(LAYOUTS[0])
    pairs = Pairs.within(labels)
    if "batch" not in possible_sources(loss):
        pairs = Pairs.between(labels, torch.arange(CLASSES).repeat_interleave(centers_of(loss)))
    matrices = 2 * torch.rand(5, *pairs.positive.shape, dtype=torch.float64) - 1
    # Two at a time, so that the last one is alone.
    monkeypatch.setattr("pairlens.losses.pair_gradient.ENTRIES", 2 * matrices[0].numel())
    values, gradients = pair_gradients(loss, matrices, pairs)
    for matrix, value, gradient in zip(matrices, values, gradients, strict=True):
        assert torch.allclose(value, similarity_measure(loss)(matrix, pairs), rtol=1e-12)
        alone = pair_gradient(similarity_measure(loss), matrix, pairs)
        assert (gradient - alone).abs().max() <= 1e-12 * (1 + alone.abs().max())


def test_a_loss_from_outside_sees_one_matrix_after_another():
    def reads_a_number(similarity, pairs):
        # No loss of many matrices at a time can do this.
        scale = 1 + similarity.max().item()
        return scale * similarity[pairs.negative].mean()

    matrices = torch.tensor([[[1.0, 0.5, 0.0]], [[1.0, 0.5, 1.0]]])
    pairs = Pairs.between(torch.tensor([0]), torch.tensor([0, 1, 1]))
    values, gradients = pair_gradients(wrap_pairs(reads_a_number), matrices, pairs)
    assert values.tolist() == [0.5, 1.5]
    assert gradients.tolist() == [[[0.0, 1.0, 1.0]], [[0.0, 1.0, 1.0]]]
