"""Every loss that pytorch-metric-learning (PML) also has: the same function, or the difference and its reason."""

import dataclasses
import inspect
import math
import re
import warnings
from pathlib import Path

import pytest
import torch
from pytorch_metric_learning import distances, reducers, regularizers
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning import miners as pml_miners

from pairlens import losses as ls
from pairlens.core.pairs import Pairs
from pairlens.core.records import to_plain
from pairlens.losses.loss_text import folder_words, loss_from_text, loss_text
from pairlens.losses.photo_pairs import pair_up
from pairlens.training.criterion import Criterion
from pairlens.training.references import InBatch, Proxies
from support.naive.whole_batch import rounds

CLASSES, PER_CLASS, DIM = 12, 4, 16
LABELS = torch.arange(CLASSES * PER_CLASS) % CLASSES
# Classes of 2, 3, 4, 5 and 6 photos in random order: an average over pairs is another one than an average over anchors.
SIZES = 2 + torch.arange(CLASSES) % 5
UNEVEN = torch.arange(CLASSES).repeat_interleave(SIZES)
UNEVEN = UNEVEN[torch.randperm(len(UNEVEN), generator=torch.Generator().manual_seed(2))]
HALF_RADIAN = 0.5 * 180 / math.pi
each_layout = pytest.mark.parametrize("labels", [LABELS, UNEVEN], ids=["equal classes", "uneven classes"])


def points(labels=LABELS):
    rng = torch.Generator().manual_seed(0)
    centres = torch.randn(CLASSES, DIM, dtype=torch.float64, generator=rng)
    noise = torch.randn(len(labels), DIM, dtype=torch.float64, generator=rng)
    return torch.nn.functional.normalize(centres[labels] + noise, dim=1)


