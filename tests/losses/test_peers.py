"""Every loss that pytorch-metric-learning (PML) also has: the same function, or the difference and its reason."""

import math
import warnings

import pytest
import torch
from pytorch_metric_learning import distances, reducers, regularizers
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning import miners as pml_miners

from pairlens import losses as ls
from pairlens.core.pairs import Pairs
from pairlens.training.criterion import Criterion
from pairlens.training.references import InBatch, Proxies

CLASSES, PER_CLASS, DIM = 12, 4, 16
LABELS = torch.arange(CLASSES * PER_CLASS) % CLASSES
HALF_RADIAN = 0.5 * 180 / math.pi


def points():
    rng = torch.Generator().manual_seed(0)
    centres = torch.randn(CLASSES, DIM, dtype=torch.float64, generator=rng)
    noise = torch.randn(len(LABELS), DIM, dtype=torch.float64, generator=rng)
    return torch.nn.functional.normalize(centres[LABELS] + noise, dim=1)


def vectors(centers=1):
    return torch.randn(CLASSES * centers, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def measured(measure):
    """Value, and the gradient along the sphere: some losses of PML do not normalise, so only that part can be compared."""
    x = points().requires_grad_()
    value = measure(x)
    (gradient,) = torch.autograd.grad(value, x)
    return float(value.detach()), gradient - (gradient * x).sum(1, keepdim=True).detach() * x.detach()


def ours(loss, centers=0):
    references = InBatch()
    if centers:
        references = Proxies(CLASSES, DIM, centers).double()
        references.vectors.data = vectors(centers)
    criterion = Criterion(loss, references, classes=CLASSES).double()
    return lambda x: criterion(x, LABELS)


def theirs(loss, miner=None):
    return lambda x: loss(x, LABELS, None if miner is None else miner(x, LABELS))


def of_proxies(loss, name, centers=1, transposed=True):
    parameter = getattr(loss, name)
    parameter.data = vectors(centers).T if transposed else vectors(centers)
    return theirs(loss)


def sphere_face():
    with warnings.catch_warnings(action="ignore"):
        return pml.SphereFaceLoss(CLASSES, DIM, margin=4, scale=64)


SAME = {
    "batch-hard triplet": (
        ours(ls.Triplet(0.1)),
        theirs(pml.TripletMarginLoss(0.1, reducer=reducers.MeanReducer()), pml_miners.BatchHardMiner()),
    ),
    "all triplets, all active": (ours(ls.AllTriplets(4.0)), theirs(pml.TripletMarginLoss(4.0))),
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
    "NT-Xent": (ours(ls.NTXent(0.07)), theirs(pml.NTXentLoss(0.07))),
    "SupCon": (ours(ls.SupCon(0.1)), theirs(pml.SupConLoss(0.1))),
    "tuplet margin": (ours(ls.TupletMargin(5.73, 64)), theirs(pml.TupletMarginLoss(5.73, 64))),
    "angular": (ours(ls.Angular(45)), theirs(pml.AngularLoss(45))),
    "SNR contrastive, all violating": (
        ours(ls.SNRContrastive(0.0, 9.0, 0.0)),
        theirs(pml.SignalToNoiseRatioContrastiveLoss(pos_margin=0.0, neg_margin=9.0)),
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


@pytest.mark.parametrize("name", SAME)
def test_the_same_function_has_the_same_value_and_gradient(name):
    (value, gradient), (expected, its_gradient) = (measured(measure) for measure in SAME[name])
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


def cosine_of_gradients(first, second):
    (_, one), (_, other) = measured(first), measured(second)
    return float(torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0))


def test_contrastive_is_another_function_than_that_of_pml():
    """PML uses distances and not their squares, so its pull does not fall with d; it also averages each side separately."""
    assert cosine_of_gradients(ours(ls.Contrastive()), theirs(pml.ContrastiveLoss())) < 0.9
    similarity = theirs(pml.ContrastiveLoss(1.0, 0.5, distance=distances.CosineSimilarity()))
    assert cosine_of_gradients(ours(ls.SimilarityContrastive(0.5)), similarity) > 0.85


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
    assert measured(one)[0] == pytest.approx(measured(other)[0], abs=1e-4)
    assert 0.9 < cosine_of_gradients(one, other) < 0.99


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


def test_smooth_ap_of_the_peer_is_another_function():
    """It has the same name since version 2.9; docs/losses.md says so."""
    value, _ = measured(ours(ls.SmoothAP()))
    other, _ = measured(theirs(pml.SmoothAPLoss()))
    assert abs(value - other) > 0.05
