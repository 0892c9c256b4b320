"""The ranking criterion: a loss applied to embeddings, labels and a source of references."""

import warnings
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from pairlens.core.pairs import Pairs
from pairlens.core.similarity import unit
from pairlens.training.references import Batch, Proxies, References


@runtime_checkable
class CenterLoss(Protocol):
    """A loss that pools over several centres of a class and has a penalty on the centres."""

    centers: int

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, class · centre) similarities."""
        ...

    def penalty(self, centers: Tensor) -> Tensor:
        """Return the penalty of (class, centre, dim) unit vectors."""
        ...


PairLoss = Callable[[Tensor, Pairs], Tensor]


class NoPairsWarning(UserWarning):
    """A batch had no anchor with both a positive and a negative, so its loss is a zero that teaches nothing."""


class Criterion(nn.Module):
    """A loss made ready for a training loop: `criterion(embeddings, labels).backward()`.

    Embeddings of any length are scaled to unit length here. The parameters of the references (proxies, centres) are
    `criterion.parameters()`; they belong in the optimizer and, by `state_dict()`, in the checkpoint.

    Args:
        loss: any function of (similarity, pairs): a loss of `pairlens.losses` or your own.
        references: `Batch()` (default) or `Proxies(...)`.

    Raises:
        ValueError: if the loss needs centres and the references have none, or the other way round; in forward, if an
            embedding is not finite (checked on the CPU, where it costs no synchronisation).

    >>> from pairlens.losses import Circle
    >>> criterion = Criterion(Circle())
    >>> embeddings = torch.eye(4, requires_grad=True)
    >>> criterion(embeddings, torch.tensor([0, 0, 1, 1])).backward()
    >>> embeddings.grad.shape
    torch.Size([4, 4])
    """

    def __init__(self, loss: PairLoss, references: References | None = None) -> None:
        super().__init__()
        self.loss = loss
        self.references = references if references is not None else Batch()
        _check_centers(loss, self.references)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of (photo, dim) embeddings of any length and (photo,) integer labels."""
        if embeddings.ndim != 2 or embeddings.shape[:1] != labels.shape:
            raise ValueError(
                f"a criterion takes (photo, dim) embeddings and (photo,) labels, not {tuple(embeddings.shape)} and "
                f"{tuple(labels.shape)}"
            )
        similarity, pairs = self.references(unit(embeddings), labels)
        _check_batch(embeddings, pairs)
        loss = self.loss(similarity, pairs)
        if isinstance(self.loss, CenterLoss) and isinstance(self.references, Proxies):
            loss = loss + self.loss.penalty(self.references.unit_centers)
        return loss

    def extra_repr(self) -> str:
        """Name the loss, which is not a module."""
        return f"loss={self.loss}"


def _check_centers(loss: PairLoss, references: References) -> None:
    wanted = loss.centers if isinstance(loss, CenterLoss) else 1
    if isinstance(loss, CenterLoss) and not isinstance(references, Proxies):
        raise ValueError(
            f"{type(loss).__name__} compares photos with learned centres; give it "
            f"references=pl.Proxies(classes=..., dim=..., centers={wanted})"
        )
    if isinstance(references, Proxies) and references.centers != wanted:
        raise ValueError(
            f"{type(loss).__name__} needs {wanted} centre(s) a class, but the proxies have {references.centers}; "
            f"make them with pl.Proxies(..., centers={wanted})"
        )


def _check_batch(embeddings: Tensor, pairs: Pairs) -> None:
    # Both checks read values back, which on a GPU would stall the queue of kernels at every step.
    if embeddings.is_cuda:
        return
    bad = (~torch.isfinite(embeddings).all(dim=1)).nonzero()
    if len(bad):
        raise ValueError(
            f"embedding {int(bad[0])} of the batch is not finite ({len(bad)} of {len(embeddings)} are not); "
            "lower the learning rate or look at what the network was fed"
        )
    if not bool(pairs.complete.any()):
        warnings.warn(
            f"no photo of this batch of {len(embeddings)} has both a positive and a negative: the loss is 0 and teaches "
            "nothing; draw batches of several classes with several photos each",
            NoPairsWarning,
            stacklevel=3,
        )
