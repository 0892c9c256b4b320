"""The criterion in a user's training loop on a GPU."""

import pytest
import torch

from pairlens.losses import Circle, Margin, SoftTriple, Triplet
from pairlens.losses.miners import Hardest
from pairlens.losses.third_party import wrap
from pairlens.training.criterion import Criterion
from pairlens.training.references import CrossBatchMemory, Proxies

LABELS = torch.arange(16) % 4

CRITERIA = {
    "batch": lambda: Criterion(Circle()),
    "mined": lambda: Criterion(Triplet(), miner=Hardest()),
    "memory": lambda: Criterion(Triplet(), CrossBatchMemory(64, 8)),
    "proxies": lambda: Criterion(SoftTriple(centers=2), Proxies(4, 8, 2)),
    "boundaries": lambda: Criterion(Margin(), classes=4),
    "wrapped": lambda: Criterion(wrap(lambda embeddings, labels: (embeddings.mT @ embeddings).pow(2).mean())),
}


def made(name):
    torch.manual_seed(0)
    return CRITERIA[name]()


@pytest.mark.parametrize("name", CRITERIA)
def test_the_loss_in_a_users_loop_is_that_of_the_cpu(name, device):
    points, found = torch.randn(16, 8), []
    for place in ("cpu", device):
        embeddings, criterion = points.to(place).requires_grad_(), made(name).to(place)
        value = criterion(embeddings, LABELS.to(place))
        value.backward()
        assert value.device.type == torch.device(place).type
        gradients = [embeddings.grad, *(parameter.grad for parameter in criterion.parameters())]
        found.append([value.detach().cpu(), *(gradient.cpu() for gradient in gradients)])
    assert all(torch.allclose(one, other, rtol=1e-4, atol=1e-5) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("name", CRITERIA)
def test_mixed_precision_with_a_gradient_scaler_learns(name, device):
    torch.manual_seed(0)
    layer, criterion = torch.nn.Linear(12, 8, device=device), made(name).to(device)
    optimizer = torch.optim.SGD([*layer.parameters(), *criterion.parameters()], lr=1e-3)
    scaler = torch.amp.GradScaler(device.type, init_scale=2.0**10)
    inputs, before = torch.randn(16, 12, device=device), layer.weight.detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.float16):
            value = criterion(layer(inputs), LABELS.to(device))
        scaler.scale(value.float()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert torch.isfinite(layer.weight).all()
    assert not torch.equal(layer.weight, before)


@pytest.mark.parametrize("name", CRITERIA)
def test_the_state_can_be_loaded_on_the_other_device(name, device):
    there, here = made(name).to(device), made(name)
    there(torch.randn(16, 8, device=device), LABELS.to(device))
    here.load_state_dict(there.state_dict())
    points = torch.randn(16, 8)
    values = here(points, LABELS), there(points.to(device), LABELS.to(device)).cpu()
    assert torch.allclose(*values, rtol=1e-4, atol=1e-5)