def vectors(centers=1):
    return torch.randn(CLASSES * centers, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def measured(measure, labels=LABELS):
    """Value, and the gradient along the sphere: some losses of PML do not normalise, so only that part can be compared."""
    x = points(labels).requires_grad_()
    value = measure(x, labels)
    (gradient,) = torch.autograd.grad(value, x)
    return float(value.detach()), gradient - (gradient * x).sum(1, keepdim=True).detach() * x.detach()


def ours(loss, centers=0):
    references = InBatch()
    if centers:
        references = Proxies(CLASSES, DIM, centers).double()
        references.vectors.data = vectors(centers)
    return Criterion(loss, references, classes=CLASSES).double()


def theirs(loss, miner=None):
    return lambda x, labels: loss(x, labels, None if miner is None else miner(x, labels))


def of_two_views(loss):
    """A loss of two views without labels, on the first and second, third and fourth, ... photo of each class."""

    def measure(x, labels):
        first, second = zip(*(pair for of_round in rounds(labels.tolist()) for pair in of_round), strict=True)
        return loss(x[list(first)], ref_emb=x[list(second)])

    return measure


def of_proxies(loss, name, centers=1, transposed=True):
    parameter = getattr(loss, name)
    parameter.data = vectors(centers).T if transposed else vectors(centers)
    return theirs(loss)


def sphere_face():
    with warnings.catch_warnings(action="ignore"):
        return pml.SphereFaceLoss(CLASSES, DIM, margin=4, scale=64)


def large_margin_softmax():
    with warnings.catch_warnings(action="ignore"):
        loss = pml.LargeMarginSoftmaxLoss(CLASSES, DIM, margin=4, scale=64)
    loss.W.data = torch.nn.functional.normalize(vectors(), dim=1).T
    return theirs(loss)


# The same function on any class sizes. Where PML averages over the pairs of a batch, that is average="pair" here.
SAME = {
    "batch-hard triplet": (
        ours(ls.Triplet(0.1)),
        theirs(pml.TripletMarginLoss(0.1, reducer=reducers.MeanReducer()), pml_miners.BatchHardMiner()),
    ),
    "all triplets": (ours(ls.AllTriplets(0.3, average="pair")), theirs(pml.TripletMarginLoss(0.3))),
    "all triplets, all active": (ours(ls.AllTriplets(4.0, average="pair")), theirs(pml.TripletMarginLoss(4.0))),
    "circle": (ours(ls.Circle(0.4, 80)), theirs(pml.CircleLoss(0.4, 80))),
    "circle, sharp": (ours(ls.Circle(0.25, 256)), theirs(pml.CircleLoss(0.25, 256))),
    "multi-similarity": (
        ours(ls.MultiSimilarity(2, 40, 0.5, 0.1)),
        theirs(pml.MultiSimilarityLoss(2, 40, 0.5), pml_miners.MultiSimilarityMiner(0.1)),
    ),
    "multi-similarity, not mined": (
        ours(ls.MultiSimilarity(2, 40, 0.5, mining=False)),
        theirs(pml.MultiSimilarityLoss(2, 40, 0.5)),
    ),
    "lifted structure": (ours(ls.LiftedStructure()), theirs(pml.LiftedStructureLoss())),
    "generalised lifted": (ours(ls.GeneralizedLifted()), theirs(pml.GeneralizedLiftedStructureLoss())),
    "NT-Xent": (ours(ls.NTXent(0.07, average="pair")), theirs(pml.NTXentLoss(0.07))),
    "NCA": (ours(ls.NCA(3.0)), theirs(pml.NCALoss(softmax_scale=3))),
    "intra-pair variance": (ours(ls.IntraPairVariance(0.05, 0.02)), theirs(pml.IntraPairVarianceLoss(0.05, 0.02))),
    "threshold-consistent margin": (
        ours(ls.ThresholdConsistentMargin(0.8, 0.1, 0.5, 2.0)),
        theirs(pml.ThresholdConsistentMarginLoss(lambda_plus=0.5, lambda_minus=2.0, margin_plus=0.8, margin_minus=0.1)),
    ),
    "VICReg": (ours(ls.VICReg()), of_two_views(pml.VICRegLoss())),
    "PNP, original": (
        ours(ls.PNP("O", temperature=0.1, count_query=True)),
        theirs(pml.PNPLoss(variant="O", anneal=0.1)),
    ),
    "PNP, increasing": (
        ours(ls.PNP("Iu", temperature=0.1, count_query=True)),
        theirs(pml.PNPLoss(variant="Iu", anneal=0.1)),
    ),
    "PNP, bounded": (
        ours(ls.PNP("Ib", b=3, temperature=0.1, count_query=True)),
        theirs(pml.PNPLoss(variant="Ib", b=3, anneal=0.1)),
    ),
    "PNP, slow": (
        ours(ls.PNP("Ds", temperature=0.1, count_query=True)),
        theirs(pml.PNPLoss(variant="Ds", anneal=0.1)),
    ),
    "PNP, quick": (
        ours(ls.PNP("Dq", alpha=4, temperature=0.1, count_query=True)),
        theirs(pml.PNPLoss(variant="Dq", alpha=4, anneal=0.1)),
    ),
    "SupCon": (ours(ls.SupCon(0.1)), theirs(pml.SupConLoss(0.1))),
    "tuplet margin": (ours(ls.TupletMargin(5.73, 64, average="pair")), theirs(pml.TupletMarginLoss(5.73, 64))),
    "angular": (ours(ls.Angular(45, average="pair")), theirs(pml.AngularLoss(45))),
    "SNR contrastive": (
        ours(ls.SNRContrastive(0.2, 1.5, 0.0, average="pair")),
        theirs(pml.SignalToNoiseRatioContrastiveLoss(pos_margin=0.2, neg_margin=1.5)),
    ),
    "FastAP": (ours(ls.FastAP(10)), theirs(pml.FastAPLoss(10))),
    "Proxy-NCA++": (
        ours(ls.ProxyNCAPlus(1 / 9), 1),
        of_proxies(pml.ProxyNCALoss(CLASSES, DIM, softmax_scale=9), "proxies", transposed=False),
    ),
    "Proxy-Anchor": (
        ours(ls.ProxyAnchor(), 1),
        of_proxies(pml.ProxyAnchorLoss(CLASSES, DIM), "proxies", transposed=False),
    ),
    "normalised softmax": (ours(ls.NormSoftmax(), 1), of_proxies(pml.NormalizedSoftmaxLoss(CLASSES, DIM), "W")),
    "CosFace": (ours(ls.CosFace(), 1), of_proxies(pml.CosFaceLoss(CLASSES, DIM), "W")),
    "ArcFace": (ours(ls.ArcFace(), 1), of_proxies(pml.ArcFaceLoss(CLASSES, DIM, margin=HALF_RADIAN), "W")),
    "large-margin softmax": (ours(ls.SphereFace(), 1), large_margin_softmax()),
    "SphereFace": (ours(ls.SphereFace(), 1), of_proxies(sphere_face(), "W")),
    "sub-centre ArcFace": (
        ours(ls.SubCenterArcFace(2), 2),
        of_proxies(
            pml.SubCenterArcFaceLoss(num_classes=CLASSES, embedding_size=DIM, margin=HALF_RADIAN, sub_centers=2), "W", 2
        ),
    ),
    "SoftTriple": (
        ours(ls.SoftTriple(2), 2),
        of_proxies(
            pml.SoftTripleLoss(
                CLASSES,
                DIM,
                2,
                weight_regularizer=regularizers.SparseCentersRegularizer(CLASSES, 2),
                weight_reg_weight=0.2,
            ),
            "fc",
            2,
        ),
    ),
}


@each_layout
@pytest.mark.parametrize("name", SAME)
def test_the_same_function_has_the_same_value_and_gradient(name, labels):
    (value, gradient), (expected, its_gradient) = (measured(measure, labels) for measure in SAME[name])
    assert value == pytest.approx(expected, rel=1e-8)
    assert its_gradient.abs().max() > 1e-4
    assert torch.allclose(gradient, its_gradient, atol=1e-8)


@pytest.mark.filterwarnings("ignore:Using a non-tuple")
def test_histogram_is_the_same_up_to_the_float32_grid_of_pml():
    (value, gradient), (expected, its_gradient) = (
        measured(m) for m in (ours(ls.Histogram(101)), theirs(pml.HistogramLoss(n_bins=100)))
    )
    assert value == pytest.approx(expected, abs=1e-6)
    assert torch.allclose(gradient, its_gradient, atol=1e-6)


@each_layout
def test_p2s_grad_of_pml_is_the_mean_over_classes_of_squares_without_the_half(labels):
    """It shortens its weights by 1e-7 in front of each batch, so the two agree to that only."""
    value, gradient = measured(ours(ls.P2SGrad(), 1), labels)
    expected, its_gradient = measured(of_proxies(pml.P2SGradLoss(DIM, CLASSES), "weight"), labels)
    assert value == pytest.approx(CLASSES / 2 * expected, rel=1e-6)
    assert torch.allclose(gradient, CLASSES / 2 * its_gradient, atol=1e-6)


AVERAGED_OVER_PAIRS = {
    "NT-Xent": ls.NTXent(0.07),
    "tuplet margin": ls.TupletMargin(5.73, 64),
    "angular": ls.Angular(45),
    "all triplets, all active": ls.AllTriplets(4.0),
}


@pytest.mark.parametrize("name", AVERAGED_OVER_PAIRS)
def test_both_averages_are_the_same_for_equal_classes_only(name):
    of_anchors, of_pairs = ours(AVERAGED_OVER_PAIRS[name]), SAME[name][0]
    (value, gradient), (expected, other) = measured(of_anchors), measured(of_pairs)
    assert value == pytest.approx(expected, rel=1e-12)
    assert torch.allclose(gradient, other, atol=1e-12)
    assert 0.5 < cosine_of_gradients(of_anchors, of_pairs, UNEVEN) < 0.99
    assert abs(measured(of_anchors, UNEVEN)[0] / measured(of_pairs, UNEVEN)[0] - 1) > 1e-4


def test_the_averages_of_violating_pairs_differ_even_for_equal_classes():
    """The numbers of violating pairs of two anchors differ in any batch."""
    for loss in (ls.SNRContrastive(0.2, 1.5, 0.0), ls.AllTriplets(0.3)):
        of_pairs = ours(dataclasses.replace(loss, average="pair"))
        assert measured(ours(loss))[0] != pytest.approx(measured(of_pairs)[0], rel=1e-4)


@pytest.mark.parametrize("kind", [ls.NTXent, ls.TupletMargin, ls.Angular, ls.AllTriplets, ls.SNRContrastive])
def test_an_unknown_average_is_refused_and_the_usual_one_leaves_stored_runs_as_they_were(kind):
    with pytest.raises(ValueError, match=r"the average 'photo' of .* is unknown; use anchor or pair"):
        kind(average="photo")
    assert "average" not in to_plain(kind())
    assert "average" not in loss_text(kind())
    assert "anchor" not in folder_words(kind())
    assert to_plain(kind(average="pair"))["average"] == "pair"
    assert loss_from_text(loss_text(kind(average="pair"))) == kind(average="pair")


def test_margin_is_the_same_on_the_same_triplets():
    """PML counts a negative twice if it was sampled twice; if each was sampled once, the two losses are equal."""
    x = points()
    pairs = Pairs.within(LABELS)
    anchors, positives = pairs.positive.nonzero(as_tuple=True)
    shift = torch.arange(len(anchors)) % (PER_CLASS - 1)
    negatives = torch.stack([pairs.negative[a].nonzero()[s, 0] for a, s in zip(anchors, shift, strict=True)])
    chosen = torch.zeros_like(pairs.negative)
    chosen[anchors, negatives] = True
    loss = pml.MarginLoss(margin=0.2, beta=1.2)
    expected = loss(x, LABELS, (anchors, positives, negatives))
    value = ls.Margin()(x @ x.T, Pairs(pairs.positive, chosen), torch.full((len(x),), 1.2, dtype=torch.float64))
    # PML stores its boundary in float32.
    assert float(value) == pytest.approx(float(expected), rel=1e-6)


def cosine_of_gradients(first, second, labels=LABELS):
    (_, one), (_, other) = measured(first, labels), measured(second, labels)
    return float(torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0))


