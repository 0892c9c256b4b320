"""Whether the ImageNet weights of a backbone can be had: from an installed package, the cache, or the hub over a network."""

import socket
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pairlens.model.weights_package import WEIGHT_PACKAGES, is_package_installed

# The names under which Pairlens has these backbones, and those of timm.
TIMM_NAMES = {"resnext50": "resnext50_32x4d"} | {name.removeprefix("tf_"): name for name in WEIGHT_PACKAGES}
# The names under which the hub stores weights.
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
SECONDS = 3.0
PORTS = {"http": 80, "https": 443}


def has_imagenet_weights(name: str) -> bool:
    """Return whether ImageNet weights of a backbone are on this machine, or the hub that has them can be reached."""
    timm_name = TIMM_NAMES.get(name, name)
    if timm_name in WEIGHT_PACKAGES:
        return is_package_installed(timm_name)
    return _is_cached(timm_name) or is_hub_reachable()


def is_hub_reachable() -> bool:
    """Return whether the hub, or the proxy that leads to it, accepts a connection within three seconds.

    Without this check the client of the hub retries for a minute before it gives up.
    """
    from huggingface_hub import constants as hub

    if hub.HF_HUB_OFFLINE:
        return False
    address = urlsplit(hub.ENDPOINT)
    proxy = getproxies().get(address.scheme)
    # A proxy resolves names that this machine may not know.
    if proxy and not proxy_bypass(address.hostname or ""):
        address = urlsplit(proxy if "//" in proxy else f"http://{proxy}")
    try:
        port = address.port or PORTS.get(address.scheme, 443)
        with socket.create_connection((address.hostname or "", port), timeout=SECONDS):
            return True
    # ValueError: the address has no valid port.
    except (OSError, ValueError):
        return False


def _is_cached(timm_name: str) -> bool:
    import timm
    from huggingface_hub import try_to_load_from_cache

    settings = timm.get_pretrained_cfg(timm_name, allow_unregistered=True)
    repository = settings.hf_hub_id if settings is not None else None
    if not isinstance(repository, str):
        return False
    return any(isinstance(try_to_load_from_cache(repository, file), str) for file in WEIGHT_FILES)
