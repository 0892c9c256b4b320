"""Sources of the references of a loss: the batch itself, a memory of earlier batches, or learned proxies."""

import math
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor, nn

from pairlens.core.inputs import NotFiniteError, as_batch, as_whole_number, not_finite_words
from pairlens.core.pairs import Pairs
from pairlens.core.settings import Rules, check_settings, setting
from pairlens.core.similarity import cosine, cosine_between, self_cosine, unit
from pairlens.core.tracing import is_readable, is_transformed
from pairlens.losses.base import Source

ReferenceSource: TypeAlias = Literal["auto", "batch", "memory", "proxies"]


@dataclass(frozen=True)
class ReferenceConfig:
    """What photos are compared with.

    Attributes:
        source: what photos are compared with: the batch, a memory of earlier batches, or learned proxies; auto is the
            source that the loss was designed for.
        memory_size: number of embeddings in the memory.
        memory_warm_up: number of batches that are compared with themselves before the memory is used.

    Raises:
        ValueError: for a setting out of its range.
    """

    source: ReferenceSource = setting("auto", Rules(option="references"))
    memory_size: int = setting(4096, Rules(low=1, high=1 << 26))
    memory_warm_up: int = setting(0, Rules(low=0, high=1 << 40))

    def __post_init__(self) -> None:
        check_settings(self)


class InBatch(nn.Module):
    """The references are the batch itself; it has no parameters.

    >>> similarity, pairs = InBatch()(torch.eye(2), torch.tensor([0, 1]))
    >>> similarity
    tensor([[1., 0.],
            [0., 1.]])
    """

    source: ClassVar[Source] = "batch"

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Pairs]:
        """Return the similarities within a batch of (anchor, dim) unit vectors, and its pairs."""
        embeddings, labels = as_batch(embeddings, labels)
        return self_cosine(embeddings), Pairs.within(labels)


