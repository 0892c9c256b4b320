"""Signal-to-noise ratio contrastive loss."""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from pairlens.core.inputs import as_batch
from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.core.similarity import cosine, working_precision
from pairlens.losses.averaging import LATER, Average, check_average
from pairlens.losses.base import PairWeights, Side, Source, mean_over_anchors
from pairlens.losses.reductions import mean_over
from pairlens.losses.tuning_space import Range


@dataclass(frozen=True)
class SNRContrastive:
    """Contrastive loss on the noise-to-signal ratio of two embeddings.

    d_ij = var(f_i - f_j) / var(f_i), variances over the coordinates;
    L = mean over anchors of mean [d_p - m_p]₊ + mean [m_n - d_n]₊, each mean over the pairs that violate,
    + λ mean_i |Σ_k f_ik|.

    It is a function of the embeddings, because it depends on the variance and the sum of their coordinates. Weights by d:
    1 over the number of violating pairs of the side.

    Source: Yuan et al., "Signal-to-Noise Ratio: A Robust Distance Metric for Deep Metric Learning", CVPR 2019, arXiv
    1904.02616, equations 5 and 7. The margins 0 and 1 and λ = 0.1 are those of pytorch-metric-learning's example, which
    averages over the violating pairs of the batch, as `average="pair"` does, and adds the penalty by a separate
    regulariser. It also counts the negatives of photos without a positive, which are left out here.

    Attributes:
        positive_margin: m_p, in units of d.
        negative_margin: m_n, in units of d.
        penalty: λ, the weight of the penalty that pulls the sum of the coordinates to 0.
        average: "anchor", or "pair" for the mean over the violating pairs of the batch: large classes count more.

    >>> embeddings = torch.tensor([[1.0, -1.0], [1.0, -1.0], [1.0, -1.0]])  # all at distance 0
    >>> SNRContrastive().of_embeddings(embeddings, torch.tensor([0, 0, 1]))
    tensor(1.)
    """

    references: ClassVar[tuple[Source, ...]] = ("batch",)
    space: ClassVar[dict[str, Range]] = {"negative_margin": Range(0.2, 1.5)}
    positive_margin: float = 0.0
    negative_margin: float = 1.0
    penalty: float = 0.1
    average: Average = field(default="anchor", metadata=LATER)

    def __post_init__(self) -> None:
        check_average(self.average, "SNR contrastive loss")
        for name in ("positive_margin", "negative_margin", "penalty"):
            value = getattr(self, name)
            require(
                0 <= value < math.inf, f"{name} {value} of SNR contrastive loss must not be negative; use 0 or more"
            )

    def of_embeddings(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of (photo, dim) embeddings of any length and (photo,) labels."""
        embeddings, labels = as_batch(embeddings, labels)
        vectors = working_precision(embeddings)
        if not len(vectors):
            return vectors.sum()
        centered = vectors - vectors.mean(dim=1, keepdim=True)
        power = (centered**2).sum(dim=1, keepdim=True)  # (photo, 1) variance times dim; the factor cancels in d
        # An embedding whose coordinates are all equal has no variance.
        signal = power.clamp(min=1e-12)
        one = torch.ones_like(power)
        # -d = (2 f_i·f_j - |f_i|² - |f_j|²) / |f_i|² is an inner product of vectors with two more coordinates, so all of
        # them are one matrix product: (photo, dim + 2) · (dim + 2, photo).
        anchors = torch.cat([2 * centered / signal, -power / signal, -one / signal], dim=1)
        references = torch.cat([centered, one, power], dim=1)
        nearness = cosine(anchors, references)  # (photo, photo) -d
        average = self._mean_over_pairs if self.average == "pair" else partial(mean_over_anchors, self.weigh)
        pair_loss = average(nearness, Pairs.within(labels))
        return pair_loss + self.penalty * vectors.sum(dim=1).abs().mean()

    def _mean_over_pairs(self, nearness: Tensor, pairs: Pairs) -> Tensor:
        """Return the mean over the violating positives of the batch plus that over its violating negatives."""
        counted = pairs.complete[:, None]
        far = -nearness - self.positive_margin
        near = self.negative_margin + nearness
        violating_n = pairs.negative & counted & (near > 0)
        return mean_over(far, pairs.positive & counted & (far > 0)) + mean_over(near, violating_n)

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor, given -d instead of similarities."""
        far = positive.masked((-positive.similarity - self.positive_margin).relu())
        near = negative.masked((self.negative_margin + negative.similarity).relu())
        w_p = _even_weights(far)
        w_n = _even_weights(near)
        value = (far * w_p).sum(dim=1, keepdim=True) + (near * w_n).sum(dim=1, keepdim=True)
        return PairWeights(value, w_p, w_n)


def _even_weights(excess: Tensor) -> Tensor:
    """Return (anchor, slot) equal weights with sum 1 over the pairs that violate their margin."""
    violates = excess.sign()
    return violates / violates.sum(dim=1, keepdim=True).clamp(min=1)
