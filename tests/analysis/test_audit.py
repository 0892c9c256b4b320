import sys
from types import ModuleType

import pytest
import torch
from pytorch_metric_learning import losses as pml

from pairlens import losses as ls
from pairlens.analysis import audit_checks
from pairlens.analysis.audit import as_batch_loss, audit, diagnose
from pairlens.analysis.audit_checks import noisy_batch, pair_gradient_of
from pairlens.analysis.loss_table import LOSS_CARDS
from pairlens.analysis.operation_count import OperationCount, count_operations
from pairlens.core.pairs import Pairs
from pairlens.losses.loss_import import find_third_party_loss
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
def test_every_known_variant_of_circle_loss_is_recognised(loss, name, wrong, monkeypatch):
    monkeypatch.setattr("pairlens.analysis.audit.noisy_batch", lambda noise: noisy_batch(noise, classes=6, per_class=3))
    known = diagnose(loss)
    assert known.name.startswith(name)
    assert known.wrong == wrong


def test_circle_itself_is_recognised_and_other_losses_are_not():
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
def test_every_loss_of_pairlens_passes_but_for_its_definition(entry):
    result = audit(entry.loss())
    assert result.failed == BY_DEFINITION.get(entry.loss, ())
    assert "nan" not in next(f.evidence for f in result.findings if f.check == "reduction")


# In the surrogate of Recall@k, a positive that ranks above another one pushes that one down.
# Intra-pair variance moves pairs on the right side of their mean towards the others.
# The variance over coordinates depends on the axes; the unit vectors of the audit cannot reach the variance of VICReg.
BY_DEFINITION = {
    ls.RecallAtK: ("signs",),
    ls.IntraPairVariance: ("signs",),
    ls.SNRContrastive: ("invariance to rotation",),
    ls.VICReg: ("separated classes", "invariance to rotation"),
}


def test_the_gradient_of_pairs_is_found_from_that_of_embeddings():
    embeddings, labels = noisy_batch(1.0)
    s = (embeddings @ embeddings.T).requires_grad_()
    (expected,) = torch.autograd.grad(ls.MultiSimilarity()(s, Pairs.within(labels)), s)
    found, rest = pair_gradient_of(as_batch_loss(ls.MultiSimilarity()), embeddings, labels)
    off = ~torch.eye(len(labels), dtype=torch.bool)
    assert rest < 1e-8
    assert torch.allclose(found[off], (expected + expected.T)[off], atol=1e-10)


def test_each_check_finds_the_fault_it_is_for():
    right = as_batch_loss(ls.NTXent(0.1)).double()
    flipped = lambda e, y: -right(e, y)  # noqa: E731
    assert audit_checks.check_signs(right).verdict == "pass"
    assert audit_checks.check_signs(flipped).verdict == "fail"
    collapsing = lambda e, y: (e / e.norm(dim=1, keepdim=True)).var(dim=0).sum()  # noqa: E731
    assert audit_checks.check_free_embeddings(collapsing, []).verdict == "fail"
    assert "held constant" not in audit_checks.check_constant_weights(right).evidence
    assert "held constant" in audit_checks.check_constant_weights(as_batch_loss(ls.Circle()).double()).evidence
    assert audit_checks.check_separated_classes(flipped, False).verdict == "fail"
    by_position = lambda e, y: right(e, y) * (1 + e[0, 0])  # noqa: E731
    assert [f.verdict for f in audit_checks.check_invariance(by_position, False)] == ["note", "fail", "fail"]
    divided = lambda e, y: right(e, y) / (e[0] - e[1]).norm()  # noqa: E731
    assert audit_checks.check_degenerate_batches(divided).verdict == "fail"
    overflowing = lambda e, y: (right(e, y) * 1e4).to(e.dtype) ** 2  # noqa: E731
    assert audit_checks.check_precision(overflowing).verdict == "fail"


def test_reduction_is_measured_on_a_batch_where_the_loss_is_not_zero():
    triplet = as_batch_loss(ls.Triplet()).double()
    assert float(triplet(*noisy_batch(0.5, 8))) == 0
    assert audit_checks.check_reduction(triplet).evidence.endswith("1.00 times the value: a mean")
    summed = lambda e, y: triplet(e, y) * len(e)  # noqa: E731
    assert audit_checks.check_reduction(summed).evidence.endswith("2.00 times the value: a sum")
    assert "not measurable: the loss is 0" in audit_checks.check_reduction(lambda e, y: 0 * e.sum()).evidence


def test_growth_counts_operations_so_that_it_is_the_same_in_every_run():
    cubic = lambda e, y: ((e @ e.T)[:, :, None] * (e @ e.T)[:, None, :]).exp().mean()  # noqa: E731
    assert audit_checks.check_growth(cubic).verdict == "fail"
    for loss in (pml.NTXentLoss(), pml.TupletMarginLoss()):
        assert audit_checks.check_growth(loss).verdict == "fail"
    for loss in (as_batch_loss(ls.SupAP()), pml.AngularLoss(), pml.TripletMarginLoss()):
        first = audit_checks.check_growth(loss)
        assert first.verdict == "pass"
        assert audit_checks.check_growth(loss) == first


