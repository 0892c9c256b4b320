"""What stands beside the losses of a comparison as a control."""

from torch import Tensor


def no_loss(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Return a zero that depends on the embeddings: no pairwise loss at all.

    In a comparison with the auxiliary loss it shows what the classifier comes to alone, and without it what the mere
    passing of photos does (BatchNorm, unless it is frozen): `pairlens compare --losses triplet
    "pairlens.comparison.controls:no_loss as none" --auxiliary 0 1`.

    Args:
        embeddings: (photo, dim).
        labels: (photo,); not looked at.

    >>> import torch
    >>> no_loss(torch.ones(2, 3), torch.tensor([0, 1]))
    tensor(0.)
    """
    return (0 * embeddings).sum()
