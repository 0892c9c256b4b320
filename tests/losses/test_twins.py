"""Every loss against its plain-loop twin in float64, and all closed-form pair weights against autograd."""

import dataclasses
import inspect
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairlens import losses as ls
from pairlens.core.pairs import Pairs
from pairlens.losses.protocols import has_pair_weights
from support import naive
from support.loss_cases import parameter_name
from support.naive import pairwise, proxies, smooth_rank, whole_batch
from support.twin_checks import (
    check_against_twin,
    check_against_twin_on_proxies,
    check_pair_weights,
    gradient_of,
    unit_points,
)

TWINS = [
    (ls.Contrastive(), lambda s, y: pairwise.contrastive(s, y, 1.0)),
    (ls.Contrastive(margin=1.7), lambda s, y: pairwise.contrastive(s, y, 1.7)),
    (ls.SimilarityContrastive(0.2), lambda s, y: pairwise.similarity_contrastive(s, y, 0.2)),
    (ls.Triplet(), lambda s, y: pairwise.triplet(s, y, 0.1, "distance", False)),
    (ls.Triplet(0.5, "squared"), lambda s, y: pairwise.triplet(s, y, 0.5, "squared", False)),
    (ls.Triplet(0.3, "cosine"), lambda s, y: pairwise.triplet(s, y, 0.3, "cosine", False)),
    (ls.Triplet(0.0, soft=True), lambda s, y: pairwise.triplet(s, y, 0.0, "distance", True)),
    (ls.AllTriplets(), lambda s, y: pairwise.all_triplets(s, y, 0.1, "distance", False)),
    (ls.AllTriplets(0.2, "squared"), lambda s, y: pairwise.all_triplets(s, y, 0.2, "squared", False)),
    (ls.AllTriplets(0.3, "cosine", True), lambda s, y: pairwise.all_triplets(s, y, 0.3, "cosine", True)),
    (
        ls.AllTriplets(0.3, average="pair"),
        lambda s, y: pairwise.all_triplets(s, y, 0.3, "distance", False, "pair"),
    ),
    (
        ls.AllTriplets(0.2, "squared", True, "pair"),
        lambda s, y: pairwise.all_triplets(s, y, 0.2, "squared", True, "pair"),
    ),
    (ls.Circle(), lambda s, y: naive.circle(s, y, 0.4, 80)),
    (ls.Circle(0.25, 256), lambda s, y: naive.circle(s, y, 0.25, 256)),
    (ls.PooledCircle(), lambda s, y: pairwise.pooled_circle(s, y, 0.4, 80)),
    (ls.MultiSimilarity(), lambda s, y: pairwise.multi_similarity(s, y, 2, 40, 0.5, 0.1, True)),
    (ls.MultiSimilarity(3, 10, 0.1, mining=False), lambda s, y: pairwise.multi_similarity(s, y, 3, 10, 0.1, 0, False)),
    (ls.BinomialDeviance(), lambda s, y: pairwise.binomial(s, y, 2, 40, 0.5)),
    (ls.LiftedStructure(), lambda s, y: pairwise.lifted(s, y, 1.0)),
    (ls.GeneralizedLifted(), lambda s, y: pairwise.generalized_lifted(s, y, 1.0)),
    (ls.NTXent(), lambda s, y: pairwise.nt_xent(s, y, 0.07)),
    (ls.NTXent(0.01), lambda s, y: pairwise.nt_xent(s, y, 0.01)),
    (ls.NTXent(0.2, "pair"), lambda s, y: pairwise.nt_xent(s, y, 0.2, "pair")),
    (ls.NCA(), lambda s, y: pairwise.nca(s, y, 1.0)),
    (ls.NCA(9.0), lambda s, y: pairwise.nca(s, y, 9.0)),
    (ls.DynamicSoftMargin(), lambda s, y: whole_batch.dynamic_soft_margin(s, y, 512)),
    (ls.DynamicSoftMargin(7), lambda s, y: whole_batch.dynamic_soft_margin(s, y, 7)),
    (ls.IntraPairVariance(), lambda s, y: whole_batch.intra_pair_variance(s, y, 0.01, 0.01)),
    (ls.IntraPairVariance(0.2, 0.0), lambda s, y: whole_batch.intra_pair_variance(s, y, 0.2, 0.0)),
    (ls.ThresholdConsistentMargin(), lambda s, y: whole_batch.threshold_consistent(s, y, 0.9, 0.5, 1.0, 1.0)),
    (
        ls.ThresholdConsistentMargin(0.6, 0.0, 0.5, 2.0),
        lambda s, y: whole_batch.threshold_consistent(s, y, 0.6, 0.0, 0.5, 2.0),
    ),
    (ls.SupCon(), lambda s, y: pairwise.sup_con(s, y, 0.1)),
    (ls.TupletMargin(), lambda s, y: pairwise.tuplet_margin(s, y, 5.73, 64)),
    (ls.TupletMargin(10, 16, "pair"), lambda s, y: pairwise.tuplet_margin(s, y, 10, 16, "pair")),
    (ls.Angular(30, "pair"), lambda s, y: pairwise.angular(s, y, 30, "pair")),
    (ls.Angular(), lambda s, y: pairwise.angular(s, y, 45)),
    (ls.Angular(60), lambda s, y: pairwise.angular(s, y, 60)),
    (ls.RankedList(), lambda s, y: pairwise.ranked_list(s, y, 1.2, 0.4, 0, 10, 0.5)),
    (ls.RankedList(1.5, 0.2, 3, 5, 0.3), lambda s, y: pairwise.ranked_list(s, y, 1.5, 0.2, 3, 5, 0.3)),
    (ls.Quadruplet(), lambda s, y: pairwise.quadruplet(s, y, 1.0, 0.5)),
    # Few nodes and few bins: the plain loops over the default 151 nodes and 10 bins take half a minute and prove no more.
    (ls.Histogram(11), lambda s, y: pairwise.histogram(s, y, 11)),
    (ls.FastAP(3), lambda s, y: smooth_rank.fast_ap(s, y, 3)),
    (ls.SmoothAP(), lambda s, y: smooth_rank.smooth_ap(s, y, 0.01)),
    (ls.SmoothAP(0.1, count_query=True), lambda s, y: smooth_rank.smooth_ap(s, y, 0.1, True)),
    (ls.SupAP(), lambda s, y: smooth_rank.sup_ap(s, y, 0.01, 100, 1.44, 0.05)),
    (
        ls.SupAP(line_from="delta"),
        lambda s, y: smooth_rank.sup_ap(s, y, 0.01, 100, 1.44, 0.05, start=0.05),
    ),
    (ls.PNP(), lambda s, y: smooth_rank.pnp(s, y, 0.01, lambda n: 1 - 1 / (1 + n) ** 4)),
    (ls.PNP("O", temperature=0.1), lambda s, y: smooth_rank.pnp(s, y, 0.1, lambda n: n)),
    (ls.PNP("Iu", temperature=0.1), lambda s, y: smooth_rank.pnp(s, y, 0.1, lambda n: (1 + n) * torch.log(1 + n))),
    (
        ls.PNP("Ib", b=3, temperature=0.1),
        lambda s, y: smooth_rank.pnp(s, y, 0.1, lambda n: (3 * n - torch.log(1 + 3 * n)) / 9),
    ),
    (
        ls.PNP("Ds", temperature=0.1, count_query=True),
        lambda s, y: smooth_rank.pnp(s, y, 0.1, lambda n: torch.log(1 + n), True),
    ),
    (ls.RecallAtK(), lambda s, y: smooth_rank.recall_at_k(s, y, (1, 2, 4, 8, 16), 1.0, 0.01, 0)),
    (ls.RecallAtK((1, 3), 0.5, 0.1, True), lambda s, y: smooth_rank.recall_at_k(s, y, (1, 3), 0.5, 0.1, 1)),
]
SUMS = [
    (
        ls.Sum((ls.Circle(), ls.Triplet(0.3, "cosine")), (1, 0.5)),
        lambda s, y: naive.circle(s, y, 0.4, 80) + 0.5 * pairwise.triplet(s, y, 0.3, "cosine", False),
    ),
    (
        ls.Sum((ls.PooledCircle(), ls.Contrastive())),
        lambda s, y: pairwise.pooled_circle(s, y, 0.4, 80) + pairwise.contrastive(s, y, 1.0),
    ),
]
PROXY_TWINS = [
    (ls.P2SGrad(), proxies.p2s_grad),
    (ls.ProxyNCA(), lambda s, y: proxies.proxy_nca(s, y, 3.0)),
    (ls.ProxyNCAPlus(), lambda s, y: proxies.proxy_nca_plus(s, y, 1 / 9)),
    (ls.ProxyAnchor(), lambda s, y: proxies.proxy_anchor(s, y, 32, 0.1)),
    (ls.NormSoftmax(), lambda s, y: proxies.norm_softmax(s, y, 0.05)),
    (ls.CosFace(), lambda s, y: proxies.cos_face(s, y, 64, 0.35)),
    (ls.ArcFace(), lambda s, y: proxies.arc_face(s, y, 64, 0.5)),
    (ls.ArcFace(8, 2.5), lambda s, y: proxies.arc_face(s, y, 8, 2.5)),
    (ls.SphereFace(), lambda s, y: proxies.sphere_face(s, y, 64, 4)),
    (ls.SphereFace(10, 3), lambda s, y: proxies.sphere_face(s, y, 10, 3)),
    (ls.Circle(0.25, 256), lambda s, y: naive.circle_on_proxies(s, y, 0.25, 256)),
]
layouts = st.lists(st.integers(0, 3), min_size=1, max_size=9)


