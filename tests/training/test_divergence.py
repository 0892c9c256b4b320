import pytest
import torch

from pairlens.core.similarity import unit
from pairlens.losses import Circle, NormSoftmax, ProxyAnchor, ProxyNCA, SoftTriple, SubCenterArcFace
from pairlens.losses.protocols import centers_of
from pairlens.training.checkpoint import load_checkpoint, save_checkpoint
from pairlens.training.criterion import Criterion
from pairlens.training.divergence import DivergedError, check_finite_step
from pairlens.training.fit import Epoch, Step, fit
from pairlens.training.learner import Objective
from pairlens.training.references import CrossBatchMemory, Proxies
from support.training_setup import Photos, learner

STOP, SKIP = Objective(freeze_bn="none"), Objective(freeze_bn="none", on_nan="skip")


class PartlyBroken(Photos):
    """Photos with some batches that are not finite."""

    def __init__(self, *steps):
        super().__init__()
        self.steps = steps

    def epoch(self, number, start=0):
        for step, (pixels, labels, indices) in enumerate(super().epoch(number, start), start + 1):
            yield pixels * torch.nan if (number, step) in self.steps else pixels, labels, indices


def with_memory():
    made = learner()
    made.criterion = Criterion(Circle(), CrossBatchMemory(size=40, dim=8))
    return made


def state_of(made):
    tensors = {**made.model.state_dict(), **made.criterion.state_dict()}
    extra = tensors.pop("references._extra_state", None)
    return {name: tensor.clone() for name, tensor in tensors.items()}, extra


def assert_equal(first, second):
    assert first[1] == second[1]
    assert all(torch.equal(tensor, second[0][name]) for name, tensor in first[0].items())


def test_a_step_that_is_not_finite_changes_nothing_and_names_its_photos():
    made, photos = with_memory(), PartlyBroken((1, 2))
    records = fit(made, photos, STOP, 1)
    next(records)
    before = {name: p.clone() for name, p in made.model.named_parameters()}
    with pytest.raises(DivergedError, match=r"in epoch 1, step 2 \(photos \[0, 1, 2, 3, 4, 5, 6, 7\]\).*--on_nan skip"):
        next(records)
    assert all(torch.equal(p, before[name]) for name, p in made.model.named_parameters())


def test_a_gradient_that_is_not_finite_is_detected_if_the_loss_is_finite():
    made = learner()
    made.criterion = Criterion(lambda similarity, pairs: (similarity.sum() * 0).sqrt())
    before = [p.clone() for p in made.model.parameters()]
    with pytest.raises(DivergedError, match=r"the norm of the gradient became nan, in epoch 1, step 1"):
        next(fit(made, Photos(), Objective(clip_value=1.0), 1))
    assert all(torch.equal(p, one) for p, one in zip(made.model.parameters(), before, strict=True))


def test_a_loss_that_is_not_finite_is_detected_if_its_gradient_is_zero():
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.zeros(2)
    with pytest.raises(ValueError, match="the loss became inf"):
        check_finite_step(torch.tensor(torch.inf), [weight])
    check_finite_step(torch.tensor(1.0), [weight])
    weight.grad = torch.tensor([0.0, torch.inf])
    with pytest.raises(ValueError, match="the norm of the gradient became inf"):
        check_finite_step(torch.tensor(1.0), [weight])


def test_a_skipped_step_changes_nothing_and_is_counted():
    made = with_memory()
    records = fit(made, PartlyBroken((1, 2)), SKIP, 1)
    first = next(records)
    before = state_of(made)
    second = next(records)
    assert_equal(before, state_of(made))
    assert (second.step, second.photos, second.loss) == (2, 0, first.loss)
    *_, epoch = records
    assert epoch.skipped == 1
    assert torch.isfinite(torch.tensor(epoch.loss))
    assert all(torch.isfinite(t).all() for t in state_of(made)[0].values())


def test_an_epoch_without_a_finite_step_stops():
    with pytest.raises(DivergedError, match="none of the 3 steps of epoch 1 was finite"):
        list(fit(learner(), PartlyBroken((1, 1), (1, 2), (1, 3)), SKIP, 1))


def test_the_flag_of_an_earlier_step_does_not_skip_later_steps():
    """On a GPU a step that is not finite sets a flag of the fused optimizer; later steps with "skip" must ignore it."""
    made = with_memory()
    made.optimizer.found_inf = torch.ones(())
    before = state_of(made)[0]["projections.0.weight"]
    next(fit(made, Photos(), SKIP, 1))
    assert not torch.equal(before, made.model.projections[0].weight)


@pytest.mark.parametrize("steps", range(1, 7))
def test_training_resumed_between_any_two_steps_has_the_same_result(tmp_path, steps):
    photos = PartlyBroken((1, 2), (2, 1))
    straight = with_memory()
    expected = [r for r in fit(straight, photos, SKIP, 2) if isinstance(r, Epoch)]
    stopped = with_memory()
    records = fit(stopped, photos, SKIP, 2)
    while steps:
        steps -= isinstance(next(records), Step)
    save_checkpoint(stopped, tmp_path, {"seen": 1})
    resumed = with_memory()
    torch.manual_seed(9)
    assert load_checkpoint(resumed, tmp_path) == {"seen": 1}
    epochs = [r for r in fit(resumed, photos, SKIP, 2) if isinstance(r, Epoch)]
    assert_equal(state_of(straight), state_of(resumed))
    for one, other in zip(epochs, expected[-len(epochs) :], strict=True):
        for name in ("loss", "ranking", "accuracy", "skipped"):
            assert getattr(one, name) == getattr(other, name), name
        assert one.gradient_cosine == pytest.approx(other.gradient_cosine, abs=0, nan_ok=True)
        assert torch.equal(one.embeddings, other.embeddings)


class Overflow(Photos):
    """Photos before whose second batch the proxies of a learner become infinite, or too long for float32."""

    def __init__(self, made, value):
        super().__init__()
        self.made, self.value = made, value

    def epoch(self, number, start=0):
        for step, batch in enumerate(super().epoch(number, start), start + 1):
            if step == 2:
                self.made.criterion.references.vectors.data[1] = self.value
            yield batch


def with_proxies(loss):
    made = learner()
    made.criterion = Criterion(loss, Proxies(16, 8, centers_of(loss)))
    made.optimizer.add_param_group({"params": list(made.criterion.parameters())})
    return made


@pytest.mark.parametrize("loss", [ProxyAnchor(), NormSoftmax(), SoftTriple(), SubCenterArcFace(), ProxyNCA()], ids=str)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e20, -1e30])
def test_proxies_that_overflow_are_a_divergence(loss, value):
    made = with_proxies(loss)
    words = r"proxy 1 is not finite \(.*\); lower the learning rate of the proxies, in epoch 1, step 2 \(photos"
    with pytest.raises(DivergedError, match=words):
        list(fit(made, Overflow(made, value), STOP, 1))
    made = with_proxies(loss)
    *_, epoch = fit(made, Overflow(made, value), SKIP, 1)
    assert epoch.skipped == 2
    assert torch.isfinite(torch.tensor(epoch.loss))


def test_a_vector_whose_length_overflows_is_nan_where_nothing_is_read_back():
    """As on a GPU, where the check would block: the loss must not be a plausible number."""
    vectors = torch.tensor([[1e20, 0.0], [3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    found = unit(vectors)
    assert found[0].isnan().all()
    assert torch.equal(found[1:].detach(), torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    found[1:].sum().backward()
    assert vectors.grad[1:].isfinite().all()
