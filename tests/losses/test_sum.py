"""The weighted sum of losses: its parts, what it refuses, its stored form and its pair weights."""

import json

import pytest
import torch

import pairlens as pl
from pairlens import losses as ls
from pairlens.analysis.explain import explain
from pairlens.core.records import from_plain, to_plain
from pairlens.experiments.experiment import Experiment
from pairlens.losses.pair_gradient import pair_gradient, similarity_measure
from pairlens.losses.protocols import (
    accepts_miner,
    centers_of,
    has_pair_weights,
    is_embedding_loss,
    is_learned_loss,
    possible_sources,
)
from pairlens.losses.third_party import wrap, wrap_pairs
from support.foreign_losses import BatchSpread, Hinge, Spread, mean_negative

POINTS = torch.nn.functional.normalize(torch.randn(12, 6, generator=torch.Generator().manual_seed(0)), dim=1)
LABELS = torch.arange(12) % 4


@pytest.mark.parametrize(
    "losses",
    [
        (ls.Circle(), ls.Triplet()),
        (ls.Circle(), ls.SmoothAP()),
        (ls.Circle(), ls.PooledCircle()),
        (ls.Circle(), ls.NPair()),
        (ls.NPair(), ls.SNRContrastive()),
        (ls.Circle(), Hinge()),
        (ls.Circle(), Spread()),
        (ls.Circle(), wrap_pairs(mean_negative)),
        (ls.Circle(), wrap(lambda embeddings, labels: embeddings.sum())),
    ],
    ids=str,
)
def test_a_criterion_of_a_sum_is_the_sum_of_the_criteria(losses):
    weights = (1.0, 0.25)
    expected = sum(w * pl.Criterion(loss)(POINTS, LABELS) for w, loss in zip(weights, losses, strict=True))
    assert torch.allclose(pl.Criterion(ls.Sum(losses, weights))(POINTS, LABELS), expected, atol=1e-6)


def test_parts_on_proxies_share_them_and_penalties_are_weighted():
    loss = ls.Sum((ls.SoftTriple(centers=2), ls.SubCenterArcFace(centers=2), ls.NPair()), (0.5, 1, 1))
    assert possible_sources(loss) == ("proxies",)
    assert centers_of(loss) == 2
    proxies = pl.Proxies(4, 6, 2)
    value = pl.Criterion(loss, proxies)(POINTS, LABELS)
    parts = [(0.5, loss.losses[0], proxies), (1, loss.losses[1], proxies), (1, loss.losses[2], None)]
    expected = sum(weight * pl.Criterion(part, references)(POINTS, LABELS) for weight, part, references in parts)
    assert torch.allclose(value, expected)


def test_a_learned_part_has_its_parameter_and_a_module_its_own():
    module = torch.nn.CosineEmbeddingLoss()
    module.scale = torch.nn.Parameter(torch.ones(1))
    module.forward = lambda embeddings, labels: (embeddings * module.scale).sum()
    criterion = pl.Criterion(ls.Sum((ls.Triplet(), ls.Margin(), wrap(module))), classes=4)
    assert sorted(criterion.state_dict()) == ["learned", "wrapped2.scale"]
    criterion(POINTS, LABELS).backward()
    assert all(parameter.grad is not None for parameter in criterion.parameters())


def test_pair_weights_of_anchor_losses_are_added_and_other_weights_are_the_gradient():
    assert has_pair_weights(ls.Sum((ls.Circle(), ls.Triplet())))
    assert not has_pair_weights(ls.Sum((ls.Circle(), ls.PooledCircle())))
    similarity, pairs = pl.InBatch()(POINTS.double(), LABELS)
    for second in (ls.Triplet(), ls.PooledCircle(), ls.Margin()):
        losses = (ls.Circle(), second)
        whole = pair_gradient(similarity_measure(ls.Sum(losses, (2, 3))), similarity, pairs)
        first, last = (pair_gradient(similarity_measure(loss), similarity, pairs) for loss in losses)
        assert torch.allclose(whole, 2 * first + 3 * last)


def test_the_questions_about_a_loss_are_asked_of_its_parts():
    assert possible_sources(ls.Sum((ls.Circle(), ls.ProxyAnchor()))) == ("proxies",)
    assert possible_sources(ls.Sum((ls.NPair(), ls.SNRContrastive()))) == ("batch",)
    assert possible_sources(ls.Sum((ls.NPair(), ls.Circle()))) == possible_sources(ls.Circle())
    assert is_embedding_loss(ls.Sum((ls.NPair(), ls.Circle())))
    assert is_learned_loss(ls.Sum((ls.Margin(), ls.Circle())))
    assert accepts_miner(ls.Sum((ls.Margin(), ls.Circle())))
    assert not accepts_miner(ls.Sum((ls.NPair(), ls.Circle())))


@pytest.mark.parametrize(
    ("losses", "weights", "sentence"),
    [
        ((ls.Circle(),), (), "two losses or more"),
        ((ls.Circle(), ls.Triplet()), (1,), "2 losses needs as many weights, not 1"),
        ((ls.Circle(), ls.Triplet()), (1, 0), "must be above 0"),
        ((ls.Circle(), ls.Triplet()), (1, float("nan")), "must be above 0"),
        ((ls.Circle(), "triplet"), (), "consists of single losses"),
        ((ls.Circle(), ls.Triplet), (), "consists of single losses"),
        ((ls.Circle(), ls.Sum((ls.Triplet(), ls.Circle()))), (), "inner sum"),
        ((ls.LiftedStructure(), ls.ProxyAnchor()), (), "no source of references in common"),
        ((ls.SoftTriple(), ls.ProxyAnchor()), (), r"\[1, 10\] centres per class"),
        ((ls.Margin(), ls.Margin()), (), "only one loss of a sum"),
    ],
)
def test_a_sum_that_cannot_be_computed_is_refused(losses, weights, sentence):
    with pytest.raises(ValueError, match=sentence):
        ls.Sum(losses, weights)


def test_a_sum_that_needs_more_than_similarities_says_so_when_it_is_called():
    similarity, pairs = pl.InBatch()(POINTS, LABELS)
    with pytest.raises(ValueError, match=r"compute it with pl\.Criterion"):
        ls.Sum((ls.Circle(), ls.Margin()))(similarity, pairs)


def test_a_stored_sum_of_proxies_and_a_loss_of_embeddings_of_another_project_opens():
    experiment = Experiment(loss=ls.Sum((ls.ProxyAnchor(), BatchSpread())))
    again = from_plain(Experiment, to_plain(experiment))
    assert again.source == experiment.source == "proxies"
    assert to_plain(again) == to_plain(experiment)


@pytest.mark.parametrize("second", [ls.RecallAtK((1, 3)), Hinge(0.25), wrap_pairs(mean_negative, "mine")], ids=str)
def test_a_sum_is_stored_with_its_losses(second):
    experiment = Experiment(loss=ls.Sum([ls.Circle(), second], [1, 0.5]))
    plain = json.loads(json.dumps(to_plain(experiment)))
    again = from_plain(Experiment, plain)
    assert again.loss.losses[0] == ls.Circle()
    assert again.loss.weights == (1.0, 0.5)
    assert to_plain(again) == plain
    assert again.default_name == experiment.default_name


def test_a_sum_is_audited_and_explained():
    loss = ls.Sum((ls.Circle(), ls.Triplet()), (1, 0.5))
    explained = explain(loss, points=5).losses[0]
    assert explained.name == "circle+0.5*triplet"
    assert "gamma=80" in explained.settings
    from pairlens.analysis.audit import audit

    assert not audit(loss).failed
