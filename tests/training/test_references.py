import pytest
import torch

import pairlens
from pairlens.training import references as module_of_references
from pairlens.training.criterion import Criterion
from pairlens.training.references import CrossBatchMemory, InBatch, Proxies
from support.loss_cases import DIM, MEMORY


def test_the_batch_is_compared_with_itself():
    points = torch.nn.functional.normalize(torch.randn(5, 3), dim=1)
    similarity, pairs = InBatch()(points, torch.tensor([0, 0, 1, 1, 2]))
    assert torch.equal(similarity, points @ points.T)
    assert not pairs.positive.diagonal().any()


def test_proxies_are_unit_parameters_laid_out_class_by_class():
    proxies = Proxies(classes=3, dim=4, centers=2)
    similarity, pairs = proxies(torch.eye(4)[:1], torch.tensor([1]))
    assert torch.allclose(proxies.unit_centers.norm(dim=2), torch.ones(3, 2))
    assert torch.equal(similarity[0].view(3, 2), proxies.unit_centers[:, :, 0])
    assert pairs.positive.tolist() == [[False, False, True, True, False, False]]


def test_proxies_get_a_gradient():
    proxies = Proxies(classes=3, dim=4)
    proxies(torch.eye(4), torch.tensor([0, 1, 2, 0]))[0].sum().backward()
    assert proxies.vectors.grad is not None


def test_a_label_without_a_proxy_and_a_wrong_dimension_are_named():
    proxies = Proxies(classes=98, dim=4)
    with pytest.raises(ValueError, match="labels run from 0 to 98, but there are proxies for 0 to 97"):
        proxies(torch.eye(4)[:2], torch.tensor([0, 98]))
    with pytest.raises(ValueError, match="3 dimensions, the proxies 4"):
        proxies(torch.eye(3), torch.tensor([0, 1, 2]))


def filled(size=6, dim=4, warm_up=0):
    memory = CrossBatchMemory(size, dim, warm_up)
    memory(torch.eye(4)[:4], torch.tensor([0, 1, 2, 3]))
    return memory


def test_a_memory_holds_the_last_embeddings_including_the_batch():
    memory = filled()
    batch = torch.eye(4)[[1, 0, 3]]
    similarity, pairs = memory(batch, torch.tensor([1, 0, 9]))
    assert memory.filled == 6
    # Four entries were written, then three: the third of the new batch overwrites the first entry.
    assert memory.labels.tolist() == [9, 1, 2, 3, 1, 0]
    assert torch.equal(similarity, batch @ memory.vectors.T)
    assert pairs.positive.int().tolist() == [[0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
    assert pairs.negative.int().tolist() == [[1, 0, 1, 1, 0, 1], [1, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1]]


def test_a_photo_is_never_its_own_pair_but_an_earlier_copy_of_it_is():
    memory = CrossBatchMemory(4, 2)
    for _ in range(2):
        _, pairs = memory(torch.eye(2), torch.tensor([0, 1]))
    assert pairs.positive.int().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]


def test_only_anchors_have_a_gradient_and_the_next_batch_does_not_change_it():
    memory = filled()
    first = torch.eye(4)[:2].clone().requires_grad_()
    similarity, _ = memory(first, torch.tensor([0, 1]))
    expected = memory.vectors[: memory.filled].sum(dim=0)
    memory(torch.eye(4)[2:], torch.tensor([7, 8]))
    similarity.sum().backward()
    assert torch.equal(first.grad, expected.expand(2, 4))


def test_during_warm_up_the_batch_is_compared_with_itself_while_the_memory_fills():
    memory = CrossBatchMemory(8, 4, warm_up=2)
    shapes = [memory(torch.eye(4)[:3], torch.tensor([0, 0, 1]))[0].shape[1] for _ in range(3)]
    assert shapes == [3, 3, 8]
    assert memory.seen == 3


def test_nothing_is_written_in_evaluation_mode():
    memory = filled().eval()
    before = memory.vectors.clone()
    memory(torch.eye(4)[:2], torch.tensor([0, 1]))
    assert torch.equal(memory.vectors, before)
    assert memory.filled == 4


def test_the_whole_state_of_a_memory_is_in_its_state_dict():
    memory, other = filled(), CrossBatchMemory(6, 4)
    other.load_state_dict(memory.state_dict())
    batch, labels = torch.eye(4)[:3], torch.tensor([3, 0, 1])
    (one, pairs), (two, same) = memory(batch, labels), other(batch, labels)
    assert torch.equal(one, two)
    assert torch.equal(pairs.positive, same.positive)
    assert (other.next_slot, other.filled, other.seen) == (memory.next_slot, memory.filled, memory.seen)


def test_a_memory_that_is_too_small_or_of_another_dimension_is_named():
    with pytest.raises(ValueError, match="batch of 3 does not fit into a memory of 2"):
        CrossBatchMemory(2, 4)(torch.eye(4)[:3], torch.tensor([0, 0, 1]))
    with pytest.raises(ValueError, match="3 dimensions, the memory 4"):
        CrossBatchMemory(8, 4)(torch.eye(3), torch.tensor([0, 0, 1]))
    with pytest.raises(ValueError, match="size 0"):
        CrossBatchMemory(0, 4)


@pytest.mark.parametrize("loss", MEMORY, ids=str)
def test_a_memory_as_large_as_the_batch_gives_the_loss_of_the_batch(loss):
    """The value is the same; the gradient is not, because entries of the memory have none."""
    torch.manual_seed(0)
    embeddings, labels = torch.randn(12, DIM), torch.arange(12) % 4
    on_batch, on_memory = (
        Criterion(loss, references, classes=4)(embeddings, labels)
        for references in (InBatch(), CrossBatchMemory(12, DIM))
    )
    assert torch.allclose(on_batch, on_memory, atol=1e-5)


@pytest.mark.parametrize(("old", "new"), [("Batch", InBatch), ("Memory", CrossBatchMemory)])
@pytest.mark.parametrize("module", [pairlens, module_of_references])
def test_the_names_of_version_0_1_warn_and_still_work(module, old, new):
    with pytest.warns(DeprecationWarning, match=f"{old} is now called .*{new.__name__}"):
        assert getattr(module, old) is new
    assert getattr(module, new.__name__) is new
    with pytest.raises(AttributeError, match="has no attribute 'Batches'"):
        _ = module.Batches
