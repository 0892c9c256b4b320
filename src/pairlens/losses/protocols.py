"""What a loss is: the protocols of losses, and the questions that other packages ask about a loss.

No other module looks at the attributes of a loss to find out what it is.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, TypeGuard, runtime_checkable

from torch import Tensor, nn

from pairlens.core.pairs import Pairs
from pairlens.losses.base import SOURCES, AnchorLoss, PairWeights, Side, Source
from pairlens.losses.tuning_space import Range

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


@runtime_checkable
class CombinedLoss(Protocol):
    """A weighted sum of other losses."""

    @property
    def parts(self) -> tuple[tuple[float, Any], ...]:
        """The (weight, loss) pairs of the sum."""
        ...


@runtime_checkable
class UncomputableLoss(Protocol):
    """What is left of a loss after its run was read from disk: it may say why it cannot be computed."""

    @property
    def obstacle(self) -> str:
        """The sentence that says why the loss cannot be computed and what to do; empty if it can be computed."""
        ...


@runtime_checkable
class WrapsFunction(Protocol):
    """A loss that is a wrapped function; see `wrap` and `wrap_pairs`."""

    name: str
    function: Callable[..., Tensor]
    source: str


# What a `Criterion` and an `Experiment` accept from other projects.
OtherLoss: TypeAlias = PairLoss | CenterLoss | LearnedLoss | EmbeddingLoss


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
    return max((part.centers for _, part in parts_of(loss) if isinstance(part, CenterLoss)), default=1)


def parts_of(loss: Any) -> tuple[tuple[float, Any], ...]:
    """Return the (weight, loss) pairs of a sum of losses; any other loss is a sum of itself.

    >>> from pairlens.losses import Circle
    >>> parts_of(Circle())
    ((1.0, Circle(margin=0.4, gamma=80.0)),)
    """
    return loss.parts if isinstance(loss, CombinedLoss) else ((1.0, loss),)


def is_embedding_loss(loss: Any) -> bool:
    """Return whether a loss, or a part of it, is computed from embeddings and labels instead of similarities and pairs."""
    return any(isinstance(part, EmbeddingLoss) for _, part in parts_of(loss))


def is_learned_loss(loss: Any) -> bool:
    """Return whether a loss, or a part of it, has a learned parameter per class."""
    return any(isinstance(part, LearnedLoss) for _, part in parts_of(loss))


def has_center_penalty(loss: Any) -> TypeGuard[PenalizedCenterLoss]:
    """Return whether a loss adds a penalty on its centres."""
    return isinstance(loss, PenalizedCenterLoss)


def has_pair_weights(loss: Any) -> TypeGuard[ClosedFormLoss]:
    """Return whether a loss gives its pair weights in closed form; a sum does if all its parts are means over anchors.

    >>> from pairlens.losses import Circle, NTXent, Sum
    >>> [has_pair_weights(Sum((Circle(), NTXent(average=average)))) for average in ("anchor", "pair")]
    [True, False]
    """
    # A loss with pair weights may still have its own mean, such as Proxy-Anchor over proxies, so weights of different means
    # must not be added.
    if isinstance(loss, CombinedLoss):
        return all(isinstance(part, AnchorLoss) and _averages_anchors(part) for _, part in loss.parts)
    return isinstance(loss, ClosedFormLoss)


def _averages_anchors(loss: Any) -> bool:
    return getattr(loss, "average", "anchor") == "anchor"


def needs_of(loss: Any) -> tuple[str, ...]:
    """Return the names of the further values per photo that a loss wants as keyword arguments, such as a weight.

    >>> class Weighted:
    ...     needs = ("weight",)
    >>> needs_of(Weighted()), needs_of(len)
    (('weight',), ())
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
    return loss.function if isinstance(loss, WrapsFunction) else loss


def embedding_function(loss: EmbeddingLoss) -> Callable[..., Tensor]:
    """Return a loss of embeddings as a function of embeddings and labels, with the values that it needs as keywords."""
    return loss.function if isinstance(loss, WrapsFunction) else loss.of_embeddings


def weighs_pairs(loss: Any) -> bool:
    """Return whether the pairs of a loss have weights: it is a function of similarities, or gives the weights itself.

    >>> from pairlens.losses import Circle, NPair
    >>> weighs_pairs(Circle()), weighs_pairs(NPair()), weighs_pairs(lambda similarity, pairs: similarity.sum())
    (True, True, True)
    """
    return not is_embedding_loss(loss) or has_pair_weights(loss)


def obstacle_of(loss: Any) -> str:
    """Return the sentence that says why a loss that was read from disk cannot be computed; "" if it can be computed."""
    parts = (part for _, part in parts_of(loss))
    return next((part.obstacle for part in parts if isinstance(part, UncomputableLoss) and part.obstacle), "")


def has_batch_weights(loss: Any) -> bool:
    """Return whether a loss weighs the pairs of a batch, so that these weights can be measured on embeddings."""
    return not obstacle_of(loss) and not is_embedding_loss(loss) and "batch" in possible_sources(loss)


def tuning_space(loss: Any) -> Mapping[str, Range]:
    """Return the ranges from which tuning takes the hyper-parameters of a loss; none if it does not say.

    >>> from pairlens.losses import Triplet
    >>> tuning_space(Triplet())
    {'margin': Range(low=0.02, high=0.5, log=False)}
    """
    return getattr(loss, "space", {})


def takes_pairs(function: Any) -> bool:
    """Return whether the first parameters of a function, or of an object that is called, are `similarity, pairs`.

    >>> takes_pairs(lambda similarity, pairs: similarity.sum()), takes_pairs(lambda embeddings, labels: embeddings.sum())
    (True, False)
    """
    try:
        names = tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        # Functions that are written in C may have no signature.
        return False
    return names[:2] == ("similarity", "pairs")


def accepts_miner(loss: Any) -> bool:
    """Return whether a loss is computed over pairs of photos, from which a miner can select.

    >>> from pairlens.losses import Circle, NPair
    >>> accepts_miner(Circle()), accepts_miner(NPair())
    (True, False)
    """
    return not any(isinstance(part, EmbeddingLoss | CenterLoss) for _, part in parts_of(loss))


def needs_criterion(loss: Any) -> bool:
    """Return whether a loss must be called through a `Criterion`; otherwise it is a function of (embeddings, labels).

    A loss of Pairlens says what it can be compared with. A module of PyTorch and a plain function do not.

    >>> from pairlens.losses import Circle
    >>> needs_criterion(Circle()), needs_criterion(lambda embeddings, labels: embeddings.sum())
    (True, False)
    """
    # A module of another library may have an attribute of one of these names by chance.
    if isinstance(loss, nn.Module):
        return False
    is_loss = isinstance(loss, ClosedFormLoss | EmbeddingLoss | LearnedLoss)
    return is_loss or hasattr(loss, "references") or takes_pairs(loss)
