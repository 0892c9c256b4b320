"""The criterion: a loss applied to embeddings, labels and a source of references."""

import math
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pairlens.core.distributed import world_size
from pairlens.core.inputs import (
    NotFiniteError,
    Numbers,
    as_batch,
    as_values,
    as_whole_number,
    not_finite_words,
)
from pairlens.core.pairs import Pairs
from pairlens.core.similarity import cosine_within, unit, working_precision
from pairlens.core.tracing import is_readable, is_traced
from pairlens.losses.loss_text import AnyLoss, resolve_loss
from pairlens.losses.protocols import (
    LearnedLoss,
    MinerFunction,
    accepts_miner,
    centers_of,
    embedding_function,
    has_center_penalty,
    has_pair_weights,
    is_embedding_loss,
    is_learned_loss,
    needs_of,
    obstacle_of,
    parts_of,
    possible_sources,
)
from pairlens.losses.third_party import Wrapped, WrappedPairs
from pairlens.training.gather import (
    broadcast_from_first,
    check_process_group,
    gather_batch,
    shared_random_numbers,
)
from pairlens.training.references import InBatch, Proxies, References


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
        references: `InBatch()` (default), `CrossBatchMemory(...)` or `Proxies(...)`.
        miner: selects the pairs that the loss sees.
        classes: number of classes, for a loss with one parameter per class.
        gather: whether the loss is that of the photos of all ranks of a `torch.distributed` job. Then every rank must call
            the criterion equally often, and after `DistributedDataParallel` has averaged the gradients they are those of
            the whole batch. With False each rank has the loss of its own photos, which lacks the pairs between ranks.

    Raises:
        ValueError: if there is no loss of this name, or loss, references and miner cannot be combined; in forward, if
            embeddings or labels are nothing that can be read as such, if a value that the loss needs is missing, or if there
            are several processes that have not joined a process group.
        NotFiniteError: in forward, if an embedding or a proxy is not finite, or so long that its length overflows. This is
            checked on the CPU only, because on a GPU the check would block; there the loss is NaN.

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
        gather: bool = True,
    ) -> None:
        super().__init__()
        # The protocols are checked here once, because such a check takes as long as a forward pass on a small batch.
        self.loss: Any = resolve_loss(loss)
        self.miner = miner
        self.references: Any = references if references is not None else InBatch()
        _check_fit(self.loss, self.references, miner)
        self.gather = gather
        # The ranks must start with the same proxies, although each may have been made with another seed.
        self._is_synchronized = False
        # The pair weights of a sum are added up in one pass, so such a sum is computed as a single loss.
        parts = ((1.0, self.loss),) if has_pair_weights(self.loss) else parts_of(self.loss)
        on_proxies = isinstance(self.references, Proxies)
        self._parts = [_as_part(weight, part, on_proxies) for weight, part in parts]
        self._compares = not all(part.of_embeddings for part in self._parts)
        self._needs = tuple(dict.fromkeys(name for part in self._parts for name in part.needs))
        for number, part in enumerate(self._parts):
            if part.learned:
                self.learned = nn.Parameter(_initial(part.loss, classes))
            # As a submodule, so that `parameters()` and `state_dict()` include it.
            if isinstance(part.loss, Wrapped | WrappedPairs) and isinstance(part.loss.function, nn.Module):
                self.add_module("wrapped" if len(self._parts) == 1 else f"wrapped{number}", part.loss.function)

    def forward(self, embeddings: Numbers, labels: Numbers, extra: Mapping[str, Numbers] | None = None) -> Tensor:
        """Return the loss of (photo, dim) embeddings of any length and (photo,) integer labels; 0 of an empty batch.

        Args:
            embeddings: those of this process; see `gather`. An array or nested lists have no gradient.
            labels: their labels, integers or truth values.
            extra: further (photo, ...) values by name, such as a weight; a loss gets those that its `needs` names as
                keyword arguments, and the others are ignored.
        """
        embeddings, labels = as_batch(embeddings, labels)
        needed = self._needed(labels, extra)
        if self.gather:
            if not is_traced():
                check_process_group()
            if world_size() > 1:
                self._synchronize()
                embeddings, labels, needed = gather_batch(embeddings, labels, needed)
                with shared_random_numbers(embeddings.device) if self.miner is not None else nullcontext():
                    return self._of_batch(embeddings, labels, needed)
        return self._of_batch(embeddings, labels, needed)

    def of_whole_batch(self, embeddings: Tensor, labels: Tensor, extra: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the loss of the photos of all ranks, which the caller has gathered; arguments as those of a call."""
        embeddings, labels = as_batch(embeddings, labels)
        return self._of_batch(embeddings, labels, self._needed(labels, extra))

    def _of_batch(self, embeddings: Tensor, labels: Tensor, needed: dict[str, Tensor]) -> Tensor:
        _check_finite(embeddings)
        if not len(embeddings):
            return self._of_no_photos(embeddings)
        similarity, pairs = self._compared(embeddings, labels)
        values = [self._value(part, embeddings, labels, similarity, pairs, needed) for part in self._parts]
        return values[0] if len(values) == 1 else torch.stack(values).sum()

    def _compared(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor | None, Pairs | None]:
        """Return the (anchor, reference) similarities, and the pairs; None for losses of embeddings alone."""
        if not self._compares:
            # The labels tell what the masks would, which these losses do not need.
            if is_readable(labels) and not 1 < len(set(labels.tolist())) < len(labels):
                _warn_no_pairs(len(labels))
            return None, None
        if type(self.references) is InBatch:
            # What the references do, in one function instead of two.
            similarity, all_pairs = cosine_within(embeddings), Pairs.within(labels)
        else:
            # Proxies take vectors of any length, because the similarities have fewer elements to be scaled.
            vectors = embeddings if isinstance(self.references, Proxies) else unit(embeddings)
            similarity, all_pairs = self.references(vectors, labels)
        _warn_without_pairs(all_pairs)
        # Detached, because the selection of pairs has no gradient.
        return similarity, all_pairs if self.miner is None else self.miner(similarity.detach(), all_pairs)

    def _of_no_photos(self, embeddings: Tensor) -> Tensor:
        """Return 0 with a graph to the embeddings and to every parameter; a memory stays as it is."""
        _warn_no_pairs(0)
        total = working_precision(embeddings).sum()
        for parameter in self.parameters():
            # No element of it, so that one that is not finite cannot make the sum NaN.
            total = total + parameter.flatten()[:0].sum()
        return total

    def _value(
        self,
        part: "_Part",
        embeddings: Tensor,
        labels: Tensor,
        similarity: Tensor | None,
        pairs: Pairs | None,
        needed: dict[str, Tensor],
    ) -> Tensor:
        """Return the weighted value of one loss."""
        own = {name: needed[name] for name in part.needs}
        if part.of_embeddings:
            value = embedding_function(part.loss)(embeddings, labels, **own)
        elif part.learned:
            value = part.loss(similarity, pairs, self._learned_of(labels), **own)
        else:
            value = part.loss(similarity, pairs, **own)
        if part.penalized:
            value = value + part.loss.penalty(self.references.unit_centers)
        return value if part.weight == 1 else part.weight * value

    def _needed(self, labels: Tensor, extra: Mapping[str, Numbers] | None) -> dict[str, Tensor]:
        """Return the further values that the loss needs; raises ValueError if one is missing or of another length."""
        if not self._needs:
            return {}
        given = {name: as_values(values, name) for name, values in (extra or {}).items() if name in self._needs}
        for name in self._needs:
            if name not in given or given[name].shape[:1] != labels.shape:
                found = f"has the shape {tuple(given[name].shape)}" if name in given else "is missing"
                raise ValueError(
                    f"{type(self.loss).__name__} needs {name!r} of each of the {len(labels)} photos, which {found}; call "
                    f"criterion(embeddings, labels, extra={{{name!r}: ...}})"
                )
        return given

    def _synchronize(self) -> None:
        """Give every rank the proxies, learned values and memory of rank 0, before the first batch that is gathered."""
        if not self._is_synchronized:
            broadcast_from_first([*self.parameters(), *self.buffers()])
            self._is_synchronized = True

    def _learned_of(self, labels: Tensor) -> Tensor:
        """Return the (anchor,) parameters of the classes of the anchors."""
        classes = len(self.learned)
        # Reading the labels on a GPU would block, and a trace cannot follow it.
        if is_readable(labels) and len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
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
    needs: tuple[str, ...]


def _as_part(weight: float, loss: Any, on_proxies: bool) -> _Part:
    penalized = has_center_penalty(loss) and on_proxies
    return _Part(weight, loss, is_embedding_loss(loss), is_learned_loss(loss), penalized, needs_of(loss))


def _check_fit(loss: Any, references: References, miner: MinerFunction | None) -> None:
    name = type(loss).__name__
    if obstacle_of(loss):
        raise ValueError(obstacle_of(loss))
    # Checked at construction, so that a wrong combination is noticed before the first batch.
    if references.source not in possible_sources(loss):
        calls = {
            "batch": "pl.InBatch()",
            "memory": "pl.CrossBatchMemory(size, dim)",
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
    if classes is None or as_whole_number(classes, "classes") < 1:
        raise ValueError(f"{type(loss).__name__} has one parameter per class; make the criterion with classes=...")
    return loss.initial(as_whole_number(classes, "classes"))


def _check_finite(embeddings: Tensor) -> None:
    # The check reads a number back, which on a GPU would block at every step.
    if not is_readable(embeddings):
        return
    # One number for the whole batch, which is not finite if an embedding or its length is not. It may also overflow by
    # itself, so which embedding it is, is searched for then.
    if math.isfinite(torch.linalg.vector_norm(embeddings.detach()).item()):
        return
    words = not_finite_words(embeddings, "embedding {} of the batch")
    if words is not None:
        raise NotFiniteError(f"{words}; lower the learning rate, or check the input of the network")


def _warn_without_pairs(pairs: Pairs) -> None:
    # Not on a GPU, for the same reason.
    if is_readable(pairs.positive) and pairs.complete_count == 0:
        _warn_no_pairs(len(pairs.positive))


def _warn_no_pairs(photos: int) -> None:
    warnings.warn(
        f"no photo of this batch of {photos} has both a positive and a negative, so the loss is 0 and has no gradient; use "
        "batches of several classes with several photos each",
        NoPairsWarning,
        stacklevel=4,
    )
