"""Every optimizer and every schedule of PyTorch goes through a checkpoint, or is refused before the first step."""

import math
from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from pairlens.losses import ProxyAnchor
from pairlens.training.checkpoint import load_checkpoint, save_checkpoint
from pairlens.training.criterion import Criterion
from pairlens.training.fit import fit
from pairlens.training.learner import Learner, Objective
from pairlens.training.optimizer_state import check_storable, fit_schedule_state, tried_state
from pairlens.training.optimizers import OptimizerConfig, PerStep, make_optimizer, make_schedule
from pairlens.training.references import Proxies
from support.tiny_training import Noise, tiny_learner

EPOCHS = 4
# They take sparse gradients, a closure, or matrices only.
WITHOUT_A_PLAIN_STEP = ("SparseAdam", "LBFGS", "Muon")
OPTIMIZERS = {
    name: getattr(torch.optim, name)
    for name in torch.optim.__all__
    if isinstance(getattr(torch.optim, name), type) and name not in ("Optimizer", *WITHOUT_A_PLAIN_STEP)
}
OPTIMIZERS |= {
    "Adam with amsgrad": lambda groups: torch.optim.Adam(groups, amsgrad=True),
    "SGD with momentum": lambda groups: torch.optim.SGD(groups, momentum=0.9, nesterov=True),
    "RMSprop with everything": lambda groups: torch.optim.RMSprop(groups, momentum=0.9, centered=True),
}
SCHEDULES = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 0.9**epoch),
    "LambdaLR of an object": lambda o: lr_scheduler.LambdaLR(o, Power()),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda epoch: 0.9),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [1, 1, 3]),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, total_iters=2),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, total_iters=3),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.7),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, 3),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0),
    "CyclicLR": PerStep(lambda o: lr_scheduler.CyclicLR(o, 1e-5, 1e-3, step_size_up=3)),
    "OneCycleLR": PerStep(lambda o: lr_scheduler.OneCycleLR(o, 1e-3, total_steps=3 * EPOCHS)),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, total_iters=1), lr_scheduler.MultiStepLR(o, [1, 2])], [1]
    ),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.LinearLR(o, total_iters=3), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
}


class Power:
    """A callable object, whose attributes `LambdaLR` stores."""

    def __init__(self):
        self.base = 0.8

    def __call__(self, epoch):
        return self.base**epoch


def made_with(config, shapes=((4, 3), (3,), (2, 2, 3, 3))):
    """What a checkpoint stores of a learner, with a few numbers in the place of the model."""
    torch.manual_seed(0)
    model = nn.ParameterDict({str(number): nn.Parameter(torch.randn(shape)) for number, shape in enumerate(shapes)})
    model.backbone = nn.ParameterList(list(model.values())[:2])
    criterion = Criterion(ProxyAnchor(), Proxies(classes=3, dim=4))
    optimizer = make_optimizer(model, criterion, config)
    schedule = make_schedule(optimizer, EPOCHS, config)
    check_storable(optimizer, schedule)
    return SimpleNamespace(
        model=model, criterion=criterion, optimizer=optimizer, schedule=schedule, epoch=0, progress=None
    )


def train(made, unit, steps):
    """Take some steps, three in an epoch, towards weights of zero, and return the learning rate of each step."""
    rates = []
    for number in steps:
        rates.append(made.optimizer.param_groups[0]["lr"])
        parameters = [p for group in made.optimizer.param_groups for p in group["params"]]
        loss = sum((parameter**2 * (1 + number % 3)).sum() for parameter in parameters)
        made.optimizer.zero_grad()
        loss.backward()
        made.optimizer.step()
        if unit == "step":
            made.schedule.step()
        elif number % 3 == 2:
            plateau = isinstance(made.schedule, lr_scheduler.ReduceLROnPlateau)
            made.schedule.step(*[1.0 + number] * plateau)
    return rates


