"""torch.compile for a GPU gives the same function in one graph; on the CPU only the graph is made."""

from functools import partial

import pytest
import torch
from torch._dynamo.utils import counters

from pairlens.experiments.build import can_compile
from pairlens.experiments.run import run
from pairlens.losses import Circle, ProxyAnchor
from pairlens.training.fit import fit
from pairlens.training.learner import Objective
from support.experiments import changed
from support.loss_cases import CLASSES, DIM, criterion
from support.tiny_training import STEPS, Noise, last_epoch, tiny_learner

# The compiler leaves files open; that is not an error of Pairlens.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def compiler(device, monkeypatch):
    """Skip without a compiler for the GPU; on the CPU, where compiling takes minutes, make only the graphs."""
    torch._dynamo.reset()
    counters.clear()
    if device.type == "cuda":
        if not can_compile(device):
            pytest.skip("needs Triton and a C compiler")
        return
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))


@pytest.mark.parametrize(("loss", "source"), [(Circle(), "batch"), (ProxyAnchor(), "proxies")], ids=str)
def test_a_loss_is_one_graph_of_the_same_value(loss, source, device, no_waiting):
    points = torch.randn(24, DIM, device=device).requires_grad_()
    labels = torch.arange(24, device=device) % CLASSES
    made = criterion(loss, source).to(device)
    compiled = torch.compile(made, fullgraph=True)
    values = made(points, labels), compiled(points, labels)
    assert torch.allclose(*values, rtol=1e-4)
    gradients = (torch.autograd.grad(value, points)[0] for value in values)
    assert torch.allclose(*gradients, rtol=1e-3, atol=1e-5)
    with no_waiting():
        compiled(points, labels).backward()


def test_a_compiled_backbone_learns_the_same_and_does_not_block(device, no_waiting):
    plain, compiled = (tiny_learner(device, kind="sgd") for _ in range(2))
    compiled.model.backbone.compile()
    objective = Objective(precision="bfloat16")
    expected = last_epoch(plain, Noise(device), objective, 1)
    records = fit(compiled, Noise(device), objective, 2)
    epoch = [next(records) for _ in range(STEPS + 1)][-1]
    assert epoch.loss == pytest.approx(expected.loss, rel=0.05)
    next(records)
    with no_waiting():
        next(records)
    assert not counters["graph_break"]
    assert list(compiled.model.state_dict()) == list(plain.model.state_dict())


def test_a_compiled_experiment_runs(tiny, device, tmp_path):
    experiment = changed(
        tiny,
        device=device.type,
        compile="yes",
        backbone="test_resnet",
        precision="bfloat16",
        freeze_bn="statistics",
        micro_batch=6,
    )
    found = run(experiment, tmp_path / "compiled").outcome.rows
    expected = run(changed(experiment, compile="no"), tmp_path / "plain").outcome.rows
    assert [row.epoch for row in found] == [0, 1, 2]
    assert [row.train_loss for row in found[1:]] == pytest.approx([row.train_loss for row in expected[1:]], rel=0.1)
    assert found[0].mean_s_p == pytest.approx(expected[0].mean_s_p, abs=0.01)
    assert not counters["graph_break"]
