"""Threshold consistency: how much the result of one similarity threshold differs between classes (OPIS)."""

import torch
from torch import Tensor

from pairlens.evaluation.pair_scores import PairScores

# The calibration range: the thresholds between these two false accept rates.
FALSE_ACCEPT_RATES = (0.01, 0.1)
THRESHOLDS = 101
# Cosines are rounded to multiples of 1/GRID. So copies of one photo have equal scores, although the products of their
# vectors may be rounded differently, and the numbers of pairs above a threshold are exact integers.
GRID = 2**15


def opis(pairs: PairScores) -> Tensor:
    """Return for each class its mean squared deviation from the mean utility; the mean over the classes is OPIS.

    OPIS = (1/T) Σ_i mean_t (U_i(t) - Ū(t))², with T classes and Ū(t) the mean of U_i(t) over the classes. The utility
    U_i(t) = 2 φ ψ / (φ + ψ) of class i is the harmonic mean of its specificity φ (share of the negative pairs of its
    queries with s < t) and its sensitivity ψ (share of their positive pairs with s ≥ t). The thresholds t are 101 equally
    spaced cosines between those at which the false accept rate of all negative pairs is 10 % and 1 %; each is the lowest
    one that does not exceed that rate. 0 is best: every class has the same utility at every threshold. With one class, or
    without a negative pair, OPIS is 0.

    Source: Zhang et al., "Threshold-Consistent Margin Loss for Open-World Deep Metric Learning", ICLR 2024, arXiv
    2307.04047. The utility, the two rates and the mean of squared deviations were checked against another project's
    description of the formula, which agrees, and not against the paper's own text. The thresholds of the paper are
    distances. Here they are equally spaced in cosine, so in squared Euclidean distance; equal steps of the distance itself
    would weigh the strict thresholds more. Their number and the grid of 2^-15 are those of Pairlens.

    Args:
        pairs: the scores.

    Returns:
        (class,) float64, in the order of `pairs.classes`.
    """
    thresholds = _calibration_thresholds(pairs)
    if thresholds is None:
        return torch.zeros(len(pairs.classes), dtype=torch.float64, device=pairs.queries.device)
    utility = _utility(pairs, thresholds)  # (class, threshold)
    return (utility - utility.mean(dim=0)).square().mean(dim=1)


def _calibration_thresholds(pairs: PairScores) -> Tensor | None:
    """Return (threshold,) increasing multiples of 1/GRID as integers; None without a negative pair."""
    # Score -1 is counted at position 0, and score 1 at position 2 GRID.
    counts = torch.zeros(2 * GRID + 1, dtype=torch.int64, device=pairs.queries.device)
    for chunk in pairs.chunks():
        # Nearly all pairs are negative, and counting all but the few others is faster than selecting the negative ones.
        counts += _histogram(chunk.scores) - _histogram(chunk.scores[~chunk.negative])
    counts = pairs.total(counts)
    total = int(counts.sum())
    if not total:
        return None
    # (position,): the number of negative pairs with this score or a higher one, which decreases along the positions.
    accepted = counts.flip(0).cumsum(0).flip(0)
    high, low = (int((accepted > rate * total).sum()) - GRID for rate in FALSE_ACCEPT_RATES)
    steps = torch.arange(THRESHOLDS, device=counts.device)
    return low + (high - low) * steps // (THRESHOLDS - 1)


def _utility(pairs: PairScores, thresholds: Tensor) -> Tensor:
    """Return the (class, threshold) utility: the harmonic mean of sensitivity and specificity."""
    classes, bins = len(pairs.classes), len(thresholds) + 1
    # (positive or negative, class, number of thresholds that a pair reaches), and the number of all pairs.
    counts = torch.zeros(2, classes, bins, dtype=torch.int64, device=thresholds.device)
    totals = torch.zeros(2, classes, dtype=torch.int64, device=thresholds.device)
    for chunk in pairs.chunks():
        # Only about a tenth of the pairs reach a threshold. The others are not looked at one by one.
        near = chunk.scores > (int(thresholds[0]) - 1) / GRID  # (query, item)
        reached = torch.bucketize(_rounded(chunk.scores[near]), thresholds.int(), right=True)  # (near pair,)
        cell = chunk.class_of_query.repeat_interleave(near.sum(dim=1)) * bins + reached
        for kind, mask in enumerate((chunk.positive, chunk.negative)):
            counts[kind] += torch.bincount(cell[mask[near]], minlength=classes * bins).view(classes, bins)
            totals[kind].index_add_(0, chunk.class_of_query, mask.sum(dim=1))
    counts, totals = pairs.total(counts), pairs.total(totals)
    # A pair that reaches j thresholds is accepted at the lowest j of them.
    accepted = counts.flip(2).cumsum(2).flip(2)[..., 1:].double()  # (kind, class, threshold)
    sensitivity, false_accepts = accepted / totals[..., None]
    specificity = 1 - false_accepts
    # A class whose sensitivity and specificity are both 0 has utility 0, not NaN.
    return 2 * sensitivity * specificity / (sensitivity + specificity).clamp(min=1e-300)


def _rounded(scores: Tensor) -> Tensor:
    # Rounding makes some products slightly larger than 1. In float32 these integers are exact.
    return (scores * GRID).round_().clamp_(-GRID, GRID).int()


def _histogram(scores: Tensor) -> Tensor:
    return torch.bincount(_rounded(scores).flatten() + GRID, minlength=2 * GRID + 1)