@pytest.mark.parametrize(("loss", "twin"), TWINS + SUMS, ids=parameter_name)
@settings(max_examples=10, deadline=None)
@given(labels=layouts, dim=st.sampled_from([2, 5]), seed=st.integers(0, 99))
def test_equals_its_plain_loop(loss, twin, labels, dim, seed):
    check_against_twin(loss, lambda s: twin(s, labels), labels, dim, seed)


@pytest.mark.parametrize(("loss", "twin"), TWINS + SUMS, ids=parameter_name)
def test_equals_its_plain_loop_where_positives_are_few(loss, twin):
    """Seven classes of two photos: the positives are gathered here, and mostly a masked matrix in the test above."""
    labels = [*range(7), *range(7), 7]
    check_against_twin(loss, lambda s: twin(s, labels), labels, dim=3)


@pytest.mark.parametrize(("loss", "twin"), PROXY_TWINS, ids=parameter_name)
@settings(max_examples=10, deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=7), classes=st.sampled_from([5, 9]), seed=st.integers(0, 99)
)
def test_equals_its_plain_loop_on_proxies(loss, twin, labels, classes, seed):
    check_against_twin_on_proxies(loss, lambda s: twin(s, labels), labels, classes, seed=seed)


@settings(max_examples=25, deadline=None)
@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=7), centers=st.sampled_from([1, 2, 3]))
def test_sub_centre_arcface_equals_its_plain_loop(labels, centers):
    points, centres = unit_points(len(labels)), unit_points(4 * centers, seed=1)
    pairs = Pairs.between(torch.tensor(labels), torch.arange(4).repeat_interleave(centers))
    fast, slow = ((points @ centres.T).requires_grad_() for _ in range(2))
    value = ls.SubCenterArcFace(centers)(fast, pairs)
    expected = proxies.sub_center_arc_face(slow, labels, centers, 64, 0.5)
    assert abs(value - expected) < 1e-10
    assert torch.allclose(gradient_of(value, fast), gradient_of(expected, slow), atol=1e-8)


