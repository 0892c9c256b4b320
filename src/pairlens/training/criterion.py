"""The ranking criterion: a loss applied to embeddings, labels and a source of references."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from pairlens.core.pairs import Pairs
from pairlens.core.similarity import unit
from pairlens.losses.protocols import (
    CenterLoss,
    EmbeddingLoss,
    LearnedLoss,
    MinerFunction,
    PairLoss,
    Wrapped,
    accepts_miner,
    centers_of,
    has_center_penalty,
    is_embedding_loss,
    is_learned_loss,
    possible_sources,
)
from pairlens.training.references import Batch, Proxies, References


class NotFiniteError(ValueError, FloatingPointError):
    """An embedding is infinite or NaN: what was fed is wrong, or training has diverged."""


class NoPairsWarning(UserWarning):
    """A batch had no anchor with both a positive and a negative, so its loss is a zero that teaches nothing."""


class Criterion(nn.Module):
    """A loss made ready for a training loop: `criterion(embeddings, labels).backward()`.

    Embeddings of any length are scaled to unit length here, except for a loss of embeddings. What learns (proxies,
    centres, the parameter of a `LearnedLoss`, the module that was wrapped) is `criterion.parameters()`; it belongs in
    the optimizer and, with the memory, by `state_dict()` in the checkpoint.

    Args:
        loss: a loss of `pairlens.losses`, your own function of (similarity, pairs), or `wrap` of a function of
            embeddings.
        references: `Batch()` (default), `Memory(...)` or `Proxies(...)`.
        miner: chooses among the pairs, before the loss sees them.
        classes: how many classes there are, for a loss with a parameter a class.

    Raises:
        ValueError: if loss, references and miner do not fit each other; in forward, if an embedding is not finite
            (checked on the CPU, where it costs no synchronisation).

    >>> from pairlens.losses import Circle
    >>> criterion = Criterion(Circle())
    >>> embeddings = torch.eye(4, requires_grad=True)
    >>> criterion(embeddings, torch.tensor([0, 0, 1, 1])).backward()
    >>> embeddings.grad.shape
    torch.Size([4, 4])
    """

    def __init__(
        self,
        loss: PairLoss | CenterLoss | LearnedLoss | EmbeddingLoss,
        references: References | None = None,
        miner: MinerFunction | None = None,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        # What a loss can be is asked once, here: to ask a protocol costs as much as a pass over a small batch.
        self.loss: Any = loss
        self.miner = miner
        self.references: Any = references if references is not None else Batch()
        _check_fit(loss, self.references, miner)
        self._of_embeddings = is_embedding_loss(loss)
        self._penalized = has_center_penalty(loss) and isinstance(self.references, Proxies)
        if is_learned_loss(loss):
            self.learned = nn.Parameter(_initial(loss, classes))
        if isinstance(loss, Wrapped) and isinstance(loss.function, nn.Module):
            self.wrapped = loss.function

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of (photo, dim) embeddings of any length and (photo,) integer labels."""
        _check_shapes(embeddings, labels)
        if self._of_embeddings:
            _check_batch(embeddings, Pairs.within(labels))
            return self.loss.of_embeddings(embeddings, labels)
        similarity, pairs = self.references(unit(embeddings), labels)
        _check_batch(embeddings, pairs)
        if self.miner is not None:
            pairs = self.miner(similarity.detach(), pairs)
        if "learned" in self._parameters:
            return self.loss(similarity, pairs, self._learned(labels))
        loss: Tensor = self.loss(similarity, pairs)
        if self._penalized:
            loss = loss + self.loss.penalty(self.references.unit_centers)
        return loss

    def _learned(self, labels: Tensor) -> Tensor:
        classes = len(self.learned)
        readable = not torch.compiler.is_compiling() and not labels.is_cuda
        if readable and len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise ValueError(
                f"labels run from {int(labels.min())} to {int(labels.max())}, but {self.loss} learns for 0 to "
                f"{classes - 1}; make the criterion with classes= one for each label"
            )
        return self.learned[labels]

    def extra_repr(self) -> str:
        """Name the loss and the miner, which are not modules."""
        return f"loss={self.loss}" + (f", miner={self.miner}" if self.miner is not None else "")


def _check_fit(loss: Any, references: References, miner: MinerFunction | None) -> None:
    name = type(loss).__name__
    if references.source not in possible_sources(loss):
        made = {"batch": "pl.Batch()", "memory": "pl.Memory(size, dim)", "proxies": "pl.Proxies(classes, dim, centers)"}
        instead = " or ".join(made[source] for source in possible_sources(loss))
        raise ValueError(f"{name} cannot be compared with {type(references).__name__}; give it references={instead}")
    wanted = centers_of(loss)
    if isinstance(references, Proxies) and references.centers != wanted:
        raise ValueError(
            f"{name} needs {wanted} centre(s) a class, but the proxies have {references.centers}; "
            f"make them with pl.Proxies(..., centers={wanted})"
        )
    if miner is not None and (not accepts_miner(loss) or references.source == "proxies"):
        raise ValueError(
            f"a miner chooses among pairs of photos, which {name} on {references.source} does not see; leave it out"
        )


def _initial(loss: LearnedLoss, classes: int | None) -> Tensor:
    if classes is None or classes < 1:
        raise ValueError(f"{type(loss).__name__} learns a value for each class; make the criterion with classes=...")
    return loss.initial(classes)


def _check_shapes(embeddings: Tensor, labels: Tensor) -> None:
    if embeddings.ndim != 2 or embeddings.shape[:1] != labels.shape:
        raise ValueError(
            f"a criterion takes (photo, dim) embeddings and (photo,) labels, not {tuple(embeddings.shape)} and "
            f"{tuple(labels.shape)}"
        )


def _check_batch(embeddings: Tensor, pairs: Pairs) -> None:
    # Both checks read values back, which on a GPU would stall the queue of kernels at every step.
    if embeddings.is_cuda or torch.compiler.is_compiling():
        return
    if not torch.isfinite(embeddings.detach().abs().amax(dim=1).sum()):
        bad = (~torch.isfinite(embeddings).all(dim=1)).nonzero()
        raise NotFiniteError(
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
