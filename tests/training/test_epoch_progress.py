import pytest
import torch

from pairlens.training.divergence import DivergedError
from pairlens.training.epoch_progress import DeferredReads, EpochProgress


class Arrival:
    """Stands for the event of a GPU, and notes that it was waited for."""

    waited = 0

    def synchronize(self):
        self.waited += 1


def test_what_a_gpu_sends_is_read_a_step_late_and_in_order():
    late, arrival = DeferredReads(), Arrival()
    for step in (1.0, 2.0, 3.0):
        late._under_way.append((torch.tensor(step), f"step {step:g}", arrival))
    assert [name for _, name in late.receive()] == ["step 1", "step 2"]
    assert [name for _, name in late.receive()] == []
    assert arrival.waited == 2
    assert [name for _, name in late.receive(wait=True)] == ["step 3"]


def test_sums_are_complete_when_they_are_saved():
    way = EpochProgress()
    for _ in range(2):
        way.late._under_way.append((torch.tensor([4.0, 1.0, 1.0, 2.0, 0.5, 0.1]), "here", Arrival()))
    way.drain()
    assert way.sums.tolist() == [4, 1, 1, 2]
    assert way.state_dict()["sums"].tolist() == [8, 2, 2, 4]
    assert EpochProgress.from_state(way.state_dict()).sums.tolist() == [8, 2, 2, 4]


@pytest.mark.parametrize(("loss", "norm", "what"), [(1.0, torch.inf, "norm of the gradient"), (torch.nan, 1.0, "loss")])
def test_a_step_that_was_not_finite_is_named_when_it_arrives(loss, norm, what):
    way = EpochProgress()
    way.late.send(torch.tensor([4.0, 1.0, 1.0, 2.0, loss, norm]), "in epoch 2, step 7")
    with pytest.raises(DivergedError, match=rf"the {what} became (inf|nan), in epoch 2, step 7"):
        way.drain()


def test_a_fused_optimizer_leaves_the_weights_of_a_step_that_was_not_finite():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight], fused=True)
    for bad in (1.0, 0.0):
        optimizer.grad_scale, optimizer.found_inf = None, torch.tensor(bad)
        weight.grad = torch.full((3,), torch.nan if bad else 1.0)
        optimizer.step()
        assert torch.equal(weight, torch.ones(3)) == bool(bad)
