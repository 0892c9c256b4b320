"""One rank on the code path of several, with NCCL on a GPU: every message is sent and comes back unchanged."""

import pytest
import torch
from torch import nn

from pairlens.cli.launch import _backend
from pairlens.core.distributed import all_reduce_sum, barrier, broadcast_text, gather_equal_rows, gather_rows
from pairlens.losses import Circle, Margin, SoftTriple
from pairlens.losses.miners import DistanceWeighted
from pairlens.model.batchnorm import SynchronizedBatchNorm
from pairlens.training.data_parallel import gather_with_gradient
from pairlens.training.learner import Objective
from pairlens.training.references import CrossBatchMemory, Proxies
from support.one_rank import one_rank
from support.tiny_training import LABELS, Noise, farthest, last_epoch, state_of, tiny_learner


@pytest.fixture
def group(device, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    with one_rank(tmp_path, _backend()):
        yield


@pytest.mark.usefixtures("group")
def test_gathered_rows_come_back(device):
    rows = torch.arange(6.0, device=device).view(3, 2)
    for given in (rows, LABELS.to(device), rows.cpu()):
        assert all(torch.equal(gather(given), given) for gather in (gather_rows, gather_equal_rows))
        assert torch.equal(all_reduce_sum(given), given)
    leaf = rows.clone().requires_grad_()
    gather_with_gradient(leaf).square().sum().backward()
    assert torch.equal(leaf.grad, 2 * rows)
    assert broadcast_text("é") == "é"
    barrier()


CASES = {
    "batch": (lambda: {"loss": Circle(gamma=16)}, Objective()),
    "joined BatchNorm": (lambda: {"loss": Circle(gamma=16)}, Objective(freeze_bn="none")),
    "memory": (lambda: {"loss": Circle(gamma=16), "references": CrossBatchMemory(40, 8)}, Objective(warm_up=1)),
    "proxies": (lambda: {"loss": SoftTriple(), "references": Proxies(4, 8, 10)}, Objective(clip_value=0.1)),
    "drawn pairs": (lambda: {"loss": Margin(), "miner": DistanceWeighted(dim=8)}, Objective(micro_batch=3)),
}


@pytest.mark.parametrize("name", CASES)
def test_one_rank_learns_what_one_process_learns(name, device, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    settings, objective = CASES[name]
    losses, states = [], []
    for together in (False, True):
        torch.manual_seed(0)
        parts = settings()
        if together:
            with one_rank(tmp_path, _backend()):
                epoch, made = trained(device, parts, objective)
        else:
            epoch, made = trained(device, parts, objective)
        losses.append(epoch.loss)
        states.append(state_of(made))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert farthest(*states) < 1e-6
    kind = nn.SyncBatchNorm if device.type == "cuda" else SynchronizedBatchNorm
    assert any(isinstance(module, kind) for module in made.model.modules()) == (objective.freeze_bn == "none")


def trained(device, parts, objective):
    made = tiny_learner(device, dtype=torch.float64, **parts)
    torch.manual_seed(1)
    return last_epoch(made, Noise(device, torch.float64), objective, 2), made
