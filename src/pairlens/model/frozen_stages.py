"""The stages of a backbone, of which the first ones may be frozen, so that no gradient is computed through them."""

from typing import Any

from torch import nn


def stages_of(network: nn.Module) -> list[list[str]]:
    """Return the names of the parameters of each stage of a timm network: first the stem, then each group of blocks.

    What follows the last group of blocks (a last convolution, a last norm) belongs to it or is a stage of its own, as timm
    has it. A module from outside has no named stages, so the list is empty.

    >>> from timm import create_model
    >>> [names[0] for names in stages_of(create_model("test_resnet", num_classes=0))]
    ['conv1.0.weight', 'layer1.0.conv1.weight', 'layer2.0.conv1.weight', 'layer3.0.conv1.weight', 'layer4.0.conv1.weight']
    """
    # Imported here, because timm takes as long to import as PyTorch; whoever has a backbone has imported it already.
    from timm.models import group_parameters

    matcher: Any = getattr(network, "group_matcher", None)
    return [] if matcher is None else list(group_parameters(network, matcher(coarse=True)).values())


def freeze_stages(backbone: Any, count: int) -> None:
    """Freeze the first stages of a backbone: no gradient for their parameters, and their BatchNorm stays as it is.

    Call it after each `train()` and `requires_grad_(True)`, which unfreeze them.

    Args:
        backbone: the backbone of an embedder.
        count: number of stages; 0 freezes nothing.

    Raises:
        ValueError: if the backbone does not have more stages than that.

    >>> from pairlens.model.backbone import Backbone
    >>> backbone = Backbone("test_resnet", "none", "none", 32)
    >>> freeze_stages(backbone, 2)
    >>> backbone.network.layer1[0].conv1.weight.requires_grad, backbone.network.layer2[0].conv1.weight.requires_grad
    (False, True)
    """
    if not count:
        return
    stages = stages_of(backbone.network)
    if count >= len(stages):
        raise ValueError(_refusal(count, len(stages)))
    frozen = {name for names in stages[:count] for name in names}
    for path, module in backbone.network.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if f"{path}.{name}".removeprefix(".") in frozen:
                parameter.requires_grad_(False)
                # The common base class of BatchNorm in one and two dimensions, of timm's and of synchronized BatchNorm.
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()


def _refusal(count: int, stages: int) -> str:
    if not stages:
        return f"--freeze_stages {count} needs a backbone of timm; a module from outside has no named stages, use 0"
    return (
        f"--freeze_stages {count} leaves no stage of the backbone to train, which has {stages}; use at most {stages - 1}, "
        "or --freeze backbone"
    )
