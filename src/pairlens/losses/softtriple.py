"""SoftTriple loss."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pairlens.core.pairs import Pairs
from pairlens.core.records import require
from pairlens.core.similarity import cosine, distance
from pairlens.losses.base import Source
from pairlens.losses.loss_inputs import as_similarity
from pairlens.losses.reductions import mean_over
from pairlens.losses.tuning_space import Range


@dataclass(frozen=True)
class SoftTriple:
    """SoftTriple loss: a softmax over classes, each with several learned centres.

    S_c = Σ_k q_k s_ck  with  q = softmax_k(s_ck / γ);
    L = mean over anchors of -log softmax_y( λ (S_c - δ 1[c = y]) )  +  τ R,
    R = Σ_c Σ_{t<k} √(2 - 2 w_ct · w_ck) / (C K (K - 1)), which pulls the centres of a class together.

    It needs `Proxies` references with `centers` centres per class. R is a function of the centres alone (`penalty`), and
    the criterion adds it. Weights: dL/dS_c = λ (p_c - 1[c = y]); dS/ds_k = q_k (1 + (s_k - S) / γ).

    Source: Qian et al., "SoftTriple Loss", ICCV 2019, arXiv 1909.05235, equations 6 to 9; defaults of its official
    code, where the learning rate is 1e-2 for the centres and 1e-4 for the network. That code names the arguments la,
    gamma, tau, margin and uses gamma as the inverse of its argument; here γ is the paper's. R is computed class by class,
    without a (C K)² matrix.

    Attributes:
        centers: K, centres per class.
        lam: λ, the scale of the class logits.
        gamma: γ, the temperature of the assignment to centres.
        tau: τ, the weight of the penalty.
        delta: δ, the margin in units of similarity.

    >>> similarity = torch.tensor([[1.0, 1.0, 0.0, 0.0]])  # two classes of two centres
    >>> pairs = Pairs.between(torch.tensor([0]), torch.tensor([0, 0, 1, 1]))
    >>> SoftTriple(centers=2, lam=1.0, delta=0.0)(similarity, pairs)
    tensor(0.3133)
    """

    references: ClassVar[tuple[Source, ...]] = ("proxies",)
    space: ClassVar[dict[str, Range]] = {
        "lam": Range(5, 80, log=True),
        "gamma": Range(0.03, 0.5, log=True),
        "delta": Range(0.0, 0.3),
    }
    centers: int = 10
    lam: float = 20.0
    gamma: float = 0.1
    tau: float = 0.2
    delta: float = 0.01

    def __post_init__(self) -> None:
        require(self.centers >= 1, f"centers {self.centers} of SoftTriple must be at least 1")
        for name in ("lam", "gamma"):
            value = getattr(self, name)
            require(0 < value < math.inf, f"{name} {value} of SoftTriple is a scale; use a value above 0")
        for name in ("tau", "delta"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"{name} {value} of SoftTriple must not be negative; use 0 or more")

    def __call__(self, similarity: Tensor, pairs: Pairs) -> Tensor:
        """Return the loss, without its penalty, of (anchor, class · centre) cosine similarities, class by class."""
        similarity = as_similarity(similarity, pairs)
        by_center = similarity.unflatten(1, (-1, self.centers))  # (anchor, class, centre)
        assignment = (by_center / self.gamma).softmax(dim=2)
        by_class = (assignment * by_center).sum(dim=2)  # (anchor, class) S_c
        # All centres of a class have the same mask, so the first one is the mask of the class; 1 at the own class.
        own_class = pairs.positive.unflatten(1, (-1, self.centers))[:, :, 0].to(by_class.dtype)
        log_probability = F.log_softmax(self.lam * (by_class - self.delta * own_class), dim=1)
        return mean_over(-(log_probability * own_class).sum(dim=1), pairs.complete)

    def penalty(self, centers: Tensor) -> Tensor:
        """Return τ R of (class, centre, dim) unit vectors; 0 where a class has a single centre."""
        classes, k, _ = centers.shape
        # Each pair of centres once; distances is (class, pair of centres).
        first, second = torch.triu_indices(k, k, offset=1, device=centers.device)
        distances = distance(cosine(centers, centers)[:, first, second])
        return self.tau * distances.sum() / max(classes * k * (k - 1), 1)