def test_contrastive_is_another_function_than_that_of_pml():
    """PML uses distances and not their squares, so its pull does not fall with d; it also averages each side separately."""
    assert cosine_of_gradients(ours(ls.Contrastive()), theirs(pml.ContrastiveLoss())) < 0.9
    similarity = theirs(pml.ContrastiveLoss(1.0, 0.5, distance=distances.CosineSimilarity()))
    assert cosine_of_gradients(ours(ls.SimilarityContrastive(0.5)), similarity) > 0.85


@each_layout
def test_the_contrastive_loss_of_xbm_has_the_same_gradient_and_another_value(labels):
    """Its official code adds s_n for each active negative, where SimilarityContrastive adds s_n - m."""
    margin = 0.3

    def official(x, labels):
        s, pairs = x @ x.T, Pairs.within(labels)
        return ((1 - s)[pairs.positive].sum() + s[pairs.negative & (s > margin)].sum()) / len(x)

    (value, gradient), (other, its_gradient) = (
        measured(m, labels) for m in (ours(ls.SimilarityContrastive(margin)), official)
    )
    x = points(labels)
    active = int((Pairs.within(labels).negative & (x @ x.T > margin)).sum())
    assert active > 10
    assert torch.allclose(gradient, its_gradient, atol=1e-12)
    assert other - value == pytest.approx(margin * active / len(x), rel=1e-10)