@settings(max_examples=25, deadline=None)
@given(labels=layouts, seed=st.integers(0, 99))
def test_margin_equals_its_plain_loop_and_learns_its_boundary(labels, seed):
    points = unit_points(len(labels), seed=seed)
    similarity = (points @ points.T).requires_grad_()
    boundary = torch.tensor(1.1, dtype=torch.float64, requires_grad=True)
    value = ls.Margin(nu=0.1)(similarity, Pairs.within(torch.tensor(labels)), boundary.expand(len(labels)))
    slow, learned = similarity.detach().clone().requires_grad_(), boundary.detach().clone().requires_grad_()
    expected = pairwise.margin(slow, labels, 0.2, learned, 0.1)
    assert abs(value - expected) < 1e-10
    assert torch.allclose(gradient_of(value, similarity), gradient_of(expected, slow), atol=1e-8)
    assert torch.allclose(gradient_of(value, boundary), gradient_of(expected, learned), atol=1e-8)


OF_EMBEDDINGS = [
    (ls.NPair(), lambda x, y: pairwise.n_pair(x, y, 0.005)),
    (ls.NPair(0.1, "positives"), lambda x, y: whole_batch.n_pair_equation_7(x, y, 0.1)),
    (ls.VICReg(), lambda x, y: whole_batch.vicreg(x, y, 25, 25, 1)),
    (ls.VICReg(3, 7, 11), lambda x, y: whole_batch.vicreg(x, y, 3, 7, 11)),
    (ls.SNRContrastive(0.1, 1.5, 0.2, "pair"), lambda x, y: pairwise.snr(x, y, 0.1, 1.5, 0.2, "pair")),
    (ls.SNRContrastive(), lambda x, y: pairwise.snr(x, y, 0.0, 1.0, 0.1)),
    (ls.SNRContrastive(0.1, 0.6, 0.0), lambda x, y: pairwise.snr(x, y, 0.1, 0.6, 0.0)),
]


