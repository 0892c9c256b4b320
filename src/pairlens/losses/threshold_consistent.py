"""Threshold-consistent margin loss."""

import math
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


@dataclass(frozen=True)
class ThresholdConsistentMargin:
    """Threshold-consistent margin loss: all classes are to be separated by the same threshold of similarity.

    L = λ₊ mean over positive pairs with s_p ≤ m₊ of (m₊ - s_p) + λ₋ mean over negative pairs with s_n ≥ m₋ of (s_n - m₋),
    both over the whole batch.

    Pair weights: λ₊ over the number of positives below m₊, and λ₋ over the number of negatives above m₋; 0 elsewhere. A
    few hard pairs of a batch weigh as much as many, whichever classes they are of.

    Source: Zhang et al., "Threshold-Consistent Margin Loss for Open-World Deep Metric Learning", ICLR 2024, arXiv
    2307.04047, which adds it to another loss and measures by OPIS how much the utility at one threshold varies between
    classes; λ = 1, m₊ = 0.9 and m₋ = 0.5 are the defaults of pytorch-metric-learning. That also counts the negatives of
    photos without a positive, which are left out here as in every loss.

    Attributes:
        positive_margin: m₊, in units of similarity.
        negative_margin: m₋, in units of similarity.
        positive_weight: λ₊.
        negative_weight: λ₋.

    >>> import torch
    >>> similarity = torch.tensor([[0.5, 0.95, 0.6, 0.0]])
    >>> pairs = Pairs.between(torch.tensor([0]), torch.tensor([0, 0, 1, 1]))
    >>> ThresholdConsistentMargin()(similarity, pairs)  # (0.9 - 0.5) + (0.6 - 0.5)
    tensor(0.5000)
    """

    references: ClassVar[tuple[Source, ...]] = SOURCES
    space: ClassVar[dict[str, Range]] = {"positive_margin": Range(0.5, 1.0), "negative_margin": Range(0.1, 0.7)}
    positive_margin: float = 0.9
    negative_margin: float = 0.5
    positive_weight: float = 1.0
    negative_weight: float = 1.0

    def __post_init__(self) -> None:
        for name in ("positive_margin", "negative_margin"):
            value = getattr(self, name)
            require(
                -1 <= value <= 1, f"{name} {value} of threshold-consistent margin loss is a similarity; use -1 to 1"
            )
        for name in ("positive_weight", "negative_weight"):
            value = getattr(self, name)
            require(
                0 <= value < math.inf, f"{name} {value} of threshold-consistent margin loss is a weight; use 0 or more"
            )

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (anchor, reference) cosine similarities."""
        similarity = as_similarity(similarity, pairs)
        if is_readable(similarity):
            check_finite(similarity)
        counted = pairs.complete[:, None]  # (anchor, 1)
        far = self.positive_margin - similarity
        near = similarity - self.negative_margin
        pull = mean_over(far, pairs.positive & counted & (far >= 0))
        push = mean_over(near, pairs.negative & counted & (near >= 0))
        return self.positive_weight * pull + self.negative_weight * push
