"""The number format of the forward pass of a model on its device."""

import torch

from pairlens.model.embedder import Embedder
from pairlens.training.learner import Precision


def choose_precision(model: Embedder) -> Precision:
    """Return the number format that `--precision auto` stands for, for a model on the device of its weights."""
    if next(model.parameters()).is_cuda:
        # GPUs before Ampere only emulate bfloat16, and have no bfloat16 convolutions.
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # On a CPU bfloat16 about halves the time of a convolution. Depthwise networks stay in float32: they were slower in
        # bfloat16 before `model/convolution.py`, and another default would change their results (docs/performance.md).
        fast = _cpu_multiplies_bfloat16() and not _has_depthwise_convolutions(model)
    return "bfloat16" if fast else "float32"


def _cpu_multiplies_bfloat16() -> bool:
    # Older versions of PyTorch lack this function; `dict` then returns no capabilities.
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _has_depthwise_convolutions(model: Embedder) -> bool:
    convolutions = (layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d))
    return any(layer.groups == layer.in_channels > 1 for layer in convolutions)
