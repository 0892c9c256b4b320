"""Miners that look at each pair by itself or at all pairs of the batch at once, and not at the pairs of one anchor."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.core.similarity import distance
from pairlens.losses.loss_inputs import as_similarity
from pairlens.losses.reductions import ABSENT

# The key of a pair is the number of its bin plus a random number below 1, which float32 resolves up to this number.
MAX_BINS = 10_000


@dataclass(frozen=True)
class PairMargin:
    """Keep the positives that are farther and the negatives that are nearer than a bound.

    Source: the pairs that contribute to the contrastive loss of Hadsell, Chopra, LeCun, CVPR 2006, with two margins;
    PairMarginMiner of pytorch-metric-learning, whose defaults these are.

    Attributes:
        positive_margin: positives farther than this are kept, in units of distance.
        negative_margin: negatives nearer than this are kept, in units of distance.

    >>> similarity = torch.tensor([[0.5, 0.99, 0.9, 0.1]])
    >>> PairMargin()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 0, 1, 1]))).positive
    tensor([[ True, False, False, False]])
    """

    positive_margin: float = 0.2
    negative_margin: float = 0.8

    def __post_init__(self) -> None:
        for name in ("positive_margin", "negative_margin"):
            value = getattr(self, name)
            require(0 <= value <= 2, f"{name} {value} of pair margin mining is a distance; use 0 to 2")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Pairs:
        """Return the selected pairs."""
        similarity = as_similarity(similarity, pairs)
        d = distance(similarity)
        return Pairs(pairs.positive & (d > self.positive_margin), pairs.negative & (d < self.negative_margin))


@dataclass(frozen=True)
class HardestFraction:
    """Keep the hardest share of all positive pairs of the batch, and the hardest share of all its negative pairs.

    The farthest positives and the nearest negatives are kept, whichever anchors they belong to. Pairs that tie for the last
    place are all kept.

    Source: Yuan, Yang, Zhang, "Hard-Aware Deeply Cascaded Embedding", ICCV 2017, arXiv 1611.05720, whose stages of a
    network get the hardest share that the stage before has left over; this is one stage, as HDCMiner of
    pytorch-metric-learning is.

    Attributes:
        fraction: the share, above 0 and up to 1; the number of pairs is rounded up.

    >>> similarity = torch.tensor([[0.9, 0.5, 0.1, 0.3]])
    >>> HardestFraction()(similarity, Pairs.between(torch.tensor([0]), torch.tensor([0, 0, 1, 1]))).positive
    tensor([[False,  True, False, False]])
    """

    fraction: float = 0.5

    def __post_init__(self) -> None:
        require(0 < self.fraction <= 1, f"the fraction {self.fraction} of pairs is a share; use above 0 and up to 1")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Pairs:
        """Return the selected pairs."""
        similarity = as_similarity(similarity, pairs)
        return Pairs(self._highest(-similarity, pairs.positive), self._highest(similarity, pairs.negative))

    def _highest(self, hardness: Tensor, mask: Tensor) -> Tensor:
        """Return the part of the mask, (anchor, reference), that has the highest hardness."""
        if not mask.numel():
            return mask
        ordered = torch.where(mask, hardness, ABSENT).flatten().sort(descending=True).values
        # In float64, so that a product that is a whole number is not rounded up to the next one.
        wanted = (mask.sum().double() * self.fraction).ceil().long().clamp(min=1)
        # `gather`, because an index that is a tensor without dimensions would be read back from a GPU.
        return mask & (hardness >= ordered.gather(0, wanted[None] - 1))


@dataclass(frozen=True)
class UniformHistogram:
    """Sample pairs whose distances are spread evenly between the smallest and the largest of the batch.

    The distances of the positive pairs are divided into bins of equal width, and from each bin as many pairs are drawn, or
    all of a bin that has fewer; likewise for the negative pairs. No pair is drawn twice. The random numbers are those of
    PyTorch's default generator, whose state a checkpoint holds.

    Source: UniformHistogramMiner of pytorch-metric-learning, with its defaults. It draws with replacement, so a bin with a
    single pair gives that pair as often as a full bin gives pairs.

    Attributes:
        bins: number of bins of the positive and of the negative pairs.
        per_bin: pairs that are drawn from each bin.

    >>> similarity = torch.tensor([[0.9, 0.1, 0.11, 0.8]])
    >>> pairs = Pairs.between(torch.tensor([0]), torch.tensor([0, 1, 1, 1]))
    >>> UniformHistogram(bins=2, per_bin=1)(similarity, pairs).negative.sum()
    tensor(2)
    """

    bins: int = 100
    per_bin: int = 10

    def __post_init__(self) -> None:
        require(1 <= self.bins <= MAX_BINS, f"bins {self.bins} of histogram mining must be 1 to {MAX_BINS}")
        require(1 <= self.per_bin < math.inf, f"per_bin {self.per_bin} of histogram mining must be at least 1")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Pairs:
        """Return the selected pairs."""
        similarity = as_similarity(similarity, pairs)
        d = distance(similarity)
        return Pairs(self._sample(d, pairs.positive), self._sample(d, pairs.negative))

    def _sample(self, d: Tensor, mask: Tensor) -> Tensor:
        """Return the sampled part of the mask, given (anchor, reference) distances."""
        if not mask.numel():
            return mask
        low = torch.where(mask, d, -ABSENT).amin()
        width = (torch.where(mask, d, ABSENT).amax() - low).clamp(min=1e-12) / self.bins
        # What is no pair lies in a bin of its own behind the others, so that it takes no place in theirs.
        number = torch.where(mask, ((d - low) / width).clamp(0, self.bins - 1).floor(), self.bins).flatten()
        order = (number.float() + torch.rand_like(number, dtype=torch.float32)).argsort()
        ordered = number[order]
        # The place of a pair in the random order of its bin: its place among all, less that of the first of its bin.
        place = torch.arange(len(order), device=order.device) - torch.searchsorted(ordered, ordered)
        kept = torch.zeros_like(mask).flatten().scatter(0, order, place < self.per_bin)
        return mask & kept.view_as(mask)
