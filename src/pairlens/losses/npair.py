"""N-pair loss."""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias, get_args

from torch import Tensor

from pairlens.core.inputs import as_batch
from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.core.similarity import cosine, self_cosine, working_precision
from pairlens.losses.averaging import LATER
from pairlens.losses.base import PairWeights, Side, Source, mean_over_anchors
from pairlens.losses.ntxent import against_negatives
from pairlens.losses.photo_pairs import pair_up

Negatives: TypeAlias = Literal["all", "positives"]


@dataclass(frozen=True)
class NPair:
    """N-pair loss: NT-Xent on inner products of unnormalised embeddings, plus a penalty on their length.

    L = mean over anchors of mean_p log(1 + Σ_n e^{f_a·f_n - f_a·f_p}) + λ mean |f|².

    It is a function of the embeddings, because it depends on their length. The pair weights, by inner products, are those
    of NT-Xent with t = 1.

    Source: Sohn, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective", NIPS 2016. Equation 7 is
    `negatives="positives"`: a batch holds an anchor and a positive of each class, and the negatives of an anchor are the
    positives of the other classes only. With four photos per class the batch is two such batches, and so on (`pair_up`).
    The default is the same function over all photos: each is an anchor, every photo of its class a positive and every
    other photo a negative. λ = 0.005 is the paper's 0.02 times the 0.25 of its code (as noted in
    Confusezius/Revisiting_Deep_Metric_Learning_PyTorch). pytorch-metric-learning has equation 7 with the first pair of
    each class; it normalises the embeddings by default.

    Attributes:
        penalty: λ, the weight of the squared length.
        negatives: "all" photos of other classes, or only the "positives" of their anchors, as in equation 7.

    >>> import torch
    >>> NPair(penalty=0.0).of_embeddings(torch.zeros(3, 2), torch.tensor([0, 0, 1]))  # log 2
    tensor(0.6931)
    """

    references: ClassVar[tuple[Source, ...]] = ("batch",)
    penalty: float = 0.005
    negatives: Negatives = field(default="all", metadata=LATER)

    def __post_init__(self) -> None:
        require(
            0 <= self.penalty < math.inf,
            f"the penalty {self.penalty} of N-pair loss must not be negative; use 0 or more",
        )
        known = get_args(Negatives)
        require(
            self.negatives in known,
            f"the negatives {self.negatives!r} of N-pair loss are unknown; use {' or '.join(known)}",
        )

    def of_embeddings(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of (photo, dim) embeddings of any length and (photo,) labels."""
        embeddings, labels = as_batch(embeddings, labels)
        vectors = working_precision(embeddings)
        if not len(vectors):
            return vectors.sum()
        # Of vectors that are not of unit length, `self_cosine` and `cosine` give the inner products.
        if self.negatives == "all":
            products = self_cosine(vectors)
            # The squared lengths are on the diagonal, where they have fewer elements than the vectors.
            return (
                mean_over_anchors(self.weigh, products, Pairs.within(labels))
                + self.penalty * products.diagonal().mean()
            )
        paired = pair_up(labels)
        products = cosine(vectors.index_select(0, paired.first), vectors.index_select(0, paired.second))
        loss = mean_over_anchors(self.weigh, products, paired.meetings)
        return loss + self.penalty / len(vectors) * (vectors * vectors).sum()

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        """Return the loss and the pair weights of each anchor, given inner products instead of similarities."""
        # The length of the embeddings, which is learned, does what a temperature does elsewhere.
        return PairWeights(*against_negatives(positive, negative, positive.similarity, 1.0))
