"""The training loop on a GPU: it learns, resumes, detects values that are not finite, and does not block."""

from contextlib import suppress

import pytest
import torch

from pairlens.experiments.run import resume_run, run, train
from pairlens.experiments.run_folder import RunFolder
from pairlens.losses import Circle, Margin, SoftTriple, Triplet
from pairlens.losses.miners import DistanceWeighted
from pairlens.training.checkpoint import load_checkpoint, save_checkpoint
from pairlens.training.criterion import Criterion
from pairlens.training.divergence import DivergedError
from pairlens.training.fit import Epoch, Step, fit
from pairlens.training.learner import Objective
from pairlens.training.references import CrossBatchMemory, Proxies
from support.experiments import changed
from support.tiny_training import STEPS, Noise, farthest, last_epoch, state_of, tiny_learner

FREE = Objective(freeze_bn="none")
LEARNERS = {
    "batch": lambda: {"loss": Circle(gamma=16)},
    "memory": lambda: {"loss": Triplet(), "references": CrossBatchMemory(40, 8)},
    "proxies": lambda: {"loss": SoftTriple(centers=2), "references": Proxies(4, 8, 2)},
    "drawn pairs": lambda: {"loss": Margin(), "miner": DistanceWeighted(dim=8)},
}


def learner(device, name="batch", **settings):
    torch.manual_seed(0)
    return tiny_learner(device, **LEARNERS[name](), **settings)


class Repeated(Noise):
    """The same photos in every epoch, so that the loss can decrease."""

    def epoch(self, number, start=0):
        yield from super().epoch(1, start)


def test_it_learns_and_reads_each_step_one_step_late(device):
    records = list(fit(learner(device), Repeated(device), FREE, 6))
    steps, epochs = ([one for one in records if isinstance(one, kind)] for kind in (Step, Epoch))
    first = torch.tensor([step.loss for step in steps if step.step == 1])
    assert (first.isnan() == (device.type == "cuda")).all()
    assert torch.isfinite(torch.tensor([step.loss for step in steps if step.step > 1])).all()
    assert epochs[-1].loss < 0.8 * epochs[0].loss
    assert -1 <= epochs[-1].gradient_cosine <= 1
    assert epochs[-1].embeddings.device.type == "cpu"


@pytest.mark.parametrize("freeze_bn", ["none", "statistics", "all"])
def test_it_learns_what_it_learns_on_the_cpu(freeze_bn, device):
    found = []
    for place in (torch.device("cpu"), device):
        made = learner(place, kind="sgd", dtype=torch.float64)
        epoch = last_epoch(made, Noise(place, torch.float64), Objective(freeze_bn=freeze_bn, warm_up=1), 2)
        found.append((epoch, state_of(made)))
    assert found[0][0].loss == pytest.approx(found[1][0].loss, rel=1e-5)
    assert found[0][0].accuracy == found[1][0].accuracy
    assert found[0][0].gradient_cosine == pytest.approx(found[1][0].gradient_cosine, abs=1e-4)
    assert farthest(found[0][1], found[1][1]) < 1e-6


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd", "rmsprop"])
def test_every_optimizer_changes_all_weights(kind, device):
    made = learner(device, "proxies", kind=kind)
    before = state_of(made)
    last_epoch(made, Noise(device), Objective(freeze_bn="none", clip_value=1.0), 1)
    after = state_of(made)
    learned = [name for name in before if name.endswith(("weight", "vectors"))]
    assert [name for name in learned if torch.equal(before[name], after[name])] == []


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("taken", [1, STEPS, STEPS + 2])
def test_a_resumed_training_has_the_same_result(name, taken, device, tmp_path):
    photos = Noise(device, torch.float64)
    straight, stopped = (learner(device, name, dtype=torch.float64) for _ in range(2))
    torch.manual_seed(1)
    last_epoch(straight, photos, FREE, 2)
    torch.manual_seed(1)
    records = (record for record in fit(stopped, photos, FREE, 2) if isinstance(record, Step))
    for _ in range(taken):
        next(records)
    save_checkpoint(stopped, tmp_path)
    resumed = learner(device, name, dtype=torch.float64)
    torch.manual_seed(9)
    load_checkpoint(resumed, tmp_path)
    last_epoch(resumed, photos, FREE, 2)
    assert farthest(state_of(straight), state_of(resumed)) < 1e-6


@pytest.mark.parametrize("kind", ["adam", "rmsprop"])
@pytest.mark.parametrize("home", [True, False], ids=["from the GPU to the CPU", "from the CPU to the GPU"])
def test_a_checkpoint_can_be_loaded_on_the_other_device(kind, home, device, tmp_path):
    places = [device, torch.device("cpu")] if home else [torch.device("cpu"), device]
    made, other = (learner(place, "memory", kind=kind) for place in places)
    last_epoch(made, Noise(places[0]), FREE, 1)
    save_checkpoint(made, tmp_path)
    load_checkpoint(other, tmp_path)
    assert farthest(state_of(made), state_of(other)) == 0
    assert other.criterion.references.get_extra_state() == made.criterion.references.get_extra_state()
    for parameter, kept in other.optimizer.state.items():
        for name, value in kept.items():
            beside = name != "step" or kind == "adam"
            assert value.device.type == (parameter.device.type if beside else "cpu"), name
    assert torch.isfinite(torch.tensor(last_epoch(other, Noise(places[1]), FREE, 2).loss))


