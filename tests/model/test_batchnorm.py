import copy

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from pairlens.model.backbone import Backbone
from pairlens.model.batchnorm import fuse_batchnorm

# For each backbone the number of fused pairs and the number of BatchNorm.
PAIRS = {
    "resnet50": (53, 53),
    "resnext50": (53, 53),
    "efficientnet_lite0": (49, 49),
    "test_resnet": (15, 15),
    # Here most BatchNorm precede a convolution, and the residual branch uses the same map.
    "resnetv2_50": (32, 49),
    "convnext_atto": (0, 0),
}


def fused_and_plain(name):
    """A backbone in double precision whose BatchNorm changes its input, and an unfused copy of it."""
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
def test_a_fused_network_is_the_same_function_with_the_same_gradients(name):
    network, plain = fused_and_plain(name)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert (network.fused_pairs, len(norms)) == PAIRS[name]
    assert list(network.state_dict()) == list(plain.state_dict())
    photos = torch.randn(2, 3, 64, 64, dtype=torch.double)
    fused_map = network(photos)
    plain_map = plain(photos)
    weights = torch.randn_like(plain_map)
    assert torch.allclose(fused_map, plain_map, rtol=1e-10, atol=1e-12)
    fused = gradients(network, fused_map, weights)
    expected = gradients(plain, plain_map, weights)
    assert fused.keys() == expected.keys()
    for parameter, gradient in expected.items():
        assert (fused[parameter] - gradient).norm() <= 1e-10 * gradient.norm(), parameter


def test_a_batchnorm_in_training_mode_runs_unfused():
    network, plain = fused_and_plain("test_resnet")
    photos = torch.randn(2, 3, 64, 64, dtype=torch.double)
    assert torch.equal(network.train()(photos), plain.train()(photos))
    assert all(torch.equal(a, b) for a, b in zip(network.buffers(), plain.buffers(), strict=True))


def test_no_fused_batchnorm_runs(monkeypatch):
    network, _ = fused_and_plain("resnet10t")
    monkeypatch.setattr(torch.nn.functional, "batch_norm", lambda *_: pytest.fail("a BatchNorm has run"))
    network(torch.randn(1, 3, 64, 64, dtype=torch.double))


class SpecialCases(nn.Module):
    """Two pairs that can be fused, and convolutions that must keep their BatchNorm.

    Not to be fused: a convolution that is called twice, one whose output is used twice, one that does not pad with zeros.
    """

    def __init__(self):
        super().__init__()
        self.called_twice = nn.Conv2d(3, 3, 1)
        self.used_twice = nn.Conv2d(3, 3, 1)
        self.mirrored = nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")
        self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(4))
        self.biased = nn.Conv2d(3, 3, 1)
        self.no_affine = nn.BatchNorm2d(3, affine=False)
        self.unbiased = nn.Conv2d(3, 3, 1, bias=False)
        self.with_activation = BatchNormAct2d(3)

    def forward_features(self, x):
        x = self.norms[1](self.called_twice(self.norms[0](self.called_twice(x))))
        output = self.used_twice(x)
        x = self.norms[2](output) + output
        x = self.norms[3](self.mirrored(x))
        return self.with_activation(self.unbiased(self.no_affine(self.biased(x))))


def test_only_exact_pairs_are_fused():
    network = SpecialCases().eval()
    photos = torch.randn(2, 3, 8, 8)
    before = network.forward_features(photos)
    assert fuse_batchnorm(network, 8) == 2
    replaced = [name for name, m in network.named_modules() if "forward" in vars(m)]
    assert replaced == ["biased", "no_affine", "unbiased", "with_activation"]
    assert torch.allclose(network.forward_features(photos), before, atol=1e-6)


def test_fusing_does_not_increase_the_error_of_bfloat16():
    network, plain = (n.float() for n in fused_and_plain("test_resnet"))
    photos = torch.randn(4, 3, 64, 64)
    exact = plain(photos)
    with torch.autocast("cpu", torch.bfloat16):
        errors = [float((n(photos).float() - exact).norm().detach()) for n in (network, plain)]
    assert errors[0] <= 1.2 * errors[1]
