"""The miner that keeps one positive and one negative of each anchor, each by a strategy of its own."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.core.similarity import distance
from pairlens.losses.base import Side
from pairlens.losses.loss_inputs import as_similarity
from pairlens.losses.reductions import ABSENT

Strategy: TypeAlias = Literal["easy", "semi_hard", "hard", "all"]


@dataclass(frozen=True)
class BatchEasyHard:
    """Keep one positive and one negative of each anchor: the easiest, the hardest or a semi-hard one.

    Easy is the nearest positive and the farthest negative; hard is the farthest positive and the nearest negative. A
    semi-hard negative is the nearest that is farther than the chosen positive, and a semi-hard positive the farthest that is
    nearer than the chosen negative. An anchor that lacks one of the two keeps nothing. With "all", every pair of that side
    is kept, and the sides are chosen independently. Pairs that tie are all kept.

    Source: Xuan, Stylianou, Pless, "Improved Embeddings with Easy Positive Triplet Mining", WACV 2020, arXiv 1904.04370;
    the strategies and defaults of BatchEasyHardMiner of pytorch-metric-learning, which does not apply a range with "all".

    Attributes:
        positive: strategy of the positives.
        negative: strategy of the negatives.
        positive_range: least and greatest distance of a positive that is kept.
        negative_range: least and greatest distance of a negative that is kept.

    >>> similarity = torch.tensor([[0.9, 0.5, 0.95, 0.7, 0.1]])
    >>> BatchEasyHard()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 0, 1, 1, 1]))).negative
    tensor([[False, False, False,  True, False]])
    """

    positive: Strategy = "easy"
    negative: Strategy = "semi_hard"
    positive_range: tuple[float, float] = (0.0, 2.0)
    negative_range: tuple[float, float] = (0.0, 2.0)

    def __post_init__(self) -> None:
        both = (self.positive, self.negative)
        known = get_args(Strategy)
        require(
            all(s in known for s in both), f"the strategies {both} of mining are not all known; use {', '.join(known)}"
        )
        require(
            "semi_hard" not in both or not {"all", "semi_hard"}.intersection(_others(both)),
            f"the strategies {both} do not fit: semi_hard needs a single pair of the other side; use easy or hard there",
        )
        for name in ("positive_range", "negative_range"):
            low, high = getattr(self, name)
            require(0 <= low <= high <= 2, f"{name} {low} to {high} of mining must satisfy 0 <= least <= greatest <= 2")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Pairs:
        """Return the selected pairs."""
        similarity = as_similarity(similarity, pairs)
        if not similarity.numel():
            return pairs
        d = distance(similarity)
        positive = pairs.positive & _within(d, self.positive_range)
        negative = pairs.negative & _within(d, self.negative_range)
        # The semi-hard side is chosen last, because it depends on the pair of the other side.
        if self.positive == "semi_hard":
            negative, bound = _extreme(d, negative, self.negative != "easy")
            positive, _ = _extreme(d, positive & (d < bound), False)
        else:
            bound = torch.full_like(d[:, :1], ABSENT)
            if self.positive != "all":
                positive, bound = _extreme(d, positive, self.positive == "easy")
            if self.negative == "semi_hard":
                negative = negative & (d > bound)
            if self.negative != "all":
                negative, _ = _extreme(d, negative, self.negative != "easy")
        found = Pairs(positive, negative)
        if "all" in (self.positive, self.negative):
            return found
        both = found.complete[:, None]  # (anchor, 1)
        return Pairs(positive & both, negative & both)


def _others(strategies: tuple[Strategy, Strategy]) -> set[Strategy]:
    """Return the strategies of the sides that stand beside a semi-hard one."""
    return {other for one, other in (strategies, strategies[::-1]) if one == "semi_hard"}


def _within(d: Tensor, limits: tuple[float, float]) -> Tensor:
    return (d >= limits[0]) & (d <= limits[1])


def _extreme(d: Tensor, mask: Tensor, nearest: bool) -> tuple[Tensor, Tensor]:
    """Return the nearest or farthest pair of the mask in each row, (anchor, reference), and its (anchor, 1) distance."""
    side = Side(d, mask)
    extreme = side.lowest(d) if nearest else side.highest(d)
    return mask & (d == extreme), extreme
