"""Where the references of a loss come from: the batch itself, a memory of earlier batches, or learned proxies."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pairlens.core.pairs import Pairs
from pairlens.core.similarity import cosine, self_cosine, unit
from pairlens.losses.base import Source


class Batch(nn.Module):
    """The references are the batch itself; it has no parameters.

    >>> similarity, pairs = Batch()(torch.eye(2), torch.tensor([0, 1]))
    >>> similarity
    tensor([[1., 0.],
            [0., 1.]])
    """

    source: ClassVar[Source] = "batch"

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Pairs]:
        """Return the similarities within a batch of (anchor, dim) unit vectors, and its pairs."""
        return self_cosine(embeddings), Pairs.within(labels)


class Memory(nn.Module):
    """The references are the last embeddings seen: a cross-batch memory (XBM), without parameters.

    Every batch is first written over the oldest entries, without gradient, and then compared with all that is stored:
    also with itself, though a photo never with its own copy. Only the anchors have a gradient. For the first `warm_up`
    batches the batch alone is compared, with itself, while the memory fills; an embedding drifts too fast then to be
    remembered. In evaluation mode nothing is written.

    Source: Wang et al., "Cross-Batch Memory for Embedding Learning", CVPR 2020, arXiv 1912.06798, algorithm 1. Its
    official code takes a memory for full when its last label is not 0, and adds the loss on the batch with a weight;
    here the fill is counted, and the batch is in the memory. Vectors, labels, and where the next batch goes are in
    `state_dict()`.

    Args:
        size: how many embeddings are remembered.
        dim: dimension of the embeddings.
        warm_up: how many batches are compared with themselves first.

    Raises:
        ValueError: for a size below 1; in forward, for a batch larger than the memory or of another dimension.

    >>> memory = Memory(size=4, dim=2)
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
        if size < 1 or warm_up < 0:
            raise ValueError(f"a memory of size {size} with a warm-up of {warm_up} cannot be; give at least 1 and 0")
        self.size, self.dim, self.warm_up = size, dim, warm_up
        self.register_buffer("vectors", torch.zeros(size, dim))
        self.register_buffer("labels", torch.zeros(size, dtype=torch.long))
        # Plain integers: to read a tensor at every step would stall a GPU.
        self.place, self.filled, self.seen = 0, 0, 0

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Pairs]:
        """Return the similarities of (anchor, dim) unit vectors with what is stored, and the pairs."""
        self._check(embeddings)
        written = self._write(embeddings.detach(), labels) if self.training else None
        if self.seen <= self.warm_up:
            return self_cosine(embeddings), Pairs.within(labels)
        # A copy: the next batch may be written into the memory before this one's gradient is taken.
        stored = self.vectors[: self.filled].clone()
        pairs = Pairs.between(labels, self.labels[: self.filled])
        similarity = cosine(embeddings, stored.to(embeddings.dtype))
        return similarity, pairs if written is None else _without_copies(pairs, written)

    def _write(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """Store a batch over the oldest entries and return where."""
        places = (torch.arange(len(vectors), device=vectors.device) + self.place) % self.size
        self.vectors[places] = vectors.to(self.vectors.dtype)
        self.labels[places] = labels
        self.place = (self.place + len(vectors)) % self.size
        self.filled = min(self.filled + len(vectors), self.size)
        self.seen += 1
        return places

    def get_extra_state(self) -> dict[str, int]:
        """Return what `state_dict` holds beside the tensors."""
        return {"place": self.place, "filled": self.filled, "seen": self.seen}

    def set_extra_state(self, state: Any) -> None:
        """Put back what `get_extra_state` returned."""
        self.place, self.filled, self.seen = state["place"], state["filled"], state["seen"]

    def _check(self, embeddings: Tensor) -> None:
        if embeddings.shape[1] != self.dim:
            raise ValueError(
                f"embeddings have {embeddings.shape[1]} dimensions, the memory {self.dim}; give both one dim"
            )
        if len(embeddings) > self.size:
            raise ValueError(
                f"a batch of {len(embeddings)} does not fit into a memory of {self.size}; give it a size of several batches"
            )


def _without_copies(pairs: Pairs, written: Tensor) -> Pairs:
    """Return the pairs without each anchor's own copy."""
    itself = torch.zeros_like(pairs.positive)
    itself[torch.arange(len(written), device=written.device), written] = True
    return Pairs(pairs.positive & ~itself, pairs.negative)


class Proxies(nn.Module):
    """The references are learned unit vectors, one or several (centres) a class.

    They start as normal random directions. `parameters()` must be in an optimizer: `Criterion.parameters()` has them.

    Args:
        classes: number of classes; labels must be 0 to classes - 1.
        dim: dimension of the embeddings.
        centers: proxies a class; more than one only for losses that pool over centres.

    Raises:
        ValueError: in forward, for a label without a proxy or embeddings of another dimension.

    >>> similarity, pairs = Proxies(classes=3, dim=4)(torch.eye(4)[:2], torch.tensor([0, 2]))
    >>> pairs.positive.int()
    tensor([[1, 0, 0],
            [0, 0, 1]], dtype=torch.int32)
    """

    source: ClassVar[Source] = "proxies"

    def __init__(self, classes: int, dim: int, centers: int = 1) -> None:
        super().__init__()
        self.classes, self.dim, self.centers = classes, dim, centers
        self.vectors = nn.Parameter(torch.randn(classes * centers, dim))
        self.register_buffer("labels", torch.arange(classes).repeat_interleave(centers), persistent=False)

    @property
    def unit_centers(self) -> Tensor:
        """(class, centre, dim) unit vectors."""
        return unit(self.vectors).view(self.classes, self.centers, self.dim)

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Pairs]:
        """Return the (anchor, class · centre) similarities and pairs of (anchor, dim) unit vectors."""
        self._check(embeddings, labels)
        pairs = Pairs.between(labels, self.labels)  # pyright: ignore[reportArgumentType]
        return cosine(embeddings, unit(self.vectors).to(embeddings.dtype)), pairs

    def _check(self, embeddings: Tensor, labels: Tensor) -> None:
        if embeddings.shape[1] != self.dim:
            raise ValueError(
                f"embeddings have {embeddings.shape[1]} dimensions, the proxies {self.dim}; give both one dim"
            )
        # On a GPU reading the labels would stall the device; there the sampler's labels are checked before they are sent.
        readable = not torch.compiler.is_compiling() and not labels.is_cuda
        if readable and len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.classes:
            raise ValueError(
                f"labels run from {int(labels.min())} to {int(labels.max())}, but there are proxies for 0 to "
                f"{self.classes - 1}; make Proxies with one class for each label"
            )


References = Batch | Memory | Proxies
