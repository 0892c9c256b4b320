"""The check sum of weights, by which stored embeddings name their model."""

import zlib
from collections.abc import Mapping

import torch
from torch import Tensor


def check_sum(weights: Mapping[str, Tensor]) -> str:
    """Return a check sum of tensors in their order, as eight hexadecimal digits.

    >>> check_sum({"weight": torch.zeros(2)})
    '6522df69'
    """
    total = 0
    for tensor in weights.values():
        # The bytes of the tensor, in any number format, as one flat row.
        contents = tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        total = zlib.crc32(contents, total)  # pyright: ignore[reportArgumentType]
    return f"{total:08x}"
