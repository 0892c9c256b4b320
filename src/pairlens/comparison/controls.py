"""Controls of a comparison: they train beside the losses, so that the effect of a loss can be separated from others."""

from torch import Tensor


def no_loss(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Return a zero that depends on the embeddings: training without any pairwise loss.

    With the auxiliary loss, this control shows what the classification loss achieves alone. Without it, it shows what
    changes when photos only pass through the network (the statistics of BatchNorm, unless it is frozen): `pairlens
    compare --losses triplet "pairlens.comparison.controls:no_loss as none" --auxiliary 0 1`.

    Args:
        embeddings: (photo, dim).
        labels: (photo,); not used.

    >>> import torch
    >>> no_loss(torch.ones(2, 3), torch.tensor([0, 1]))
    tensor(0.)
    """
    # Zero times the embeddings keeps the graph, so that backward() works as it does for every other loss.
    return (0 * embeddings).sum()


# The texts by which studies name the control, today and in version 0.1.
NO_LOSS_TEXTS = ("pairlens.comparison.controls:no_loss", "pairlens.analysis.control:no_loss")


def is_control(loss: str) -> bool:
    """Return whether the text of a loss names the control without a pairwise loss.

    >>> is_control("pairlens.comparison.controls:no_loss"), is_control("triplet:margin=0.2")
    (True, False)
    """
    return loss.partition("(")[0] in NO_LOSS_TEXTS
