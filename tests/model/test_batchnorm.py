import copy

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from pairlens.model.backbone import Backbone
from pairlens.model.batchnorm import fuse_batchnorm

PAIRS = {
    "resnet50": (53, 53),
    "resnext50": (53, 53),
    # Five of its convolutions pad by the size of their input.
    "efficientnet_lite0": (44, 49),
    "test_resnet": (15, 15),
    # Here most BatchNorm stand before a convolution, and a map goes on beside them.
    "resnetv2_50": (32, 49),
    "convnext_atto": (0, 0),
}


def restless(name):
    """A backbone in double precision whose BatchNorm do something, and the same as timm made it."""
    torch.manual_seed(0)
    network = Backbone(name, "none", "none", 64).double()
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.eval()
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.1)
    plain = copy.deepcopy(network)
    for module in plain.modules():
        vars(module).pop("forward", None)
    return network, plain


def gradients(network, maps, weights):
    (maps * weights).sum().backward()
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", PAIRS)
def test_a_folded_network_is_the_same_function_with_the_same_gradients(name):
    network, plain = restless(name)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert (network.folded, len(norms)) == PAIRS[name]
    assert list(network.state_dict()) == list(plain.state_dict())
    photos = torch.randn(2, 3, 64, 64, dtype=torch.double)
    ours, theirs = network(photos), plain(photos)
    weights = torch.randn_like(theirs)
    assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-12)
    found, expected = gradients(network, ours, weights), gradients(plain, theirs, weights)
    assert found.keys() == expected.keys()
    for parameter, gradient in expected.items():
        assert (found[parameter] - gradient).norm() <= 1e-10 * gradient.norm(), parameter


def test_a_batchnorm_that_learns_statistics_is_left_to_do_so():
    network, plain = restless("test_resnet")
    photos = torch.randn(2, 3, 64, 64, dtype=torch.double)
    assert torch.equal(network.train()(photos), plain.train()(photos))
    assert all(torch.equal(a, b) for a, b in zip(network.buffers(), plain.buffers(), strict=True))


def test_while_folded_no_batchnorm_runs(monkeypatch):
    network, _ = restless("resnet10t")
    monkeypatch.setattr(torch.nn.functional, "batch_norm", lambda *_: pytest.fail("a BatchNorm has run"))
    network(torch.randn(1, 3, 64, 64, dtype=torch.double))


class Odd(nn.Module):
    """Convolutions that must keep their BatchNorm: used twice, seen beside it, or of another kind."""

    def __init__(self):
        super().__init__()
        self.twice, self.seen, self.mirrored = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 3, padding=1)
        self.mirrored.padding_mode = "reflect"
        self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(4))
        self.biased, self.bare = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, affine=False)
        self.last, self.act = nn.Conv2d(3, 3, 1, bias=False), BatchNormAct2d(3)

    def forward_features(self, x):
        x = self.norms[1](self.twice(self.norms[0](self.twice(x))))
        beside = self.seen(x)
        x = self.norms[2](beside) + beside
        return self.act(self.last(self.bare(self.biased(self.norms[3](self.mirrored(x))))))


def test_only_what_is_exactly_a_pair_is_folded():
    network = Odd().eval()
    photos = torch.randn(2, 3, 8, 8)
    before = network.forward_features(photos)
    assert fuse_batchnorm(network, 8) == 2
    assert [name for name, m in network.named_modules() if "forward" in vars(m)] == ["biased", "bare", "last", "act"]
    assert torch.allclose(network.forward_features(photos), before, atol=1e-6)


def test_bfloat16_is_as_near_folded_as_it_is_plain():
    network, plain = (n.float() for n in restless("test_resnet"))
    photos = torch.randn(4, 3, 64, 64)
    exact = plain(photos)
    with torch.autocast("cpu", torch.bfloat16):
        errors = [float((n(photos).float() - exact).norm().detach()) for n in (network, plain)]
    assert errors[0] <= 1.2 * errors[1]