class CrossBatchMemory(nn.Module):
    """The references are the embeddings of the last batches: a cross-batch memory (XBM), which has no parameters.

    Each batch is first written over the oldest entries, without gradient, and then compared with all entries. These include
    the batch itself, but a photo is never paired with its own copy. Only the anchors have a gradient. The first `warm_up`
    batches are compared with themselves while the memory fills, because early in training the embeddings change too fast
    for old ones to be useful. In evaluation mode nothing is written.

    Source: Wang et al., "Cross-Batch Memory for Embedding Learning", CVPR 2020, arXiv 1912.06798, algorithm 1. The official
    code considers a memory full when its last label is not 0, and adds the weighted loss of the batch; here the entries are
    counted, and the batch is part of the memory. Vectors, labels and the next slot are in `state_dict()`.

    Args:
        size: number of embeddings in the memory.
        dim: dimension of the embeddings.
        warm_up: number of batches that are compared with themselves first.

    Raises:
        ValueError: for a size below 1; in forward, for a batch larger than the memory or of another dimension, and within a
            transform of `torch.func` unless the memory is in evaluation mode.

    >>> memory = CrossBatchMemory(size=4, dim=2)
    >>> _ = memory(torch.eye(2), torch.tensor([0, 1]))
    >>> similarity, pairs = memory(torch.eye(2), torch.tensor([0, 1]))
    >>> pairs.positive.int()
    tensor([[1, 0, 0, 0],
            [0, 1, 0, 0]], dtype=torch.int32)
    """

    source: ClassVar[Source] = "memory"
    vectors: Tensor
    labels: Tensor

    def __init__(self, size: int, dim: int, warm_up: int = 0) -> None:
        super().__init__()
        self.size = as_whole_number(size, "memory size", least=1)
        self.dim = as_whole_number(dim, "memory dim", least=1)
        self.warm_up = as_whole_number(warm_up, "memory warm_up", least=0)
        self.register_buffer("vectors", torch.zeros(self.size, self.dim))
        self.register_buffer("labels", torch.zeros(self.size, dtype=torch.long))
        # Python integers, because reading a tensor at every step would block a GPU.
        self.next_slot = 0
        self.filled = 0
        self.seen = 0

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Pairs]:
        """Return the (anchor, entry) similarities of (anchor, dim) unit vectors with the entries, and the pairs."""
        embeddings, labels = as_batch(embeddings, labels)
        self._check(embeddings)
        if self.training and is_transformed():
            raise ValueError(
                "a transform of torch.func may not change the memory, because it may run a batch many times or not at all; "
                "call the criterion once as usual, then .eval(), which keeps the memory as it is, and transform that"
            )
        # Detached: the memory holds values of earlier batches, through which no gradient flows.
        written = self._write(embeddings.detach(), labels) if self.training else None
        if self.seen <= self.warm_up:
            return self_cosine(embeddings), Pairs.within(labels)
        # A copy, because the next batch may be written into the memory before the gradient of this batch is computed.
        stored = self.vectors[: self.filled].clone()
        pairs = Pairs.between(labels, self.labels[: self.filled])
        similarity = cosine(embeddings, stored.to(embeddings.dtype))
        return similarity, pairs if written is None else _without_own_copies(pairs, written)

    def _write(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """Write a batch over the oldest entries and return its (photo,) slots."""
        # The memory is a ring buffer: after the last slot comes the first.
        slots = (torch.arange(len(vectors), device=vectors.device) + self.next_slot) % self.size
        self.vectors[slots] = vectors.to(self.vectors.dtype)
        self.labels[slots] = labels
        self.next_slot = (self.next_slot + len(vectors)) % self.size
        self.filled = min(self.filled + len(vectors), self.size)
        self.seen += 1
        return slots

    def get_extra_state(self) -> dict[str, int]:
        """Return the numbers that `state_dict` holds beside the tensors; the keys are those of stored checkpoints."""
        return {"place": self.next_slot, "filled": self.filled, "seen": self.seen}

    def set_extra_state(self, state: Any) -> None:
        """Restore the numbers that `get_extra_state` returned."""
        self.next_slot = state["place"]
        self.filled = state["filled"]
        self.seen = state["seen"]

    def _check(self, embeddings: Tensor) -> None:
        if embeddings.shape[1] != self.dim:
            raise ValueError(
                f"embeddings have {embeddings.shape[1]} dimensions, the memory {self.dim}; give both the same dim"
            )
        if len(embeddings) > self.size:
            raise ValueError(
                f"a batch of {len(embeddings)} does not fit into a memory of {self.size}; give it a size of several batches"
            )


def _without_own_copies(pairs: Pairs, slots: Tensor) -> Pairs:
    """Return the pairs without the pair of each anchor with its own copy, which lies in its slot."""
    own_copy = torch.zeros_like(pairs.positive)  # (anchor, entry)
    own_copy[torch.arange(len(slots), device=slots.device), slots] = True
    return Pairs(pairs.positive & ~own_copy, pairs.negative)


class Proxies(nn.Module):
    """The references are learned unit vectors: one, or several centres, per class.

    They are initialised with random directions. Their parameters must be in an optimizer; `Criterion.parameters()` includes
    them.

    Args:
        classes: number of classes; labels must be 0 to classes - 1.
        dim: dimension of the embeddings.
        centers: number of proxies per class; more than one only for losses that pool over centres.

    Raises:
        ValueError: for a number below 1; in forward, for a label without a proxy or embeddings of another dimension.
        NotFiniteError: in forward, on a CPU, if a proxy is not finite, or so long that its length overflows.

    >>> similarity, pairs = Proxies(classes=3, dim=4)(torch.eye(4)[:2], torch.tensor([0, 2]))
    >>> pairs.positive.int()
    tensor([[1, 0, 0],
            [0, 0, 1]], dtype=torch.int32)
    """

    source: ClassVar[Source] = "proxies"

    def __init__(self, classes: int, dim: int, centers: int = 1) -> None:
        super().__init__()
        self.classes = as_whole_number(classes, "proxies: classes", least=1)
        self.dim = as_whole_number(dim, "proxies: dim", least=1)
        self.centers = as_whole_number(centers, "proxies: centers", least=1)
        self.vectors = nn.Parameter(torch.randn(self.classes * self.centers, self.dim))
        self.register_buffer("labels", torch.arange(self.classes).repeat_interleave(self.centers), persistent=False)

    @property
    def unit_centers(self) -> Tensor:
        """(class, centre, dim) unit vectors."""
        # The rows are sorted by class, so (class · centre, dim) splits into (class, centre, dim).
        return unit(self.vectors).view(self.classes, self.centers, self.dim)

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Pairs]:
        """Return the (anchor, class · centre) similarities and pairs of (anchor, dim) vectors of any length."""
        embeddings, labels = as_batch(embeddings, labels)
        self._check(embeddings, labels)
        pairs = Pairs.between(labels, self.labels)  # pyright: ignore[reportArgumentType]
        similarity = cosine_between(embeddings, self.vectors)
        if is_readable(similarity):
            self._check_finite(similarity)
            # Every label has proxies, as is checked. So what a loss would look for in the masks is known.
            complete = len(labels) if self.classes > 1 else 0
            pairs.note({"columns": self._columns(labels), "complete_count": complete})
        return similarity, pairs

    def _columns(self, labels: Tensor) -> Tensor:
        """Return the (anchor, centre) columns of the proxies of each anchor's class."""
        if self.centers == 1:
            return labels[:, None]
        return labels[:, None] * self.centers + torch.arange(self.centers)

    def _check_finite(self, similarity: Tensor) -> None:
        """Raise NotFiniteError that names a proxy without a direction."""
        # Such a proxy has no finite similarity to any photo, so one row of similarities tells whether there is one.
        if math.isfinite(float(similarity.detach()[:1].sum())):
            return
        words = not_finite_words(self.vectors, "proxy {}")
        if words is not None:
            raise NotFiniteError(f"{words}; lower the learning rate of the proxies")

    def _check(self, embeddings: Tensor, labels: Tensor) -> None:
        if embeddings.shape[1] != self.dim:
            raise ValueError(
                f"embeddings have {embeddings.shape[1]} dimensions, the proxies {self.dim}; give both the same dim"
            )
        # On a CPU only: reading the labels on a GPU would block, and a trace cannot follow it.
        if not is_readable(labels) or not len(labels):
            return
        lowest, highest = (int(extreme) for extreme in labels.aminmax())
        if not 0 <= lowest <= highest < self.classes:
            raise ValueError(
                f"labels run from {lowest} to {highest}, but there are proxies for 0 to {self.classes - 1}; make Proxies "
                "with one class per label"
            )


References = InBatch | CrossBatchMemory | Proxies
# The names of version 0.1, which warn for one version.
_OLD_NAMES = {"Batch": InBatch, "Memory": CrossBatchMemory}


def __getattr__(name: str) -> type[InBatch | CrossBatchMemory]:
    if name not in _OLD_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    new = _OLD_NAMES[name]
    warnings.warn(f"{name} is now called {new.__name__}; use pl.{new.__name__}", DeprecationWarning, stacklevel=2)
    return new
