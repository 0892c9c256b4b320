"""Signal-to-noise ratio contrastive loss."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.core.similarity import cosine, working_precision
from pairlens.losses.base import PairWeights, Side, Source, over_anchors


@dataclass(frozen=True)
class SNRContrastive:
    """Contrastive loss on the noise-to-signal ratio of two embeddings.

    d_ij = var(f_i - f_j) / var(f_i), variances over the coordinates;
    L = mean over anchors of mean [d_p - m_p]₊ + mean [m_n - d_n]₊, each mean over the pairs that violate,
    + λ mean_i |Σ_k f_ik|.

    It is a function of the embeddings, because variance and sum of their coordinates count. Weights on d: 1 over the
    number of violating pairs of the side.

    Source: Yuan et al., "Signal-to-Noise Ratio: A Robust Distance Metric for Deep Metric Learning", CVPR 2019, arXiv
    1904.02616, equations 5 and 7. The margins 0 and 1 and λ = 0.1 are those of pytorch-metric-learning's example, which
    averages over the violating pairs of the whole batch at once and needs the penalty as a regulariser beside the loss.

    Attributes:
        positive_margin: m_p.
        negative_margin: m_n.
        penalty: λ, which draws the sum of the coordinates to 0.

    >>> embeddings = torch.tensor([[1.0, -1.0], [1.0, -1.0], [1.0, -1.0]])  # all at distance 0
    >>> SNRContrastive().of_embeddings(embeddings, torch.tensor([0, 0, 1]))
    tensor(1.)
    """

    references: ClassVar[tuple[Source, ...]] = ("batch",)
    positive_margin: float = 0.0
    negative_margin: float = 1.0
    penalty: float = 0.1

    def __post_init__(self) -> None:
        for name in ("positive_margin", "negative_margin", "penalty"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"{name} {value} of SNR contrastive loss must not be negative")

    def of_embeddings(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of (photo, dim) embeddings of any length and (photo,) labels."""
        vectors = working_precision(embeddings)
        centered = vectors - vectors.mean(dim=1, keepdim=True)
        power = (centered**2).sum(dim=1, keepdim=True)
        signal = power.clamp(min=1e-12)
        one = torch.ones_like(power)
        # -d = (2 f_i·f_j - |f_i|² - |f_j|²) / |f_i|² is an inner product of longer vectors, so it is one matrix product.
        anchors = torch.cat([2 * centered / signal, -power / signal, -one / signal], dim=1)
        references = torch.cat([centered, one, power], dim=1)
        pairs = over_anchors(self.weigh, cosine(anchors, references), Pairs.within(labels))
        return pairs + self.penalty * vectors.sum(dim=1).abs().mean()

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor, the similarity being -d."""
        far = positive.keep((-positive.similarity - self.positive_margin).relu())
        near = negative.keep((self.negative_margin + negative.similarity).relu())
        w_p, w_n = far.sign(), near.sign()
        w_p, w_n = (w / w.sum(dim=1, keepdim=True).clamp(min=1) for w in (w_p, w_n))
        return PairWeights((far * w_p).sum(dim=1, keepdim=True) + (near * w_n).sum(dim=1, keepdim=True), w_p, w_n)