@pytest.mark.parametrize("kind", ["adam", "sgd", "rmsprop"])
def test_a_step_that_is_not_finite_changes_no_weight_and_stops_the_run(kind, device):
    made = learner(device, kind=kind)
    records = fit(made, Noise(device, broken={(1, STEPS)}), FREE, 1)
    for _ in range(STEPS - 1):
        next(records)
    before = [parameter.detach().clone() for parameter in made.model.parameters()]
    with pytest.raises(DivergedError, match=rf"in epoch 1, step {STEPS} \(photos \[0, 1, 2, 3, 4, 5, 6, 7\]\)"):
        list(records)
    assert all(torch.equal(one, other) for one, other in zip(before, made.model.parameters(), strict=True))


def test_a_gradient_that_is_not_finite_changes_no_weight_though_the_loss_is_finite(device):
    made = learner(device)
    made.criterion = Criterion(lambda similarity, pairs: (similarity.sum() * 0).sqrt()).to(device)
    before = [parameter.detach().clone() for parameter in made.model.parameters()]
    with pytest.raises(DivergedError, match=r"the norm of the gradient became nan, in epoch 1, step 1"):
        last_epoch(made, Noise(device), Objective(clip_value=1.0), 1)
    # On a GPU later steps have run too before the error, and have not changed a weight either.
    assert all(torch.equal(one, other) for one, other in zip(before, made.model.parameters(), strict=True))


def test_a_skipped_step_changes_nothing(device):
    made = learner(device, "memory")
    records = fit(made, Noise(device, broken={(1, 2)}), Objective(freeze_bn="none", on_nan="skip"), 1)
    next(records)
    before = state_of(made), made.criterion.references.get_extra_state()
    assert next(records).photos == 0
    assert farthest(before[0], state_of(made)) == 0
    assert made.criterion.references.get_extra_state() == before[1]
    *_, epoch = records
    assert (epoch.skipped, torch.isfinite(torch.tensor(epoch.loss)).item()) == (1, True)


def test_the_network_computes_in_bfloat16_and_the_loss_in_float32(device):
    made, seen = learner(device), []
    made.model.projections[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    loss_of = made.criterion.of_whole_batch

    def noted(*arguments):
        value = loss_of(*arguments)
        seen.append(value.dtype)
        return value

    made.criterion.of_whole_batch = noted
    epoch = last_epoch(made, Noise(device), Objective(precision="bfloat16", freeze_bn="none"), 1)
    assert seen == [torch.bfloat16, torch.float32] * STEPS
    assert torch.isfinite(torch.tensor(epoch.loss))


def test_micro_batches_learn_what_the_whole_batch_learns(device):
    found = []
    for micro_batch in (0, 3):
        made = learner(device, "proxies", dtype=torch.float64)
        last_epoch(made, Noise(device, torch.float64), Objective(micro_batch=micro_batch), 1)
        found.append(state_of(made))
    assert farthest(*found) < 1e-6


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("name", LEARNERS)
def test_a_step_does_not_block_the_cpu(name, kind, device, no_waiting):
    records = fit(learner(device, name, kind=kind), Noise(device), Objective(clip_value=1.0), 2)
    # The last step of an epoch measures the cosine of two gradients, which reads numbers back.
    warm_up = STEPS + 2
    for _ in range(warm_up):
        next(records)
    with no_waiting():
        taken = next(records)
    assert (taken.epoch, taken.step) == (2, 2)


def settings_on(device, tiny, **others):
    return changed(tiny, device=device.type, compile="no", backbone="test_resnet", workers=2, **others)


def test_an_experiment_runs_and_is_resumed_after_an_interruption(tiny, device, tmp_path):
    experiment = settings_on(device, tiny, precision="auto")
    straight = run(experiment, tmp_path / "straight")
    place = RunFolder(tmp_path / "stopped")
    events = train(experiment, place)
    with suppress(StopIteration):
        while not isinstance(next(events), Step):
            pass
    events.close()
    found = resume_run(place.path)
    assert [row.epoch for row in found.outcome.rows] == [row.epoch for row in straight.outcome.rows] == [0, 1, 2]
    losses = [[row.train_loss for row in one.outcome.rows[1:]] for one in (found, straight)]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)
    assert straight.model(str(device)).embed_batch(torch.zeros(1, 3, 32, 32, device=device)).shape == (1, 16)
