import pytest
import torch
from pytorch_metric_learning import losses as pml

from pairlens import losses as ls
from pairlens.analysis import audit_checks
from pairlens.analysis.audit import as_measure, audit, diagnose
from pairlens.analysis.audit_checks import noisy_batch, pair_gradient_of
from pairlens.analysis.loss_table import LOSS_CARDS
from pairlens.core.pairs import Pairs
from pairlens.experiments.loss_spec import find_third_party_loss
from pairlens.training.criterion import Criterion
from support.naive import circles


def verdicts(found):
    return {finding.check: finding.verdict for finding in found.findings}


WRONG = [
    (circles.attached, "weights not held constant in the gradient, per anchor", True),
    (circles.two_logarithms, "a sum of two logarithms in place of one, weights held constant", True),
    (circles.pooled, "all pairs of the batch pooled in one logarithm", False),
    (circles.sign_error, "a sign error in the weights", True),
    (circles.distances, "distances in place of similarities, with what is masked counted as pairs", True),
]


@pytest.mark.parametrize(("loss", "name", "wrong"), WRONG, ids=lambda x: getattr(x, "__name__", ""))
def test_every_known_way_to_write_circle_loss_is_told_apart_and_named(loss, name, wrong, monkeypatch):
    monkeypatch.setattr("pairlens.analysis.audit.noisy_batch", lambda noise: noisy_batch(noise, classes=6, per_class=3))
    known = diagnose(loss)
    assert known.name.startswith(name)
    assert known.wrong == wrong


def test_circle_itself_is_named_and_other_losses_are_not():
    assert diagnose(Criterion(ls.Circle()).double()).name.startswith("circle loss as its paper defines it")
    assert diagnose(Criterion(ls.Circle(0.25, 64)).double(), ls.Circle(0.25, 64)).name.startswith("circle loss as")
    assert all(diagnose(Criterion(loss).double()) is None for loss in (ls.Triplet(), ls.NTXent(), ls.MultiSimilarity()))


def test_a_correct_circle_passes_and_equals_its_reference():
    found = audit(pml.CircleLoss(0.4, 80), "theirs", against=ls.Circle())
    assert found.failed == ()
    assert verdicts(found)["against the reference"] == "pass"
    assert verdicts(found)["known as"] == "pass"


def test_the_circle_of_the_original_project_fails_for_what_it_does():
    found = audit(known("distances"), against=ls.Circle())
    assert {"signs", "free embeddings", "against the reference", "known as"} <= set(found.failed)
    evidence = {finding.check: finding.evidence for finding in found.findings}
    assert "they collapse" in evidence["free embeddings"]


def known(word):
    from pairlens.analysis.circle_variants import KNOWN_CIRCLES

    one = next(k for k in KNOWN_CIRCLES if word in k.name)
    return lambda embeddings, labels: one.of(embeddings, labels, 0.4, 80.0)


@pytest.mark.parametrize("entry", LOSS_CARDS, ids=lambda entry: entry.name)
def test_every_loss_of_ours_goes_through_without_a_failure(entry, monkeypatch):
    monkeypatch.setattr(audit_checks, "SIZES", (32, 64))
    monkeypatch.setattr(audit_checks, "check_growth", lambda measure: audit_checks.Finding("growth", "pass", ""))
    found = audit(entry.loss())
    assert found.failed == BY_DEFINITION.get(entry.loss, ())


# A positive above another one in the ranking pushes it down, and Recall@k does not forgive that as average precision does.
# The variance over coordinates depends on the axes.
BY_DEFINITION = {ls.RecallAtK: ("signs",), ls.SNRContrastive: ("invariance to rotation",)}


def test_the_gradient_of_pairs_is_found_from_that_of_embeddings():
    embeddings, labels = noisy_batch(1.0)
    s = (embeddings @ embeddings.T).requires_grad_()
    (expected,) = torch.autograd.grad(ls.MultiSimilarity()(s, Pairs.within(labels)), s)
    found, rest = pair_gradient_of(as_measure(ls.MultiSimilarity()), embeddings, labels)
    off = ~torch.eye(len(labels), dtype=torch.bool)
    assert rest < 1e-8
    assert torch.allclose(found[off], (expected + expected.T)[off], atol=1e-10)


def check(name, measure):
    return getattr(audit_checks, f"check_{name}")(measure)


def test_each_check_finds_the_fault_it_is_for():
    right = as_measure(ls.NTXent(0.1)).double()
    flipped = lambda e, y: -right(e, y)  # noqa: E731
    assert check("signs", right).verdict == "pass"
    assert check("signs", flipped).verdict == "fail"
    assert (
        audit_checks.check_free(lambda e, y: (e / e.norm(dim=1, keepdim=True)).var(dim=0).sum(), []).verdict == "fail"
    )
    assert "held constant" not in check("constants", right).evidence
    assert "held constant" in check("constants", as_measure(ls.Circle()).double()).evidence
    assert audit_checks.check_separated(flipped, False).verdict == "fail"
    by_place = lambda e, y: right(e, y) * (1 + e[0, 0])  # noqa: E731
    assert [f.verdict for f in audit_checks.check_invariance(by_place, False)] == ["note", "fail", "fail"]
    assert "a mean" in check("reduction", right).evidence
    assert "a sum" in check("reduction", lambda e, y: right(e, y) * len(e)).evidence
    assert check("degenerate", lambda e, y: right(e, y) / (e[0] - e[1]).norm()).verdict == "fail"
    assert check("precision", lambda e, y: (right(e, y) * 1e4).to(e.dtype) ** 2).verdict == "fail"
    cubic = lambda e, y: ((e @ e.T)[:, :, None] * (e @ e.T)[:, None, :]).exp().mean()  # noqa: E731
    assert check("growth", cubic).verdict == "fail"
    assert check("growth", right).verdict == "pass"


def test_a_stranger_is_found_by_module_and_name():
    assert find_third_party_loss("pytorch_metric_learning.losses:CircleLoss(m=0.25, gamma=64)").gamma == 64
    assert find_third_party_loss("support.naive.circles:pooled") is circles.pooled


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no_such_module:loss", "cannot be found"),
        ("torch:no_such_name", "cannot be found"),
        ("pytorch_metric_learning.losses:ArcFaceLoss", "cannot be instantiated"),
        ("torch:exp(", "does not name a loss"),
        ("torch:exp(__import__('os'))", "does not name a loss"),
    ],
)
def test_what_is_no_stranger_is_one_sentence(text, message):
    with pytest.raises(ValueError, match=message):
        find_third_party_loss(text)


def test_what_a_stranger_raises_is_a_finding():
    def broken(embeddings, labels):
        raise RuntimeError("out of luck")

    found = audit(lambda e, y: broken(e, y) if len(e) == 32 else (e @ e.T).sum())
    assert "free embeddings" in found.failed
    assert any("it raises RuntimeError: out of luck" in finding.evidence for finding in found.findings)
