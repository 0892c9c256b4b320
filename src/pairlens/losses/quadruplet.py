"""Quadruplet loss."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.core.tracing import is_readable
from pairlens.losses.base import Source, check_finite
from pairlens.losses.loss_inputs import as_similarity
from pairlens.losses.reductions import ABSENT, mean_over
from pairlens.losses.tuning_space import Range


@dataclass(frozen=True)
class Quadruplet:
    """Quadruplet loss, batch-hard: a positive pair must also be closer than two negatives of different classes are.

    L = mean over anchors of [ d²(a, p) - d²(a, n) + m₁ ]₊ + [ d²(a, p) - d²(n, k) + m₂ ]₊,
    p the farthest positive, n the nearest negative, k the photo nearest to n that belongs to a third class; d² = 2 - 2 s.
    In a batch with only two classes there is no k and no second term.

    Pair weights: 2 for each active term, on s_ap, s_an and s_nk.

    Source: Chen et al., "Beyond Triplet Loss: A Deep Quadruplet Network for Person Re-identification", CVPR 2017, arXiv
    1704.01719, equation 7, with margins 1 and 0.5 on its learned metric; here on squared distances of unit vectors. The
    paper takes all quadruplets, or mines them with adaptive margins; here the hardest one of each anchor, as in batch-hard
    triplets. pytorch-metric-learning does not have this loss.

    Attributes:
        margin: m₁, in units of squared distance.
        second_margin: m₂, in units of squared distance.

    >>> similarity = torch.full((4, 4), 0.5)
    >>> Quadruplet()(similarity, Pairs.within(torch.tensor([0, 0, 1, 2])))
    tensor(1.5000)
    """

    references: ClassVar[tuple[Source, ...]] = ("batch",)
    space: ClassVar[dict[str, Range]] = {"margin": Range(0.1, 1.2)}
    margin: float = 1.0
    second_margin: float = 0.5

    def __post_init__(self) -> None:
        for name in ("margin", "second_margin"):
            value = getattr(self, name)
            require(0 <= value <= 4, f"{name} {value} of quadruplet loss is a squared distance; use 0 to 4")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss of (photo, photo) cosine similarities of one batch."""
        similarity = as_similarity(similarity, pairs)
        if is_readable(similarity):
            check_finite(similarity)
        if not similarity.numel():
            return similarity.sum()
        p, n, k, has_third = _hardest(similarity.detach(), pairs)  # all (anchor,)
        anchor = torch.arange(len(similarity), device=similarity.device)
        s_ap = similarity[anchor, p]
        s_an = similarity[anchor, n]
        s_nk = similarity[n, k]
        # d²(a, p) - d²(a, n) = 2 (s_an - s_ap).
        first = (2 * (s_an - s_ap) + self.margin).relu()
        second = (2 * (s_nk - s_ap) + self.second_margin).relu() * has_third
        return mean_over(first + second, pairs.complete)


def _hardest(similarity: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the farthest positive p, the nearest negative n, the third k nearest to n, and 1 where there is a k."""
    p = torch.where(pairs.positive, similarity, -ABSENT).argmin(dim=1)
    n = torch.where(pairs.negative, similarity, ABSENT).argmax(dim=1)
    # Rows of the negatives n: a third class is a negative of both the anchor and n.
    similarity_to_n = torch.where(pairs.negative[n] & pairs.negative, similarity[n], ABSENT)
    highest, k = similarity_to_n.max(dim=1)
    return p, n, k, (highest > ABSENT).to(similarity.dtype)
