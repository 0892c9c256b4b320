import pytest
import torch
from torch import nn

from pairlens.model.backbone import Backbone
from pairlens.model.embedder import Embedder
from pairlens.model.frozen_stages import freeze_stages, stages_of

# Stages of each backbone, the stem being the first one.
STAGES = {"efficientnet_lite0": 8, "test_resnet": 5, "test_vit": 7, "test_convnext": 6}


@pytest.mark.parametrize("name", STAGES)
def test_the_stages_hold_every_parameter_once_and_the_first_runs_first(name):
    network = Backbone(name, "none", "none", 64).network
    stages = stages_of(network)
    names = [parameter for stage in stages for parameter in stage]
    assert len(stages) == STAGES[name]
    assert sorted(names) == sorted(parameter for parameter, _ in network.named_parameters())


def test_no_gradient_is_computed_through_frozen_stages():
    backbone = Backbone("efficientnet_lite0", "none", "none", 32).train()
    freeze_stages(backbone, 3)
    seen = []
    backbone.network.blocks[1].register_forward_hook(lambda *given: seen.append(given[2].requires_grad))
    backbone.network.blocks[2].register_forward_hook(lambda *given: seen.append(given[2].requires_grad))
    backbone(torch.randn(2, 3, 32, 32)).sum().backward()
    assert seen == [False, True]
    frozen = [name for stage in stages_of(backbone.network)[:3] for name in stage]
    assert {name for name, p in backbone.network.named_parameters() if not p.requires_grad} == set(frozen)


def test_batchnorm_of_frozen_stages_keeps_its_statistics():
    backbone = Backbone("test_resnet", "none", "none", 32).train()
    freeze_stages(backbone, 2)
    norms = {name: m for name, m in backbone.network.named_modules() if isinstance(m, nn.BatchNorm2d)}
    start = {name: norm.state_dict()["running_mean"].clone() for name, norm in norms.items()}
    backbone(torch.randn(4, 3, 32, 32))
    frozen = {name.rpartition(".")[0] for stage in stages_of(backbone.network)[:2] for name in stage}
    for name, norm in norms.items():
        assert torch.equal(start[name], norm.state_dict()["running_mean"]) == (name in frozen), name


@pytest.mark.parametrize("count", [5, 6])
def test_at_least_one_stage_must_be_trained(count):
    backbone = Backbone("test_resnet", "none", "none", 32)
    with pytest.raises(ValueError, match=rf"--freeze_stages {count} leaves no stage .* which has 5; use at most 4"):
        freeze_stages(backbone, count)


def test_a_module_from_outside_has_no_stages_to_freeze():
    model = Embedder.of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), dim=4, image_size=16)
    freeze_stages(model.backbone, 0)
    with pytest.raises(ValueError, match="--freeze_stages 1 needs a backbone of timm"):
        freeze_stages(model.backbone, 1)