def check_that_it_resumes(config, folder):
    """Stop in the second epoch; the rates, the weights and the states must be those of an uninterrupted training."""
    straight = made_with(config)
    rates = train(straight, config.schedule_unit, range(3 * EPOCHS))
    stopped = made_with(config)
    train(stopped, config.schedule_unit, range(5))
    save_checkpoint(stopped, folder)
    resumed = made_with(config)
    load_checkpoint(resumed, folder)
    assert train(resumed, config.schedule_unit, range(5, 3 * EPOCHS)) == rates[5:]
    for part in ("model", "criterion", "optimizer", "schedule"):
        assert plain(getattr(straight, part).state_dict()) == plain(getattr(resumed, part).state_dict()), part
    return rates


def plain(value):
    """A state that can be compared by ==; tuples and counters stay what they are."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if type(value) in (dict, OrderedDict):
        return {key: plain(item) for key, item in value.items()}
    return type(value)(map(plain, value)) if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_of_pytorch_resumes_bit_identically(name, tmp_path):
    check_that_it_resumes(OptimizerConfig(name=OPTIMIZERS[name], learning_rate=1e-4), tmp_path)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "rmsprop", "nadam", "radam"])
def test_a_named_optimizer_resumes_bit_identically(name, tmp_path):
    check_that_it_resumes(OptimizerConfig(name=name, learning_rate=1e-4), tmp_path)


def test_a_schedule_per_step_advances_in_every_step_of_fit_and_resumes(tmp_path):
    device = torch.device("cpu")
    objective = Objective(precision="float32")

    def made():
        learner = tiny_learner(device)
        schedule = lr_scheduler.OneCycleLR(learner.optimizer, 1e-3, total_steps=8)
        return Learner(learner.model, learner.criterion, learner.optimizer, schedule, schedule_unit="step")

    straight = made()
    rates = [straight.optimizer.param_groups[0]["lr"] for _ in fit(straight, Noise(device), objective, 2)]
    # Each epoch has four steps and a record of its end.
    assert rates[3] == rates[4]
    assert len(set(rates)) == 8
    stopped = made()
    next(fit(stopped, Noise(device), objective, 2))
    save_checkpoint(stopped, tmp_path)
    resumed = made()
    load_checkpoint(resumed, tmp_path)
    assert [resumed.optimizer.param_groups[0]["lr"] for _ in fit(resumed, Noise(device), objective, 2)] == rates[1:]
    assert all(map(torch.equal, straight.model.parameters(), resumed.model.parameters()))


def test_a_schedule_that_looks_at_a_figure_gets_the_loss_of_the_epoch():
    learner = tiny_learner(torch.device("cpu"))
    learner.schedule = lr_scheduler.ReduceLROnPlateau(learner.optimizer)
    epoch = list(fit(learner, Noise(torch.device("cpu")), Objective(precision="float32"), 1))[-1]
    assert learner.schedule.best == epoch.loss


def test_every_schedule_of_pytorch_is_tried():
    assert {name.partition(" ")[0] for name in SCHEDULES} == set(lr_scheduler.__all__) - {"LRScheduler"}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_of_pytorch_resumes_bit_identically(name, optimizer, tmp_path):
    rates = check_that_it_resumes(OptimizerConfig(name=optimizer, schedule=SCHEDULES[name]), tmp_path)
    assert len(set(rates)) > 1 or name == "ReduceLROnPlateau"


@pytest.mark.parametrize("warm_up_epochs", [0, 2])
@pytest.mark.parametrize("schedule", ["step", "cosine", "constant"])
def test_a_named_schedule_resumes_bit_identically(schedule, warm_up_epochs, tmp_path):
    config = OptimizerConfig(schedule=schedule, warm_up_epochs=warm_up_epochs, learning_rate=0.3)
    rates = check_that_it_resumes(config, tmp_path)
    per_epoch = [rates[3 * epoch] for epoch in range(EPOCHS)]
    expected = {
        ("step", 0): [1, 1, 0.1, 0.01],
        ("step", 2): [1 / 3, 2 / 3, 0.1, 0.01],
        ("cosine", 0): [(1 + math.cos(math.pi * epoch / EPOCHS)) / 2 for epoch in range(EPOCHS)],
        ("cosine", 2): [1 / 3, 2 / 3, 1, 0.5],
        ("constant", 0): [1, 1, 1, 1],
        ("constant", 2): [1 / 3, 2 / 3, 1, 1],
    }
    assert per_epoch == pytest.approx([0.3 * factor for factor in expected[schedule, warm_up_epochs]])


@pytest.mark.parametrize("name", WITHOUT_A_PLAIN_STEP)
def test_an_optimizer_that_cannot_take_a_step_is_refused_in_one_sentence(name):
    parameters = [nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(2))]
    if name == "Muon":
        with pytest.raises(ValueError, match="Muon only supports 2D"):
            torch.optim.Muon(parameters)
        return
    optimizer = getattr(torch.optim, name)(parameters)
    with pytest.raises(ValueError, match=rf"^the optimizer {name} cannot take a step here \(.*; use one that needs no"):
        check_storable(optimizer, lr_scheduler.StepLR(optimizer, 1))


class Keeping(torch.optim.SGD):
    """An optimizer with something in its state."""

    kept = None

    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["kept"] = self.kept(self.state[parameter].get("kept"))


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (lambda _: len, "has of type builtin_function_or_method"),
        (lambda _: {1.5: 2}, "the key 1.5"),
        (lambda _: torch.ones(1, dtype=torch.complex64), "a tensor that is not an ordinary one"),
        (lambda _: "tensor:a", "of type str"),
        (lambda old: torch.ones(1 if old is None else len(old) + 1), "has other tensors after each step"),
    ],
)
def test_a_state_that_cannot_be_stored_is_refused_before_the_first_step(kept, message):
    optimizer = type("Special", (Keeping,), {"kept": staticmethod(kept)})([nn.Parameter(torch.ones(2))], lr=0.1)
    with pytest.raises(ValueError, match=message):
        check_storable(optimizer, lr_scheduler.StepLR(optimizer, 1))


def test_a_schedule_that_cannot_be_stored_is_refused_before_the_first_step():
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1)
    schedule = lr_scheduler.StepLR(optimizer, 1)
    schedule.log = print
    with pytest.raises(
        ValueError, match=r"the schedule StepLR cannot be stored in a checkpoint, because its state\.log"
    ):
        check_storable(optimizer, schedule)


def test_a_tried_step_changes_neither_weights_nor_state_nor_schedule():
    weight = nn.Parameter(torch.ones(3, 2))
    weight.grad = torch.ones(3, 2)
    optimizer = torch.optim.Adam([weight], lr=0.1, weight_decay=0.1)
    schedule = lr_scheduler.StepLR(optimizer, 1)
    optimizer.register_step_post_hook(lambda *_: pytest.fail("the hook of the user was called"))
    tried_state(optimizer, steps=3)
    assert torch.equal(weight, torch.ones(3, 2))
    assert not optimizer.state
    assert schedule.last_epoch == 0


def test_parameters_of_several_shapes_get_the_states_of_their_own_shape(tmp_path):
    shapes = [(2, 3), (3,), (2, 3), (3, 2)]
    optimizer = torch.optim.Adafactor([nn.Parameter(torch.ones(shape)) for shape in shapes])
    states = tried_state(optimizer)["state"]
    assert [state["row_var"].shape for state in states.values() if "row_var" in state] == [(2, 1), (3, 1)]


def test_another_optimizer_or_schedule_is_named_when_a_checkpoint_is_loaded(tmp_path):
    save_checkpoint(made_with(OptimizerConfig()), tmp_path)
    with pytest.raises(ValueError, match="its optimizer is Adam, not NAdam"):
        load_checkpoint(made_with(OptimizerConfig(name="nadam")), tmp_path)
    with pytest.raises(ValueError, match="its schedule is MultiStepLR, not LambdaLR"):
        load_checkpoint(made_with(OptimizerConfig(schedule="cosine")), tmp_path)


def test_a_stored_schedule_cannot_replace_a_method():
    schedule = lr_scheduler.StepLR(torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1), 1)
    stored = schedule.state_dict()
    assert fit_schedule_state(schedule, {**stored, "gained": 1})["gained"] == 1
    with pytest.raises(ValueError, match="its schedule is another"):
        fit_schedule_state(schedule, {**stored, "step": 1})
