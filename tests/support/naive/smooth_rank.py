"""Plain loops of the ranking losses, and average precision itself."""

import torch

from support.naive import mean
from support.naive.pairwise import over


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def fast_ap(s, labels, bins):
    width = 4 / bins

    def soft(values, node):
        return sum((torch.clamp(1 - abs(2 - 2 * x - node * width) / width, min=0) for x in values), torch.zeros(()))

    def of_one(p, n):
        total = 0.0 * p[0]
        for k in range(bins + 1):
            above = sum(soft(p, j) for j in range(k + 1))
            all_ = above + sum(soft(n, j) for j in range(k + 1))
            if all_ > 0:
                total = total + soft(p, k) * above / all_
        return 1 - total / len(p)

    return over(s, labels, of_one)


def precision_loss(p, n, above_p, above_n):
    """Return 1 - AP of one anchor, given two functions that count how much a difference counts as above."""
    terms = []
    for i, x in enumerate(p):
        rank_p = 1 + sum(above_p(y - x) for j, y in enumerate(p) if j != i)
        terms.append(rank_p / (rank_p + sum(above_n(y - x) for y in n)))
    return 1 - mean(terms)


def smooth_ap(s, labels, temperature, count_query=False):
    def step(x):
        return sigmoid(x / temperature)

    return over(s, labels, lambda p, n: precision_loss([*p, 1 + 0 * p[0]] if count_query else p, n, step, step))


def pnp(s, labels, temperature, f, count_query=False):
    """Return the mean of f(the smooth number of negatives before a positive)."""

    def of_one(p, n):
        p = [*p, 1 + 0 * p[0]] if count_query else p
        return mean([f(sum(sigmoid((y - x) / temperature) for y in n)) for x in p])

    return over(s, labels, of_one)


def sup_ap(s, labels, temperature, rho, offset, delta, start=0.0):
    def bound(x):
        if x > delta:
            return rho * (x - start) + offset
        return sigmoid(x / temperature) + (0.5 if x > 0 else 0.0)

    return over(s, labels, lambda p, n: precision_loss(p, n, lambda x: float(x.detach() >= 0), bound))


def exact_ap_loss(s, labels):
    """Return 1 - mean AP by sorting."""

    def of_one(p, n):
        order = sorted([(-float(x), True) for x in p] + [(-float(x), False) for x in n])
        hits = [right for _, right in order]
        precision = sum(sum(hits[: i + 1]) / (i + 1) for i, h in enumerate(hits) if h) / len(p)
        return torch.tensor(1 - precision, dtype=torch.float64)

    return over(s, labels, of_one)


def recall_at_k(s, labels, k, rank_temperature, similarity_temperature, count_query):
    def of_one(p, n):
        recalls = []
        for top in k:
            inside = []
            for i, x in enumerate(p):
                others = [y for j, y in enumerate(p) if j != i] + n
                rank = 1 + count_query + sum(sigmoid((y - x) / similarity_temperature) for y in others)
                inside.append(sigmoid((top - rank) / rank_temperature))
            recalls.append(sum(inside) / min(top, len(p)))
        return 1 - mean(recalls)

    return over(s, labels, of_one)
