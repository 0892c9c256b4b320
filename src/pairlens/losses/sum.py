"""The weighted sum of several losses."""

import math
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import Any, TypeAlias

from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.losses.all_losses import Loss
from pairlens.losses.base import SOURCES, PairWeights, Side, Source, mean_over_anchors
from pairlens.losses.loss_inputs import as_similarity
from pairlens.losses.protocols import (
    OtherLoss,
    centers_of,
    has_pair_weights,
    is_embedding_loss,
    is_learned_loss,
    obstacle_of,
    possible_sources,
    tuning_space,
)
from pairlens.losses.third_party import StoredLoss, Wrapped, WrappedPairs, stored_form
from pairlens.losses.tuning_space import Range

# One loss: of Pairlens, a wrapped function, or a class of another project, which has another form in stored records.
SingleLoss: TypeAlias = Loss | Wrapped | WrappedPairs | StoredLoss | OtherLoss
WEIGHT = "weight"
WEIGHT_SPACE = Range(0.1, 10, log=True)


def _stored_forms(losses: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the losses of a sum as they are stored."""
    # What is stored of a loss of embeddings does not say that it compares nothing, so it may be added to any source.
    return tuple(
        replace(stored, references=SOURCES) if isinstance(stored, StoredLoss) and is_embedding_loss(loss) else stored
        for loss, stored in zip(losses, map(stored_form, losses), strict=True)
    )


@dataclass(frozen=True)
class Sum:
    """Weighted sum of losses: L = Σ_i weight_i · L_i.

    Its references are those that all its losses can be compared with; losses of embeddings, which compare nothing, add to
    any of them. If every loss is a mean over anchors, the pair weights are the weighted sums of theirs; otherwise they are
    the gradient.

    Attributes:
        losses: two losses or more.
        weights: one positive number per loss; by default all are 1.

    Raises:
        ValueError: if the losses have no source of references in common, differ in their number of centres per class, or
            several have a learned parameter; or if a weight is missing or not above 0.

    >>> import torch
    >>> from pairlens.losses.all_losses import SimilarityContrastive, Triplet
    >>> similarity = torch.tensor([[1.0, 0.5, 0.7]])
    >>> pairs = Pairs.between(torch.tensor([0]), torch.tensor([0, 0, 1]))
    >>> SimilarityContrastive()(similarity, pairs)
    tensor(0.7000)
    >>> Sum((SimilarityContrastive(), SimilarityContrastive()), (1.0, 0.5))(similarity, pairs)
    tensor(1.0500)
    """

    losses: tuple[SingleLoss, ...] = field(metadata={"stored_as": _stored_forms})
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        # Lists are as good as tuples, and a frozen record can only be changed like this.
        object.__setattr__(self, "losses", tuple(self.losses))
        object.__setattr__(self, "weights", tuple(map(float, self.weights)) or (1.0,) * len(self.losses))
        require(len(self.losses) >= 2, "a sum needs two losses or more")
        require(
            len(self.weights) == len(self.losses),
            f"a sum of {len(self.losses)} losses needs as many weights, not {len(self.weights)}",
        )
        wrong = [weight for weight in self.weights if not 0 < weight < math.inf]
        require(
            not wrong, f"the weight {wrong[:1]} of a loss in a sum must be above 0; leave out a loss that is not wanted"
        )
        nested = any(isinstance(loss, Sum | str | type) for loss in self.losses)
        require(
            not nested,
            "a sum consists of single losses, such as Circle(); write the losses of an inner sum in the outer one",
        )
        self._check_fit()

    def _check_fit(self) -> None:
        names = [type(loss).__name__ for loss in self.losses]
        sources = [
            f"{name}: {', '.join(possible_sources(loss))}" for name, loss in zip(names, self.losses, strict=True)
        ]
        require(bool(self.references), f"these losses have no source of references in common ({'; '.join(sources)})")
        # What is stored of a loss of another project does not say how many centres it has.
        comparing = [loss for loss in self.losses if not is_embedding_loss(loss) and not obstacle_of(loss)]
        centers = {centers_of(loss) for loss in comparing}
        require(
            len(centers) <= 1 or "proxies" not in self.references,
            f"the losses of a sum share their proxies, but {' and '.join(names)} need {sorted(centers)} centres per class; "
            "give all of them the same number",
        )
        learned = [name for name, loss in zip(names, self.losses, strict=True) if is_learned_loss(loss)]
        require(len(learned) <= 1, f"only one loss of a sum can have a learned parameter, not {' and '.join(learned)}")

    @property
    def references(self) -> tuple[Source, ...]:
        """The sources of references that all the losses can be compared with, the usual one of the first loss first."""
        comparing = [possible_sources(loss) for loss in self.losses if not is_embedding_loss(loss)]
        # Losses of embeddings alone are losses of a batch.
        first, *rest = comparing or [SOURCES[:1]]
        return tuple(source for source in first if all(source in others for others in rest))

    @property
    def parts(self) -> tuple[tuple[float, Any], ...]:
        """The (weight, loss) pairs of the sum."""
        return tuple(zip(self.weights, self.losses, strict=True))

    @property
    def labels(self) -> tuple[str, ...]:
        """The name of each loss within the sum, in lower case; the second triplet loss is triplet2."""
        names = [type(loss).__name__.lower() for loss in self.losses]
        earlier = [names[:i].count(name) for i, name in enumerate(names)]
        return tuple(f"{name}{count + 1}" if count else name for name, count in zip(names, earlier, strict=True))

    @property
    def space(self) -> dict[str, Range]:
        """The tuning ranges of the losses, as triplet.margin, and of all weights but the first, as triplet.weight."""
        ranges = {}
        for number, (label, loss) in enumerate(zip(self.labels, self.losses, strict=True)):
            ranges |= {f"{label}.{name}": range_ for name, range_ in tuning_space(loss).items()}
            # The first weight only scales the whole sum, which the learning rate does as well.
            if number:
                ranges[f"{label}.{WEIGHT}"] = WEIGHT_SPACE
        return ranges

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, reference) cosine similarities, without penalties on centres.

        Raises:
            ValueError: if a loss of the sum needs more than similarities; a `Criterion` computes such a sum.
        """
        similarity = as_similarity(similarity, pairs)
        if has_pair_weights(self):
            return mean_over_anchors(self.weigh, similarity, pairs)
        require(
            not is_embedding_loss(self) and not is_learned_loss(self),
            "a loss of this sum needs embeddings or a learned parameter; compute it with pl.Criterion",
        )
        # The annotation allows losses that need more, which the check above has refused.
        parts: tuple[tuple[float, Any], ...] = self.parts
        values = [weight * loss(similarity, pairs) for weight, loss in parts]
        return reduce(add, values)

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor; only for a sum of losses that are means over anchors."""
        parts: tuple[tuple[float, Any], ...] = self.parts
        weighed = [[weight * term for term in loss.weigh(positive, negative)[:3]] for weight, loss in parts]
        # Each term, value or weights, is (anchor, slot) or (anchor, 1) in every loss.
        value, w_p, w_n = (reduce(add, terms) for terms in zip(*weighed, strict=True))
        return PairWeights(value, w_p, w_n)
