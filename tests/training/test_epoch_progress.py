import math

import pytest
import torch

from pairlens.training.divergence import DivergedError
from pairlens.training.epoch_progress import DeferredReads, EpochProgress


class Arrival:
    """Stands for a CUDA event, and counts how often it was waited for."""

    waited = 0

    def synchronize(self):
        self.waited += 1


def test_values_of_a_gpu_are_read_one_step_late_and_in_order():
    reads, arrival = DeferredReads(), Arrival()
    for step in (1.0, 2.0, 3.0):
        reads._pending.append((torch.tensor(step), f"step {step:g}", arrival))
    assert [name for _, name in reads.receive()] == ["step 1", "step 2"]
    assert [name for _, name in reads.receive()] == []
    assert arrival.waited == 2
    assert [name for _, name in reads.receive(wait=True)] == ["step 3"]


def test_sums_are_complete_when_they_are_saved():
    progress = EpochProgress()
    for _ in range(2):
        progress.pending._pending.append((torch.tensor([4.0, 1.0, 1.0, 2.0, 0.5, 0.1]), "here", Arrival()))
    progress.drain()
    assert progress.sums.tolist() == [4, 1, 1, 2]
    assert progress.state_dict()["sums"].tolist() == [8, 2, 2, 4]
    assert EpochProgress.from_state(progress.state_dict()).sums.tolist() == [8, 2, 2, 4]


def test_means_are_those_of_the_photos_so_far():
    progress = EpochProgress()
    assert all(map(math.isnan, progress.means()))
    progress.pending.send(torch.tensor([4.0, 1.0, 2.0, 3.0, 0.25, 0.1]), "here")
    progress.drain()
    assert progress.means() == (0.25, 0.5, 0.75)


@pytest.mark.parametrize(("loss", "norm", "what"), [(1.0, torch.inf, "norm of the gradient"), (torch.nan, 1.0, "loss")])
def test_a_step_that_was_not_finite_is_named_when_its_values_arrive(loss, norm, what):
    progress = EpochProgress()
    progress.pending.send(torch.tensor([4.0, 1.0, 1.0, 2.0, loss, norm]), "in epoch 2, step 7")
    with pytest.raises(DivergedError, match=rf"the {what} became (inf|nan), in epoch 2, step 7"):
        progress.drain()


def test_a_fused_optimizer_skips_a_step_that_is_not_finite():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight], fused=True)
    for bad in (1.0, 0.0):
        optimizer.grad_scale, optimizer.found_inf = None, torch.tensor(bad)
        weight.grad = torch.full((3,), torch.nan if bad else 1.0)
        optimizer.step()
        assert torch.equal(weight, torch.ones(3)) == bool(bad)
