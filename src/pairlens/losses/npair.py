"""N-pair loss."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pairlens.core.inputs import as_batch
from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.core.similarity import self_cosine, working_precision
from pairlens.losses.base import PairWeights, Side, Source, mean_over_anchors
from pairlens.losses.ntxent import NTXent


@dataclass(frozen=True)
class NPair:
    """N-pair loss: NT-Xent on inner products of unnormalised embeddings, plus a penalty on their length.

    L = mean over anchors of mean_p log(1 + Σ_n e^{f_a·f_n - f_a·f_p}) + λ mean |f|².

    It is a function of the embeddings, because it depends on their length. The pair weights, by inner products, are those
    of NT-Xent with t = 1.

    Source: Sohn, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective", NIPS 2016, equation 7. A
    batch of the paper holds two photos per class; with more, every positive counts. λ = 0.005 is the paper's 0.02 times
    the 0.25 of its code (as noted in Confusezius/Revisiting_Deep_Metric_Learning_PyTorch). pytorch-metric-learning
    normalises the embeddings by default and takes one pair per class.

    Attributes:
        penalty: λ, the weight of the squared length.

    >>> import torch
    >>> NPair(penalty=0.0).of_embeddings(torch.zeros(3, 2), torch.tensor([0, 0, 1]))  # log 2
    tensor(0.6931)
    """

    references: ClassVar[tuple[Source, ...]] = ("batch",)
    penalty: float = 0.005

    def __post_init__(self) -> None:
        require(
            0 <= self.penalty < math.inf,
            f"the penalty {self.penalty} of N-pair loss must not be negative; use 0 or more",
        )

    def of_embeddings(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of (photo, dim) embeddings of any length and (photo,) labels."""
        embeddings, labels = as_batch(embeddings, labels)
        vectors = working_precision(embeddings)
        if not len(vectors):
            return vectors.sum()
        # Of vectors that are not of unit length, `self_cosine` gives the inner products.
        pair_loss = mean_over_anchors(self.weigh, self_cosine(vectors), Pairs.within(labels))
        return pair_loss + self.penalty * (vectors**2).sum(dim=1).mean()

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor, given inner products instead of similarities."""
        # The length of the embeddings, which is learned, does what a temperature does elsewhere.
        return NTXent(temperature=1.0).weigh(positive, negative)
