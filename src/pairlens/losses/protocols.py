"""What a loss is: the protocols that a criterion asks for, and any function of embeddings as a loss."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, get_args, runtime_checkable

from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.losses.base import Source


@runtime_checkable
class PairLoss(Protocol):
    """A loss of similarities and pairs: without parameters of its own."""

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, reference) similarities."""
        ...


@runtime_checkable
class CenterLoss(Protocol):
    """A loss that pools over several centres of a class; the centres are the parameters of `Proxies`."""

    centers: int

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, class · centre) similarities."""
        ...


@runtime_checkable
class PenalizedCenterLoss(CenterLoss, Protocol):
    """A loss that has in addition a penalty on the centres."""

    def penalty(self, centers: Tensor) -> Tensor:
        """Return the penalty of (class, centre, dim) unit vectors."""
        ...


@runtime_checkable
class LearnedLoss(Protocol):
    """A loss with a parameter a class, which the criterion owns."""

    def initial(self, classes: int) -> Tensor:
        """Return the (class,) values to start from."""
        ...

    def __call__(self, similarity: Tensor, pairs: Pairs, learned: Tensor) -> Tensor:
        """Return the loss of (anchor, reference) similarities and the (anchor,) parameters of their classes."""
        ...


@runtime_checkable
class EmbeddingLoss(Protocol):
    """A loss that needs more than similarities: a function of embeddings, of any length, and labels."""

    def of_embeddings(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of (photo, dim) embeddings and (photo,) labels."""
        ...


SOURCES: tuple[Source, ...] = get_args(Source)


def _not_stored(embeddings: Tensor, labels: Tensor) -> Tensor:
    raise ValueError(
        "a wrapped loss is not stored with its run; go on in Python: pl.resume_run(folder, loss=pl.wrap(...))"
    )


@dataclass(frozen=True)
class Wrapped:
    """Any function of (embeddings, labels) as a loss; made by `wrap`.

    Attributes:
        name: what to call it. The function itself is not written into a run.
    """

    references: ClassVar[tuple[Source, ...]] = ("batch",)
    name: str
    function: Callable[[Tensor, Tensor], Tensor] = field(default=_not_stored, repr=False, metadata={"plain": False})

    def of_embeddings(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of (photo, dim) embeddings and (photo,) labels."""
        return self.function(embeddings, labels)


def wrap(function: Callable[[Tensor, Tensor], Tensor], name: str | None = None) -> Wrapped:
    """Take any function of (embeddings, labels), such as a loss of pytorch-metric-learning, as a loss of ours.

    It goes into a `Criterion` or an `Experiment`, and so into training and analysis. If it is a module, its parameters
    are parameters of the criterion. Its name is by default that of its function or class.

    >>> import torch
    >>> from pairlens.training.criterion import Criterion
    >>> criterion = Criterion(wrap(lambda embeddings, labels: embeddings.pow(2).sum()))
    >>> criterion(torch.eye(3), torch.tensor([0, 0, 1]))
    tensor(3.)
    """
    return Wrapped(name or getattr(function, "__name__", type(function).__name__), function)


def possible_sources(loss: Any) -> tuple[Source, ...]:
    """Return what a loss can be compared with; a loss that does not say can be compared with anything.

    >>> from pairlens.losses import ProxyAnchor
    >>> possible_sources(ProxyAnchor())
    ('proxies',)
    """
    return getattr(loss, "references", SOURCES)


def centers_of(loss: Any) -> int:
    """Return how many proxies a class a loss needs."""
    return loss.centers if isinstance(loss, CenterLoss) else 1
