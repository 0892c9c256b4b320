"""One rank on the code path of several ranks learns what one process learns (on a GPU: tests/cuda/test_distributed.py)."""

import pytest
import torch
from torch import distributed as dist

from pairlens.model.batchnorm import SynchronizedBatchNorm
from pairlens.training import data_parallel
from pairlens.training.fit import Epoch, fit
from pairlens.training.learner import Learner, Objective
from support.one_rank import one_rank
from support.training_setup import Photos, learner

PIXELS = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


class DoublePhotos(Photos):
    """Photos in float64, in which rounding stays below the tolerances."""

    def epoch(self, number, start=0):
        for pixels, *others in super().epoch(number, start):
            yield pixels.double(), *others


def train(parts, freeze_bn):
    made = Learner(parts.model, parts.criterion, parts.optimizer, parts.schedule)
    objective = Objective(freeze_bn=freeze_bn)
    epoch = [record for record in fit(made, DoublePhotos(), objective, 2) if isinstance(record, Epoch)][-1]
    return epoch.loss, made.model.embed_batch(PIXELS)


def parts(training):
    made = learner()
    made.model.double().train(training)
    made.criterion.double()
    return made


@pytest.mark.parametrize("training", [True, False], ids=["in training mode", "in evaluation mode"])
@pytest.mark.parametrize("freeze_bn", ["statistics", "none"])
def test_one_rank_learns_what_one_process_learns(tmp_path, freeze_bn, training):
    loss, embeddings = train(parts(training), freeze_bn)
    made = parts(training)
    with one_rank(tmp_path):
        rank_loss, rank_embeddings = train(made, freeze_bn)
    assert rank_loss == pytest.approx(loss, rel=1e-6)
    assert torch.allclose(rank_embeddings, embeddings, atol=1e-8)


@pytest.mark.parametrize(("freeze_bn", "synchronized"), [("statistics", False), ("none", True)])
def test_frozen_batchnorm_is_not_synchronized(tmp_path, freeze_bn, synchronized):
    made = parts(training=True)
    with one_rank(tmp_path):
        train(made, freeze_bn)
    assert any(isinstance(module, SynchronizedBatchNorm) for module in made.model.modules()) == synchronized


def test_nothing_is_compiled_before_the_first_batch(tmp_path):
    compiled = []
    made = parts(training=True)
    made.model.backbone.compile(backend=lambda graph, inputs: compiled.append(graph) or graph.forward)
    with one_rank(tmp_path):
        data_parallel.wrap_ddp(made.model, made.criterion, "statistics")
        assert compiled == []
        made.model(PIXELS)
    assert len(compiled) == 1


def test_ranks_start_from_the_random_state_of_rank_0(tmp_path, monkeypatch):
    made, sent = parts(training=True), torch.Generator().manual_seed(7).get_state()
    broadcast = dist.broadcast
    with one_rank(tmp_path):
        monkeypatch.setattr(
            dist, "broadcast", lambda x, rank: x.copy_(sent) if x.dtype == torch.uint8 else broadcast(x, rank)
        )
        data_parallel.wrap_ddp(made.model, made.criterion)
    assert torch.equal(torch.get_rng_state(), sent)


def test_ranks_on_gpus_start_from_the_random_state_of_the_gpu_of_rank_0(monkeypatch):
    cpu, gpu, kept = torch.get_rng_state(), torch.tensor([7, 0], dtype=torch.uint8), {}
    monkeypatch.setattr(dist, "broadcast", lambda state, rank: state.copy_(gpu if len(state) == len(gpu) else cpu))
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: torch.zeros(2, dtype=torch.uint8))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state: kept.update(gpu=state))
    data_parallel._broadcast_random_state(torch.device("cuda", 0))
    assert torch.equal(kept["gpu"], gpu)
