"""What a loss is: the protocols of losses, the questions that other packages ask about a loss, and `wrap`.

No other module looks at the attributes of a loss to find out what it is.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeAlias, TypeGuard, runtime_checkable

from torch import Tensor, nn

from pairlens.core.pairs import Pairs
from pairlens.losses.base import SOURCES, PairWeights, Side, Source

# A miner selects, from (anchor, reference) similarities and their pairs, the pairs that the loss is to see.
MinerFunction: TypeAlias = Callable[[Tensor, Pairs], Pairs]


@runtime_checkable
class PairLoss(Protocol):
    """A loss of similarities and pairs, without parameters of its own."""

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, reference) similarities."""
        ...


@runtime_checkable
class ClosedFormLoss(Protocol):
    """A loss that gives its pair weights in closed form."""

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor."""
        ...


@runtime_checkable
class CenterLoss(Protocol):
    """A loss that pools over several centres per class; the centres are the parameters of `Proxies`."""

    centers: int

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, class · centre) similarities."""
        ...


@runtime_checkable
class PenalizedCenterLoss(CenterLoss, Protocol):
    """A loss of several centres per class that adds a penalty on the centres."""

    def penalty(self, centers: Tensor) -> Tensor:
        """Return the penalty of (class, centre, dim) unit vectors."""
        ...


@runtime_checkable
class LearnedLoss(Protocol):
    """A loss with one learned parameter per class, which the criterion owns."""

    def initial(self, classes: int) -> Tensor:
        """Return the (class,) initial values."""
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


# The functions below are called once per criterion or figure, not in every step: checking an object against a protocol takes
# as long as a pass over the similarities of a small batch.


def possible_sources(loss: Any) -> tuple[Source, ...]:
    """Return the sources of references that a loss can be compared with, its usual one first; all if it does not say.

    >>> from pairlens.losses import ProxyAnchor
    >>> possible_sources(ProxyAnchor())
    ('proxies',)
    """
    return getattr(loss, "references", SOURCES)


def centers_of(loss: Any) -> int:
    """Return the number of proxies per class that a loss needs.

    >>> from pairlens.losses import Circle, SoftTriple
    >>> centers_of(Circle()), centers_of(SoftTriple(centers=5))
    (1, 5)
    """
    return loss.centers if isinstance(loss, CenterLoss) else 1


def is_embedding_loss(loss: Any) -> TypeGuard[EmbeddingLoss]:
    """Return whether a loss is computed from embeddings and labels instead of similarities and pairs."""
    return isinstance(loss, EmbeddingLoss)


def is_learned_loss(loss: Any) -> TypeGuard[LearnedLoss]:
    """Return whether a loss has a learned parameter per class."""
    return isinstance(loss, LearnedLoss)


def has_center_penalty(loss: Any) -> TypeGuard[PenalizedCenterLoss]:
    """Return whether a loss adds a penalty on its centres."""
    return isinstance(loss, PenalizedCenterLoss)


def has_pair_weights(loss: Any) -> TypeGuard[ClosedFormLoss]:
    """Return whether a loss gives its pair weights in closed form."""
    return isinstance(loss, ClosedFormLoss)


def needs_of(loss: Any) -> tuple[str, ...]:
    """Return the names of the further values per photo that a loss wants as keyword arguments, such as a weight.

    >>> class Weighted:
    ...     needs = ("weight",)
    >>> needs_of(Weighted()), needs_of(wrap(Weighted())), needs_of(len)
    (('weight',), ('weight',), ())
    """
    return tuple(getattr(_innermost(loss), "needs", ()))


def wants_unit_vectors(loss: Any) -> bool:
    """Return whether a loss is to be trained on embeddings of unit length; all losses are that do not say otherwise.

    >>> class OfLengths:
    ...     normalized = False
    >>> wants_unit_vectors(OfLengths()), wants_unit_vectors(len)
    (False, True)
    """
    return bool(getattr(_innermost(loss), "normalized", True))


def _innermost(loss: Any) -> Any:
    # A wrapped loss has no attributes of its own that say what it needs.
    return loss.function if isinstance(loss, Wrapped) else loss


def embedding_function(loss: EmbeddingLoss) -> Callable[..., Tensor]:
    """Return the function that a loss of embeddings is: of embeddings, labels and, as keywords, the values that it needs."""
    return loss.function if isinstance(loss, Wrapped) else loss.of_embeddings


def accepts_miner(loss: Any) -> bool:
    """Return whether a loss is computed over pairs of photos, from which a miner can select.

    >>> from pairlens.losses import Circle, NPair
    >>> accepts_miner(Circle()), accepts_miner(NPair())
    (True, False)
    """
    return not isinstance(loss, EmbeddingLoss | CenterLoss)


def needs_criterion(loss: Any) -> bool:
    """Return whether a loss must be called through a `Criterion`; otherwise it is a function of (embeddings, labels).

    A loss of Pairlens says what it can be compared with. A module of PyTorch and a plain function do not.

    >>> from pairlens.losses import Circle
    >>> needs_criterion(Circle()), needs_criterion(lambda embeddings, labels: embeddings.sum())
    (True, False)
    """
    # A module of another library may have an attribute of one of these names by chance.
    return not isinstance(loss, nn.Module) and (hasattr(loss, "references") or isinstance(loss, ClosedFormLoss))


# The default of `Wrapped.function`, which is what a wrapped loss has after its run was read from disk.
def _not_stored(embeddings: Tensor, labels: Tensor) -> Tensor:
    raise ValueError(
        "the function of a wrapped loss is not stored with its run; resume the run in Python, with "
        "pl.resume_run(folder, loss=pl.wrap(...))"
    )


@dataclass(frozen=True)
class Wrapped:
    """Any function of (embeddings, labels) as a loss; made by `wrap`.

    Attributes:
        name: its name in folders, tables and figures.
        function: the function itself, which is not stored with a run.
    """

    references: ClassVar[tuple[Source, ...]] = ("batch",)
    name: str
    function: Callable[[Tensor, Tensor], Tensor] = field(default=_not_stored, repr=False, metadata={"plain": False})

    def of_embeddings(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of (photo, dim) embeddings and (photo,) labels."""
        return self.function(embeddings, labels)


def wrap(function: Callable[[Tensor, Tensor], Tensor], name: str | None = None) -> Wrapped:
    """Return any function of (embeddings, labels), such as a loss of pytorch-metric-learning, as a loss of Pairlens.

    It can be given to a `Criterion` or an `Experiment`, so it can be trained and analysed like the others. If the
    function is a module, its parameters become parameters of the criterion.

    Args:
        function: takes (photo, dim) embeddings and (photo,) labels, and returns a scalar.
        name: its name; by default that of the function or its class.

    >>> import torch
    >>> from pairlens.training.criterion import Criterion
    >>> criterion = Criterion(wrap(lambda embeddings, labels: embeddings.pow(2).sum()))
    >>> criterion(torch.eye(3), torch.tensor([0, 0, 1]))
    tensor(3.)
    """
    return Wrapped(name or getattr(function, "__name__", type(function).__name__), function)