def test_active_triplets_are_averaged_by_anchor_and_not_by_batch():
    """PML's mean over all active triplets of the batch is the mean over anchors, weighted by their active triplets."""
    x = points()
    values, counts = [], []
    pairs = Pairs.within(LABELS)
    d = (2 - 2 * x @ x.T).clamp(min=0).sqrt()
    for a in range(len(x)):
        gaps = d[a, pairs.positive[a]][:, None] - d[a, pairs.negative[a]][None, :] + 0.1
        counts.append(int((gaps > 0).sum()))
        values.append(float(gaps.clamp(min=0).sum()) / max(1, counts[-1]))
    assert measured(ours(ls.AllTriplets(0.1)))[0] == pytest.approx(sum(values) / len(values))
    by_batch = sum(v * c for v, c in zip(values, counts, strict=True)) / sum(counts)
    assert measured(theirs(pml.TripletMarginLoss(0.1)))[0] == pytest.approx(by_batch)


@pytest.mark.filterwarnings("ignore:Values")
def test_the_weights_of_ranked_list_are_constant_and_in_pml_are_not():
    one, other = ours(ls.RankedList()), theirs(pml.RankedListLoss(margin=0.4, Tn=10, Tp=0, alpha=1.2))
    # PML adds 1e-5 to the weight of each photo of the batch in the sum that it divides by.
    assert 1e-6 < measured(one)[0] - measured(other)[0] < 5e-5
    assert 0.9 < cosine_of_gradients(one, other) < 0.99


