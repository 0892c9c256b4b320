"""Variants of circle loss that are known from published code, so that an audit can name them; most of them are mistakes.

Each variant is written from its formula.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pairlens.core.pairs import Pairs
from pairlens.core.similarity import self_cosine, unit

Logits = tuple[Tensor, Tensor, Pairs]


@dataclass(frozen=True)
class KnownCircle:
    """A variant of circle loss.

    Attributes:
        name: what distinguishes the variant.
        wrong: whether it is a mistake; pooling is one way to read the paper.
        of: the loss as a function of (embeddings, labels, margin, gamma).
    """

    name: str
    wrong: bool
    of: Callable[[Tensor, Tensor, float, float], Tensor]


def _logits(embeddings: Tensor, labels: Tensor, m: float, g: float, *, attached: bool = False) -> Logits:
    """Return the (anchor, reference) exponents of positives and of negatives, of which only those of pairs are meant.

    In the paper the weights α are constant in the gradient; `attached` differentiates them as well.
    """
    s = self_cosine(unit(embeddings))
    s_in_weight = s if attached else s.detach()
    alpha_p = (1 + m - s_in_weight).relu()
    alpha_n = (s_in_weight + m).relu()
    return -g * alpha_p * (s - (1 - m)), g * alpha_n * (s - m), Pairs.within(labels)


def _logsumexp_per_anchor(logits: Tensor, mask: Tensor) -> Tensor:
    return logits.masked_fill(~mask, -torch.inf).logsumexp(dim=1)


def _per_anchor(logits: Logits) -> Tensor:
    p, n, pairs = logits
    # log(1 + Σ_n e^n Σ_p e^p) = softplus(log Σ_p e^p + log Σ_n e^n).
    return F.softplus(_logsumexp_per_anchor(p, pairs.positive) + _logsumexp_per_anchor(n, pairs.negative)).mean()


def _pooled(logits: Logits) -> Tensor:
    p, n, pairs = logits
    # Each pair counts once, not once per anchor.
    once = torch.ones_like(p, dtype=torch.bool).triu(1)
    return F.softplus(p[pairs.positive & once].logsumexp(0) + n[pairs.negative & once].logsumexp(0))


def _two_logarithms(logits: Logits) -> Tensor:
    p, n, pairs = logits
    return (
        F.softplus(_logsumexp_per_anchor(p, pairs.positive)) + F.softplus(_logsumexp_per_anchor(n, pairs.negative))
    ).mean()


def _sign_error(embeddings: Tensor, labels: Tensor, m: float, g: float) -> Tensor:
    s = self_cosine(unit(embeddings))
    pairs = Pairs.within(labels)
    # The paper has O_p - s and s - O_n, with O_p = 1 + m and O_n = -m.
    p = -g * (1 + m + s.detach()).relu() * (s - (1 - m))
    n = g * (-m + s.detach()).relu() * (s - m)
    return _pooled((p, n, pairs))


def _distances(embeddings: Tensor, labels: Tensor, m: float, g: float) -> Tensor:
    """Use distances in place of similarities, and let masked entries count: as distance 0, or beyond the farthest one."""
    x = unit(embeddings)
    pairs = Pairs.within(labels)
    d = (2 - 2 * x @ x.T).clamp(min=1e-12).sqrt() * (1 - torch.eye(len(x), dtype=x.dtype, device=x.device))
    # The mistake: a masked entry should have no part in the sum, but e^p of a distance of 0 is not 0.
    s_p = torch.where(pairs.positive, d, 0.0)
    s_n = torch.where(pairs.negative, d, d + d.amax(dim=1, keepdim=True))
    p = -g * (1 + m - s_p).relu() * (s_p - (1 - m))
    n = g * (s_n + m).relu() * (s_n - m)
    return F.softplus(p.logsumexp(dim=0) + n.logsumexp(dim=0)).mean()


def circle_of_distances(embeddings: Tensor, labels: Tensor, margin: float = 0.1, gamma: float = 10.0) -> Tensor:
    """Return the circle loss of the project that Pairlens starts from, with its settings; it is not circle loss.

    It uses distances in place of similarities, and masked entries count as pairs. It can be trained, to see how it
    differs from circle loss: `pairlens compare --losses circle
    "pairlens.analysis.circle_variants:circle_of_distances as first circle"`.

    >>> float(circle_of_distances(torch.eye(4), torch.tensor([0, 0, 1, 1]))) > 10
    True
    """
    return _distances(embeddings, labels, margin, gamma)


KNOWN_CIRCLES = (
    KnownCircle("circle loss as its paper defines it, per anchor", False, lambda *a: _per_anchor(_logits(*a))),
    KnownCircle("all pairs of the batch pooled in one logarithm", False, lambda *a: _pooled(_logits(*a))),
    KnownCircle(
        "weights not held constant in the gradient, per anchor",
        True,
        lambda *a: _per_anchor(_logits(*a, attached=True)),
    ),
    KnownCircle(
        "weights not held constant in the gradient, all pairs pooled",
        True,
        lambda *a: _pooled(_logits(*a, attached=True)),
    ),
    KnownCircle(
        "a sum of two logarithms in place of one, weights held constant",
        True,
        lambda *a: _two_logarithms(_logits(*a)),
    ),
    KnownCircle(
        "a sum of two logarithms in place of one, weights not held constant",
        True,
        lambda *a: _two_logarithms(_logits(*a, attached=True)),
    ),
    KnownCircle("a sign error in the weights (O + s for O - s), all pairs pooled", True, _sign_error),
    KnownCircle("distances in place of similarities, with what is masked counted as pairs", True, _distances),
)
