"""Circle loss as it is known to be written wrongly, so that an audit can name what it meets.

Each is stated from its formula, after what is published of the code that has it (`reference/field.md`, section 4).
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
    """A way to write circle loss.

    Attributes:
        name: what is done.
        wrong: whether it is a mistake; pooling is a reading of the paper.
        of: the loss of (embeddings, labels, margin, gamma).
    """

    name: str
    wrong: bool
    of: Callable[[Tensor, Tensor, float, float], Tensor]


def _logits(embeddings: Tensor, labels: Tensor, m: float, g: float, *, attached: bool = False) -> Logits:
    s, pairs = self_cosine(unit(embeddings)), Pairs.within(labels)
    weigh = s if attached else s.detach()
    return -g * (1 + m - weigh).relu() * (s - (1 - m)), g * (weigh + m).relu() * (s - m), pairs


def _rows(logits: Tensor, mask: Tensor) -> Tensor:
    return logits.masked_fill(~mask, -torch.inf).logsumexp(dim=1)


def _per_anchor(logits: Logits) -> Tensor:
    p, n, pairs = logits
    return F.softplus(_rows(p, pairs.positive) + _rows(n, pairs.negative)).mean()


def _pooled(logits: Logits) -> Tensor:
    p, n, pairs = logits
    once = torch.ones_like(p, dtype=torch.bool).triu(1)
    return F.softplus(p[pairs.positive & once].logsumexp(0) + n[pairs.negative & once].logsumexp(0))


def _two_logarithms(logits: Logits) -> Tensor:
    p, n, pairs = logits
    return (F.softplus(_rows(p, pairs.positive)) + F.softplus(_rows(n, pairs.negative))).mean()


def _sign_error(embeddings: Tensor, labels: Tensor, m: float, g: float) -> Tensor:
    s, pairs = self_cosine(unit(embeddings)), Pairs.within(labels)
    p = -g * (1 + m + s.detach()).relu() * (s - (1 - m))
    n = g * (-m + s.detach()).relu() * (s - m)
    return _pooled((p, n, pairs))


def _distances(embeddings: Tensor, labels: Tensor, m: float, g: float) -> Tensor:
    """Distances where similarities belong; what is masked counts as distance 0, or as the farthest and more."""
    x, pairs = unit(embeddings), Pairs.within(labels)
    d = (2 - 2 * x @ x.T).clamp(min=1e-12).sqrt() * (1 - torch.eye(len(x), dtype=x.dtype, device=x.device))
    s_p = torch.where(pairs.positive, d, 0.0)
    s_n = torch.where(pairs.negative, d, d + d.amax(dim=1, keepdim=True))
    p = -g * (1 + m - s_p).relu() * (s_p - (1 - m))
    n = g * (s_n + m).relu() * (s_n - m)
    return F.softplus(p.logsumexp(dim=0) + n.logsumexp(dim=0)).mean()


def circle_of_distances(embeddings: Tensor, labels: Tensor, margin: float = 0.1, gamma: float = 10.0) -> Tensor:
    """Return circle loss as the project that Pairlens starts from wrote it, with that project's settings: not circle loss.

    It can be trained, so that what it learns from can be seen: `pairlens compare --losses circle
    "pairlens.analysis.circle_variants:circle_of_distances as first circle"`. Distances stand where similarities belong, and
    what is masked counts.

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