@pytest.mark.parametrize("labels", [LABELS[: 2 * CLASSES], UNEVEN], ids=["two photos", "uneven"])
def test_npair_of_pml_is_equation_7_with_the_first_two_photos_of_each_class(labels):
    # The third photo of a class and the following ones are left out, because PML does not look at them.
    early = (torch.tril(labels[:, None] == labels[None, :], -1).sum(dim=1) < 2).nonzero().flatten()
    x = points(labels)[early].requires_grad_()
    values = [ours(ls.NPair(0.0, "positives"))(x, labels[early]), pml.NPairsLoss()(x, labels[early])]
    gradients = [torch.autograd.grad(value, x)[0] for value in values]
    tangents = [g - (g * x).sum(1, keepdim=True) * x for g in gradients]
    assert float(values[0].detach()) == pytest.approx(float(values[1].detach()), rel=1e-8)
    assert torch.allclose(*tangents, atol=1e-8)


@pytest.mark.parametrize("labels", [LABELS[: 2 * CLASSES], UNEVEN], ids=["two photos", "uneven"])
def test_dynamic_soft_margin_has_the_value_of_pml_for_two_views_in_its_first_batch(labels):
    """Later batches have a running histogram there; the gradient also passes through the histogram there."""
    early = (torch.tril(labels[:, None] == labels[None, :], -1).sum(dim=1) < 2).nonzero().flatten()
    x, own = points(labels)[early], labels[early]
    peer, fresh = (pml.DynamicSoftMarginLoss(num_bins=64) for _ in range(2))
    expected = of_two_views(peer)(x, own)
    pairs = pair_up(own)
    value = ls.DynamicSoftMargin(64)(x[pairs.first] @ x[pairs.second].T, pairs.meetings)
    assert float(value) == pytest.approx(float(expected), rel=1e-8)
    other = torch.nn.functional.normalize(x + x.flip(1), dim=1)
    assert float(of_two_views(peer)(other, own)) != pytest.approx(float(of_two_views(fresh)(other, own)), rel=1e-3)


def test_instance_loss_of_pml_takes_the_number_of_a_class_for_the_place_of_a_photo():
    """Its value depends on the order of the batch, so there is no loss of Pairlens like it; docs/losses.md says so."""
    order = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(1))
    one, other = (float(pml.InstanceLoss()(points()[i], LABELS[i])) for i in (torch.arange(len(LABELS)), order))
    assert abs(one - other) > 0.1


def test_npair_of_pml_takes_one_pair_per_class():
    value, _ = measured(ours(ls.NPair(0.0)))
    few, _ = measured(theirs(pml.NPairsLoss()))
    # More negatives in the sum make the logarithm larger. PML takes one photo per other class, Pairlens all photos.
    assert value > few
    assert 0.3 < cosine_of_gradients(ours(ls.NPair(0.0)), theirs(pml.NPairsLoss())) < 0.8


def test_proxy_nca_leaves_its_own_proxy_out_of_the_sum_and_pml_does_not():
    plain = ours(ls.ProxyNCA(3.0), 1)
    other = of_proxies(pml.ProxyNCALoss(CLASSES, DIM, softmax_scale=9), "proxies", transposed=False)
    assert measured(plain)[0] < measured(other)[0]
    assert 0.9 < cosine_of_gradients(plain, other) < 0.9999


def test_every_loss_and_miner_of_pml_is_compared_here_or_explained_in_the_catalogue():
    root = Path(__file__).parent.parent.parent
    files = ("docs/losses.md", "tests/losses/test_peers.py", "tests/losses/test_batch_miners.py")
    text = "\n".join((root / file).read_text(encoding="utf-8") for file in files)
    bases = {"BaseMetricLossFunction", "BaseMiner", "BaseTupleMiner", "BaseLossWrapper", "GenericPairLoss"}
    mixins = {"WeightMixin", "WeightRegularizerMixin", "EmbeddingRegularizerMixin"}
    names = {name for module in (pml, pml_miners) for name, kind in vars(module).items() if inspect.isclass(kind)} - (
        bases | mixins
    )
    assert len(names) > 45
    assert {name for name in names if not re.search(rf"\b{name}\b", text)} == set()


def test_smooth_ap_of_the_peer_is_another_function():
    """It has the same name since version 2.9; docs/losses.md says so."""
    value, _ = measured(ours(ls.SmoothAP()))
    other, _ = measured(theirs(pml.SmoothAPLoss()))
    assert abs(value - other) > 0.05
