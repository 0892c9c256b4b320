"""VICReg: variance, invariance and covariance regularisation."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pairlens.core.inputs import as_batch
from pairlens.core.records import require
from pairlens.core.similarity import self_cosine, working_precision
from pairlens.losses.base import Source
from pairlens.losses.photo_pairs import pair_up
from pairlens.losses.tuning_space import Range

# Added to the variance, so that the root has a finite gradient where a coordinate does not vary.
EPSILON = 1e-4
WEIGHT = Range(1, 100, log=True)


@dataclass(frozen=True)
class VICReg:
    """VICReg: two photos of a class have the same embedding, while each coordinate varies and no two are correlated.

    L = λ mean |z - z'|² / D + μ/2 [v(Z) + v(Z')] + ν [c(Z) + c(Z')] over N pairs (z, z') of the batch, with
    v(Z) = mean over coordinates of [1 - √(variance + 1e-4)]₊ and c(Z) = 1/D times the sum of the squared covariances of
    two different coordinates.

    It is a function of the embeddings, and has no negatives: the variance keeps the photos apart. The photos of a class
    are taken two by two, in the order of the batch (`pair_up`), where the paper has two views of one photo. Training gives
    it embeddings of any length, because not every coordinate of unit vectors can have the variance 1.

    Source: Bardes, Ponce, LeCun, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning",
    ICLR 2022, arXiv 2105.04906, equations 1 to 6: λ = μ = 25, ν = 1. The factor 1/2 of v is in its official code and in
    pytorch-metric-learning, not in its equation 6.

    Attributes:
        invariance: λ, the weight of the squared distance of the two photos.
        variance: μ, the weight of the variance.
        covariance: ν, the weight of the covariance.

    >>> import torch
    >>> embeddings = torch.tensor([[2.0, 2.0], [2.0, 2.0], [-2.0, 2.0], [-2.0, 2.0]])
    >>> labels = torch.tensor([0, 0, 1, 1])
    >>> VICReg().of_embeddings(embeddings, labels)  # the second coordinate does not vary: 25 · (1 - 0.01) / 2
    tensor(12.3750)
    """

    references: ClassVar[tuple[Source, ...]] = ("batch",)
    normalized: ClassVar[bool] = False
    space: ClassVar[dict[str, Range]] = {"invariance": WEIGHT, "variance": WEIGHT}
    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0

    def __post_init__(self) -> None:
        for name in ("invariance", "variance", "covariance"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"{name} {value} of VICReg is a weight; use 0 or more")

    def of_embeddings(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of (photo, dim) embeddings of any length and (photo,) labels; 0 without two photos of a class."""
        embeddings, labels = as_batch(embeddings, labels)
        vectors = working_precision(embeddings)
        pairs = pair_up(labels)
        paired = pairs.exists[:, None].to(vectors.dtype)  # (pair, 1) 0 where a row is no pair
        count = paired.sum()
        views = vectors[pairs.first], vectors[pairs.second]
        apart = ((views[0] - views[1]) ** 2 * paired).sum() / (count.clamp(min=1) * max(1, vectors.shape[1]))
        spread = self._spread(views[0], paired, count) + self._spread(views[1], paired, count)
        # Without a pair there is nothing to compare, and the variance of no photos would still count.
        return self.invariance * apart + (count > 0) * spread

    def _spread(self, view: Tensor, paired: Tensor, count: Tensor) -> Tensor:
        """Return the weighted variance and covariance terms of (pair, dim) embeddings."""
        dim = max(1, view.shape[1])
        freedom = (count - 1).clamp(min=1)
        centered = (view - (view * paired).sum(dim=0) / count.clamp(min=1)) * paired
        variance = (centered**2).sum(dim=0) / freedom
        hinge = (1 - (variance + EPSILON).sqrt()).relu().sum() / dim
        # The squared entries of Zᵀ Z and of Z Zᵀ have the same sum, so the smaller of the two products is computed. The
        # function for cosines keeps the precision under autocast, in the backward pass as well; it needs no unit length.
        product = self_cosine(centered if len(centered) < dim else centered.T)
        between = ((product**2).sum() / freedom**2 - (variance**2).sum()) / dim
        return self.variance / 2 * hinge + self.covariance * between
