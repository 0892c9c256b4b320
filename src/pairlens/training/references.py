"""Where the references of a loss come from: the batch itself, or learned proxies of the classes."""

import torch
from torch import Tensor, nn

from pairlens.core.pairs import Pairs
from pairlens.core.similarity import cosine, self_cosine, unit


class Batch(nn.Module):
    """The references are the batch itself; it has no parameters.

    >>> similarity, pairs = Batch()(torch.eye(2), torch.tensor([0, 1]))
    >>> similarity
    tensor([[1., 0.],
            [0., 1.]])
    """

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Pairs]:
        """Return the similarities within a batch of (anchor, dim) unit vectors, and its pairs."""
        return self_cosine(embeddings), Pairs.within(labels)


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
        if not labels.is_cuda and len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.classes:
            raise ValueError(
                f"labels run from {int(labels.min())} to {int(labels.max())}, but there are proxies for 0 to "
                f"{self.classes - 1}; make Proxies with one class for each label"
            )


References = Batch | Proxies
