"""Intra-pair variance loss."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.core.tracing import is_readable
from pairlens.losses.base import SOURCES, Source, check_finite
from pairlens.losses.loss_inputs import as_similarity
from pairlens.losses.reductions import mean_over
from pairlens.losses.tuning_space import Range

EPSILON = Range(0.001, 0.2, log=True)


@dataclass(frozen=True)
class IntraPairVariance:
    """Intra-pair variance loss: positive pairs below their mean similarity, and negative pairs above theirs, move to it.

    L = mean over positive pairs of [(1 - ε_p) μ_p - s_p]₊² + mean over negative pairs of [s_n - (1 + ε_n) μ_n]₊², both
    over the whole batch, with μ_p and μ_n the mean similarities of its positive and of its negative pairs.

    Pair weights are the gradient by autograd. The means have a gradient too: a pair on the right side of its mean is moved
    towards the others. Alone the loss does not separate classes; it is added to another one.

    Source: Yu and Tao, "Deep Metric Learning with Tuplet Margin Loss", ICCV 2019, which adds it to tuplet margin loss;
    ε = 0.01 for both is the default of pytorch-metric-learning. That also counts the negatives of photos without a
    positive, which are left out here as in every loss.

    Attributes:
        positive_epsilon: ε_p, as a share of μ_p.
        negative_epsilon: ε_n, as a share of μ_n.

    >>> import torch
    >>> similarity = torch.tensor([[0.0, 1.0, 0.3, 0.3]])
    >>> pairs = Pairs.between(torch.tensor([0]), torch.tensor([0, 0, 1, 1]))
    >>> IntraPairVariance(0.0, 0.0)(similarity, pairs)  # the positives lie 0.5 around their mean
    tensor(0.1250)
    """

    references: ClassVar[tuple[Source, ...]] = SOURCES
    space: ClassVar[dict[str, Range]] = {"positive_epsilon": EPSILON, "negative_epsilon": EPSILON}
    positive_epsilon: float = 0.01
    negative_epsilon: float = 0.01

    def __post_init__(self) -> None:
        for name in ("positive_epsilon", "negative_epsilon"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name} {value} of intra-pair variance loss is a share; use 0 to 1")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, reference) cosine similarities."""
        similarity = as_similarity(similarity, pairs)
        if is_readable(similarity):
            check_finite(similarity)
        counted = pairs.complete[:, None]  # (anchor, 1)
        positive = pairs.positive & counted
        negative = pairs.negative & counted
        far = ((1 - self.positive_epsilon) * mean_over(similarity, positive) - similarity).relu()
        near = (similarity - (1 + self.negative_epsilon) * mean_over(similarity, negative)).relu()
        return mean_over(far**2, positive) + mean_over(near**2, negative)