@pytest.mark.parametrize(("loss", "twin"), OF_EMBEDDINGS, ids=parameter_name)
@settings(max_examples=20, deadline=None)
@given(labels=layouts, seed=st.integers(0, 99))
def test_losses_of_embeddings_equal_their_plain_loops(loss, twin, labels, seed):
    points = 1.7 * unit_points(len(labels), seed=seed)
    fast, slow = points.clone().requires_grad_(), points.clone().requires_grad_()
    value, expected = loss.of_embeddings(fast, torch.tensor(labels)), twin(slow, labels)
    assert abs(value - expected) < 1e-10
    assert torch.allclose(gradient_of(value, fast), gradient_of(expected, slow), atol=1e-8)


# Their twins are called by the tests of their own: two above, and one in test_softtriple.py.
TWINS_OF_CENTERS = {ls.SubCenterArcFace, ls.Margin, ls.SoftTriple}


@pytest.mark.parametrize("kind", get_args(ls.Loss), ids=lambda kind: kind.__name__)
def test_every_loss_has_a_plain_loop_twin(kind):
    twins = {type(loss) for loss, _ in TWINS + PROXY_TWINS + OF_EMBEDDINGS}
    assert kind in twins | TWINS_OF_CENTERS, (
        f"write {kind.__name__} as plain loops in tests/support/naive/ and list it here"
    )


def test_every_exported_loss_is_in_the_union():
    """A loss that is exported but not in the union `Loss` would have no command, no twin and no row in the table."""
    exported = {getattr(ls, name) for name in ls.__all__}
    losses = {kind for kind in exported if inspect.isclass(kind) and dataclasses.is_dataclass(kind)}
    assert losses == {*get_args(ls.Loss), ls.Sum}
    union = {
        kind for name in ls.__all__ if name.endswith("Loss") or "LossOf" in name for kind in get_args(getattr(ls, name))
    }
    assert union == set(get_args(ls.Loss))


def few_positives(count=24, dim=6):
    labels = torch.arange(count) % (count // 2)
    points = unit_points(count, dim)
    return points @ points.T, Pairs.within(labels)


def many_positives(count=24, dim=6):
    points = unit_points(count, dim)
    return points @ points.T, Pairs.within(torch.arange(count) % 3)


def one_proxy():
    return unit_points(12, 6) @ unit_points(16, 6, seed=1).T, Pairs.between(torch.arange(12), torch.arange(16))


def opposite_and_identical():
    """Opposite and identical vectors, where arc cosines and square roots have infinite gradients."""
    similarity = torch.tensor([[1.0, -1.0, 0.3, 1.0], [-1.0, 1.0, -1.0, 0.0]], dtype=torch.float64)
    return similarity, Pairs.between(torch.tensor([0, 1]), torch.arange(4))


WEIGHED = [loss for loss, _ in TWINS + SUMS + PROXY_TWINS + OF_EMBEDDINGS if has_pair_weights(loss)]


@pytest.mark.parametrize("loss", WEIGHED, ids=str)
@pytest.mark.parametrize("make_pairs", [few_positives, many_positives, one_proxy, opposite_and_identical])
def test_closed_form_pair_weight_is_the_gradient(loss, make_pairs):
    check_pair_weights(loss.weigh, *make_pairs())
