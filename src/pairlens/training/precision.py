"""The number format that is fastest for the forward pass of a model on its device."""

import torch

from pairlens.model.embedder import Embedder
from pairlens.training.learner import Precision


def choose_precision(model: Embedder) -> Precision:
    """Return float32 or bfloat16, whichever is faster for a model on the device of its weights."""
    if next(model.parameters()).is_cuda:
        # GPUs before Ampere only emulate bfloat16, and have no bfloat16 convolutions.
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # On a CPU bfloat16 halves the time of a convolution, except of a depthwise one, which takes longer
        # (docs/performance.md).
        fast = _cpu_multiplies_bfloat16() and not _has_depthwise_convolutions(model)
    return "bfloat16" if fast else "float32"


def _cpu_multiplies_bfloat16() -> bool:
    # Older versions of PyTorch lack this function; `dict` then returns no capabilities.
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _has_depthwise_convolutions(model: Embedder) -> bool:
    convolutions = (layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d))
    return any(layer.groups == layer.in_channels > 1 for layer in convolutions)
