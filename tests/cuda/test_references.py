"""Memory and proxies have the same results on a GPU as on the CPU."""

import pytest
import torch

from pairlens.core.similarity import unit
from pairlens.training.references import CrossBatchMemory, InBatch, Proxies

DIM, PHOTOS = 8, 12
LABELS = torch.arange(PHOTOS) % 4


def points(number):
    return unit(torch.randn(PHOTOS, DIM, generator=torch.Generator().manual_seed(number)))


def fill(memory, device, batches=5):
    """Return similarities and pairs of the last of several batches, which together exceed the memory."""
    memory = memory.to(device)
    for number in range(batches):
        similarity, pairs = memory(points(number).to(device), LABELS.to(device))
    return similarity.cpu(), pairs.positive.cpu(), pairs.negative.cpu()


@pytest.mark.parametrize("warm_up", [0, 2, 9])
def test_a_memory_holds_and_compares_what_it_does_on_the_cpu(warm_up, device):
    ours, theirs = CrossBatchMemory(40, DIM, warm_up), CrossBatchMemory(40, DIM, warm_up)
    expected, found = fill(ours, "cpu"), fill(theirs, device)
    assert torch.allclose(found[0], expected[0], atol=1e-6)
    assert torch.equal(found[1], expected[1])
    assert torch.equal(found[2], expected[2])
    assert torch.equal(theirs.vectors.cpu(), ours.vectors)
    assert torch.equal(theirs.labels.cpu(), ours.labels)
    assert theirs.get_extra_state() == ours.get_extra_state()


def test_a_photo_is_never_its_own_pair(device):
    memory = CrossBatchMemory(2 * PHOTOS, DIM).to(device)
    for _ in range(2):
        _, pairs = memory(points(0).to(device), torch.arange(PHOTOS, device=device))
    # The copy of the previous batch is the only positive.
    assert pairs.positive.sum(dim=1).tolist() == [1] * PHOTOS
    assert not pairs.positive[:, PHOTOS:].any()


def test_a_memory_continues_on_the_other_device(device):
    there, here = CrossBatchMemory(40, DIM), CrossBatchMemory(40, DIM)
    fill(there, device, 3)
    here.load_state_dict(there.state_dict())
    back = CrossBatchMemory(40, DIM).to(device)
    back.load_state_dict(here.state_dict())
    for one, other in zip(fill(here, "cpu", 1), fill(back, device, 1), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_half_precision_is_stored_in_float32_and_evaluation_stores_nothing(device):
    memory = CrossBatchMemory(40, DIM).to(device)
    similarity, _ = memory(points(0).to(device, torch.float16), LABELS.to(device))
    assert similarity.dtype == memory.vectors.dtype == torch.float32
    before = memory.vectors.clone()
    memory.eval()(points(1).to(device), LABELS.to(device))
    assert torch.equal(memory.vectors, before)


@pytest.mark.parametrize("centers", [1, 3])
def test_proxies_have_the_similarities_and_the_gradient_of_the_cpu(centers, device):
    torch.manual_seed(0)
    proxies, found = Proxies(4, DIM, centers), []
    for place in ("cpu", device):
        proxies.to(place).zero_grad()
        similarity, pairs = proxies(points(0).to(place), LABELS.to(place))
        (similarity * pairs.positive).sum().backward()
        found.append([tensor.detach().cpu() for tensor in (similarity, pairs.positive.float(), proxies.vectors.grad)])
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(*found, strict=True))


def test_the_batch_is_compared_with_itself(device):
    vectors = points(0)
    similarity, pairs = InBatch()(vectors.to(device), LABELS.to(device))
    assert torch.allclose(similarity.cpu(), vectors @ vectors.T, atol=1e-6)
    assert not pairs.positive.diagonal().any()