def test_operations_are_counted_forward_and_backward_and_views_are_not():
    x = torch.ones(10, 10, requires_grad=True)
    # Forward: 100 products and 1 sum; backward: 1 gradient of the sum, 2 · 100 products and 1 · 100 sums of both.
    assert count_operations(lambda: (x * x).sum()) == OperationCount(402, 400)
    assert count_operations(lambda: x.view(-1).view(10, 10).sum()) == count_operations(lambda: x.sum())


def test_memory_kept_without_a_large_result_is_counted():
    x = torch.ones(4, requires_grad=True)
    many = count_operations(lambda: torch.stack([(x * n).exp().sum() for n in range(50)]).sum())
    assert many.saved >= 50 * 16


def test_a_third_party_loss_is_found_by_module_and_name():
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
def test_a_text_that_names_no_loss_is_refused_in_one_sentence(text, message):
    with pytest.raises(ValueError, match=message):
        find_third_party_loss(text)


class OfProxies(torch.nn.Module):
    """A third-party loss with parameters of its own, which draws random numbers."""

    def __init__(self):
        super().__init__()
        self.proxies = torch.nn.Parameter(torch.randn(16, 128))

    def forward(self, embeddings, labels):
        torch.rand(1)
        return (1 - embeddings @ self.proxies.T.to(embeddings.dtype)).mean()


@pytest.mark.parametrize("loss", [OfProxies(), pml.ProxyAnchorLoss(16, 128), ls.NormSoftmax(), "margin"], ids=str)
def test_the_loss_and_the_random_numbers_of_the_caller_stay_as_they_are(loss):
    module = loss if isinstance(loss, torch.nn.Module) else torch.nn.Identity()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    numbers = torch.get_rng_state()
    first = audit(loss)
    assert torch.equal(torch.get_rng_state(), numbers)
    for name, tensor in module.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name])
    assert all(parameter.grad is None for parameter in module.parameters())
    torch.rand(1)
    assert audit(loss) == first


def test_a_loss_that_cannot_be_copied_is_refused_in_one_sentence():
    loss = pml.TripletMarginLoss()
    loss.last = torch.ones(1, requires_grad=True) * 2
    with pytest.raises(ValueError, match=r"TripletMarginLoss cannot be copied .*, and its audit would change it"):
        audit(loss)


@pytest.mark.parametrize("error", [KeyError("x"), NotImplementedError(), ValueError("two\nlines")], ids=repr)
def test_whatever_copying_raises_is_one_sentence(error):
    class Uncopied:
        def __call__(self, embeddings, labels):
            return embeddings.sum()

        def __deepcopy__(self, memo):
            raise error

    with pytest.raises(ValueError, match="cannot be copied") as caught:
        audit(Uncopied())
    assert "\n" not in str(caught.value)


def test_an_object_that_a_text_names_is_copied_as_well(monkeypatch):
    module = ModuleType("losses_of_mine")
    module.loss = OfProxies()
    monkeypatch.setitem(sys.modules, "losses_of_mine", module)
    before = module.loss.proxies.detach().clone()
    audit("losses_of_mine:loss")
    assert torch.equal(module.loss.proxies, before)


def test_an_error_of_a_third_party_loss_is_a_finding():
    def broken(embeddings, labels):
        raise RuntimeError("out of luck")

    found = audit(lambda e, y: broken(e, y) if len(e) == 32 else (e @ e.T).sum())
    assert "free embeddings" in found.failed
    assert any("it raises RuntimeError: out of luck" in finding.evidence for finding in found.findings)


def pooled_at_once(embeddings, labels, m=0.4, g=80.0):
    """What `circles.pooled` computes in plain loops, which are too slow for a whole audit."""
    first, second = torch.triu_indices(len(labels), len(labels), 1)
    is_positive = labels[first] == labels[second]
    s = circles.similarities(embeddings)[first, second]
    terms = circles.term_n(s[~is_positive], m, g), circles.term_p(s[is_positive], m, g)
    return torch.nn.functional.softplus(sum(part.logsumexp(0) for part in terms))


def test_a_loss_may_be_given_as_a_record_a_function_or_a_text(capsys):
    by_record, by_text = audit(ls.Circle(gamma=64)), audit("circle:gamma=64")
    assert by_record.findings == by_text.findings
    assert (by_record.name, by_text.name) == ("Circle", "circle:gamma=64")

    def own(embeddings, labels):
        return Criterion(ls.Triplet())(embeddings, labels)

    typed = f"{__name__}:pooled_at_once"
    by_function, by_module = audit(own), audit(typed, against="pooled_circle")
    assert (by_function.name, by_module.name) == ("own", typed)
    assert verdicts(by_module)["against the reference"] == "pass"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (3, "a int is not a loss; give a loss such as"),
        (ls.Circle, "the class Circle is not a loss"),
        ("nonsense", "there is no loss nonsense"),
        ("no_such_module:loss", "cannot be found"),
    ],
)
def test_what_is_no_loss_is_refused_in_one_sentence(loss, message):
    with pytest.raises(ValueError, match=message):
        audit(loss)
    with pytest.raises(ValueError, match=message):
        audit(ls.Circle(), against=loss)
