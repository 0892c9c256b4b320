"""The criterion: a loss applied to embeddings, labels and a source of references."""

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pairlens.core.pairs import Pairs
from pairlens.core.similarity import unit
from pairlens.losses.loss_text import AnyLoss, resolve_loss
from pairlens.losses.protocols import (
    LearnedLoss,
    MinerFunction,
    accepts_miner,
    centers_of,
    has_center_penalty,
    has_pair_weights,
    is_embedding_loss,
    is_learned_loss,
    obstacle_of,
    parts_of,
    possible_sources,
)
from pairlens.losses.third_party import Wrapped, WrappedPairs
from pairlens.training.references import Batch, Proxies, References


class NotFiniteError(ValueError, FloatingPointError):
    """An embedding is infinite or NaN: the input is wrong, or training has diverged."""


class NoPairsWarning(UserWarning):
    """No anchor of a batch has both a positive and a negative, so the loss is 0 and has no gradient."""


class Criterion(nn.Module):
    """A loss for use in a training loop: `criterion(embeddings, labels).backward()`.

    The criterion scales embeddings to unit length, except for a loss of embeddings. `criterion.parameters()` are all
    parameters of the loss (proxies, centres, the parameter of a `LearnedLoss`, those of a wrapped module); give them to the
    optimizer. `state_dict()` holds these parameters and the memory.

    Args:
        loss: a loss of `pairlens.losses` or its name, such as "circle"; your own function of (similarity, pairs); or `wrap`
            of a function of embeddings. Of a `Sum`, each part gets what it needs: the similarities, which are computed once,
            or the embeddings.
        references: `Batch()` (default), `Memory(...)` or `Proxies(...)`.
        miner: selects the pairs that the loss sees.
        classes: number of classes, for a loss with one parameter per class.

    Raises:
        ValueError: if there is no loss of this name, or loss, references and miner cannot be combined; in forward, if an
            embedding is not finite (checked on the CPU only, because on a GPU the check would block).

    >>> from pairlens.losses import Circle
    >>> criterion = Criterion(Circle())
    >>> embeddings = torch.eye(4, requires_grad=True)
    >>> criterion(embeddings, torch.tensor([0, 0, 1, 1])).backward()
    >>> embeddings.grad.shape
    torch.Size([4, 4])
    """

    def __init__(
        self,
        loss: AnyLoss | str,
        references: References | None = None,
        miner: MinerFunction | None = None,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        # The protocols are checked here once, because such a check takes as long as a forward pass on a small batch.
        self.loss: Any = resolve_loss(loss)
        self.miner = miner
        self.references: Any = references if references is not None else Batch()
        _check_fit(self.loss, self.references, miner)
        # The pair weights of a sum are added up in one pass, so such a sum is computed as a single loss.
        parts = ((1.0, self.loss),) if has_pair_weights(self.loss) else parts_of(self.loss)
        on_proxies = isinstance(self.references, Proxies)
        self._parts = [_as_part(weight, part, on_proxies) for weight, part in parts]
        self._compares = not all(part.of_embeddings for part in self._parts)
        for number, part in enumerate(self._parts):
            if part.learned:
                self.learned = nn.Parameter(_initial(part.loss, classes))
            # As a submodule, so that `parameters()` and `state_dict()` include it.
            if isinstance(part.loss, Wrapped | WrappedPairs) and isinstance(part.loss.function, nn.Module):
                self.add_module("wrapped" if len(self._parts) == 1 else f"wrapped{number}", part.loss.function)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of (photo, dim) embeddings of any length and (photo,) integer labels."""
        _check_shapes(embeddings, labels)
        similarity, pairs = self._compared(embeddings, labels)
        values = [self._value(part, embeddings, labels, similarity, pairs) for part in self._parts]
        return values[0] if len(values) == 1 else torch.stack(values).sum()

    def _compared(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor | None, Pairs]:
        """Return the (anchor, reference) similarities, None for losses of embeddings alone, and the pairs."""
        if not self._compares:
            pairs = Pairs.within(labels)
            _check_batch(embeddings, pairs)
            return None, pairs
        similarity, all_pairs = self.references(unit(embeddings), labels)
        _check_batch(embeddings, all_pairs)
        # Detached, because the selection of pairs has no gradient.
        return similarity, all_pairs if self.miner is None else self.miner(similarity.detach(), all_pairs)

    def _value(
        self, part: "_Part", embeddings: Tensor, labels: Tensor, similarity: Tensor | None, pairs: Pairs
    ) -> Tensor:
        """Return the weighted value of one loss."""
        if part.of_embeddings:
            value = part.loss.of_embeddings(embeddings, labels)
        elif part.learned:
            value = part.loss(similarity, pairs, self._learned_of(labels))
        else:
            value = part.loss(similarity, pairs)
        if part.penalized:
            value = value + part.loss.penalty(self.references.unit_centers)
        return value if part.weight == 1 else part.weight * value

    def _learned_of(self, labels: Tensor) -> Tensor:
        """Return the (anchor,) parameters of the classes of the anchors."""
        classes = len(self.learned)
        # Reading the labels on a GPU would block, and torch.compile cannot follow it.
        readable = not torch.compiler.is_compiling() and not labels.is_cuda
        if readable and len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise ValueError(
                f"labels run from {int(labels.min())} to {int(labels.max())}, but {self.loss} has parameters for 0 to "
                f"{classes - 1}; make the criterion with classes=..., at least the largest label + 1"
            )
        return self.learned[labels]

    def extra_repr(self) -> str:
        """Return the loss and the miner for `repr`, which shows only modules by itself."""
        return f"loss={self.loss}" + (f", miner={self.miner}" if self.miner is not None else "")


class _Part(NamedTuple):
    """One loss of a criterion, with the answers of its protocols."""

    weight: float
    loss: Any
    of_embeddings: bool
    learned: bool
    penalized: bool


def _as_part(weight: float, loss: Any, on_proxies: bool) -> _Part:
    return _Part(weight, loss, is_embedding_loss(loss), is_learned_loss(loss), has_center_penalty(loss) and on_proxies)


def _check_fit(loss: Any, references: References, miner: MinerFunction | None) -> None:
    name = type(loss).__name__
    if obstacle_of(loss):
        raise ValueError(obstacle_of(loss))
    # Checked at construction, so that a wrong combination is noticed before the first batch.
    if references.source not in possible_sources(loss):
        calls = {
            "batch": "pl.Batch()",
            "memory": "pl.Memory(size, dim)",
            "proxies": "pl.Proxies(classes, dim, centers)",
        }
        possible = " or ".join(calls[source] for source in possible_sources(loss))
        raise ValueError(f"{name} cannot be used with {type(references).__name__}; give it references={possible}")
    centers = centers_of(loss)
    if isinstance(references, Proxies) and references.centers != centers:
        raise ValueError(
            f"{name} needs {centers} centre(s) per class, but the proxies have {references.centers}; "
            f"make them with pl.Proxies(..., centers={centers})"
        )
    if miner is not None and (not accepts_miner(loss) or references.source == "proxies"):
        raise ValueError(
            f"a miner selects pairs of photos, but {name} with references from {references.source} does not compare pairs "
            "of photos; leave the miner out"
        )


def _initial(loss: LearnedLoss, classes: int | None) -> Tensor:
    if classes is None or classes < 1:
        raise ValueError(f"{type(loss).__name__} has one parameter per class; make the criterion with classes=...")
    return loss.initial(classes)


def _check_shapes(embeddings: Tensor, labels: Tensor) -> None:
    if embeddings.ndim != 2 or embeddings.shape[:1] != labels.shape:
        raise ValueError(
            f"a criterion takes (photo, dim) embeddings and (photo,) labels, not {tuple(embeddings.shape)} and "
            f"{tuple(labels.shape)}"
        )


def _check_batch(embeddings: Tensor, pairs: Pairs) -> None:
    # Both checks read values back, which on a GPU would block at every step.
    if embeddings.is_cuda or torch.compiler.is_compiling():
        return
    # One number for the whole batch; which embedding it is, is searched for only when there is one.
    if not torch.isfinite(embeddings.detach().abs().amax(dim=1).sum()):
        bad = (~torch.isfinite(embeddings).all(dim=1)).nonzero()
        raise NotFiniteError(
            f"embedding {int(bad[0])} of the batch is not finite ({len(bad)} of {len(embeddings)} are not); "
            "lower the learning rate, or check the input of the network"
        )
    if not bool(pairs.complete.any()):
        warnings.warn(
            f"no photo of this batch of {len(embeddings)} has both a positive and a negative, so the loss is 0 and has no "
            "gradient; use batches of several classes with several photos each",
            NoPairsWarning,
            stacklevel=3,
        )
