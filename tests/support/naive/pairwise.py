"""Plain loops of the pairwise losses, as functions of a similarity matrix and a list of labels."""

import math

import torch

from support.naive import anchors, circle_of_one, mean


def dist(s):
    squared = 2 - 2 * s
    return torch.sqrt(squared) if squared > 0 else 0.0 * s


def measured(s, measure):
    return {"distance": dist, "squared": lambda x: 2 - 2 * x, "cosine": lambda x: 1 - x}[measure](s)


def hinge(x):
    return torch.clamp(x, min=0)


def softplus(x):
    return torch.log1p(torch.exp(-abs(x))) + hinge(x)


def log_sum(logits):
    shift = max(float(x.detach()) for x in logits)
    return shift + torch.log(sum(torch.exp(x - shift) for x in logits))


def over(similarity, labels, of_one):
    """Return the mean over anchors of of_one(similarities of positives, similarities of negatives)."""
    return mean(
        [of_one([similarity[a, p] for p in ps], [similarity[a, n] for n in ns]) for a, ps, ns in anchors(labels)]
    )


def averaged(terms, average):
    """Return the mean of lists of terms, one list per anchor: every anchor counts the same, or every term does."""
    return mean([mean(own) for own in terms]) if average == "anchor" else mean([x for own in terms for x in own])


def contrastive(s, labels, margin):
    return over(
        s, labels, lambda p, n: sum(dist(x) ** 2 / 2 for x in p) + sum(hinge(margin - dist(x)) ** 2 / 2 for x in n)
    )


def similarity_contrastive(s, labels, margin):
    return over(s, labels, lambda p, n: sum(1 - x for x in p) + sum(hinge(x - margin) for x in n))


def triplet(s, labels, margin, measure, soft):
    def of_one(p, n):
        gap = max(measured(x, measure) for x in p) - min(measured(x, measure) for x in n) + margin
        return softplus(gap) if soft else hinge(gap)

    return over(s, labels, of_one)


def all_triplets(s, labels, margin, measure, semi_hard, average="anchor"):
    def active(p, n):
        terms = []
        for d_p in (measured(x, measure) for x in p):
            for d_n in (measured(x, measure) for x in n):
                if d_p - d_n + margin > 0 and (d_p < d_n or not semi_hard):
                    terms.append(d_p - d_n + margin)
        return terms

    if average == "anchor":
        return over(s, labels, lambda p, n: mean(active(p, n)) + 0.0 * p[0])
    return mean([x for a, ps, ns in anchors(labels) for x in active([s[a, p] for p in ps], [s[a, n] for n in ns])])


def pooled_circle(s, labels, margin, gamma):
    groups = list(anchors(labels))
    p = [s[a, i] for a, ps, _ in groups for i in ps]
    n = [s[a, j] for a, _, ns in groups for j in ns]
    return circle_of_one(p, n, margin, gamma) if p and n else mean([])


def multi_similarity(s, labels, alpha, beta, lam, epsilon, mining):
    def of_one(p, n):
        low, high = min(p), max(n)
        if mining:
            p, n = [x for x in p if x < high + epsilon], [x for x in n if x > low - epsilon]
        if not p or not n:
            return 0.0 * low
        pull = torch.log(1 + sum(torch.exp(-alpha * (x - lam)) for x in p)) / alpha
        return pull + torch.log(1 + sum(torch.exp(beta * (x - lam)) for x in n)) / beta

    return over(s, labels, of_one)


def binomial(s, labels, alpha, beta, lam):
    return over(
        s,
        labels,
        lambda p, n: mean([softplus(alpha * (lam - x)) for x in p]) + mean([softplus(beta * (x - lam)) for x in n]),
    )


def lifted(s, labels, margin):
    groups = {a: (ps, ns) for a, ps, ns in anchors(labels)}
    terms = []
    for i, (ps, ns) in groups.items():
        for j in ps:
            if j > i:
                sums = [margin - dist(s[i, k]) for k in ns] + [margin - dist(s[j, k]) for k in groups[j][1]]
                terms.append(hinge(log_sum(sums) + dist(s[i, j])) ** 2 / 2)
    return mean(terms)


def generalized_lifted(s, labels, margin):
    return over(s, labels, lambda p, n: hinge(log_sum([dist(x) for x in p]) + log_sum([margin - dist(x) for x in n])))


def against_negatives(p, n, temperature):
    return [log_sum([x / temperature, *(y / temperature for y in n)]) - x / temperature for x in p]


def nt_xent(s, labels, temperature, average="anchor"):
    terms = [
        against_negatives([s[a, p] for p in ps], [s[a, n] for n in ns], temperature) for a, ps, ns in anchors(labels)
    ]
    return averaged(terms, average)


def nca(s, labels, scale):
    def of_one(p, n):
        near, far = (sum(torch.exp(-scale * (2 - 2 * x)) for x in side) for side in (p, n))
        return -torch.log(near / (near + far))

    return over(s, labels, of_one)


def sup_con(s, labels, temperature):
    def of_one(p, n):
        return mean([log_sum([y / temperature for y in [*p, *n]]) - x / temperature for x in p])

    return over(s, labels, of_one)


def tuplet_margin(s, labels, degrees, scale, average="anchor"):
    terms = []
    for a, ps, ns in anchors(labels):
        turned = [torch.cos(torch.acos(s[a, p]) - math.radians(degrees)) for p in ps]
        terms.append(against_negatives(turned, [s[a, n] for n in ns], 1 / scale))
    return averaged(terms, average)


def angular(s, labels, degrees, average="anchor"):
    t2 = math.tan(math.radians(degrees)) ** 2
    terms = []
    for a, ps, ns in anchors(labels):
        per_positive = []
        for p in ps:
            f = [4 * t2 * (s[a, n] + s[p, n]) - 2 * (1 + t2) * s[a, p] for n in ns]
            per_positive.append(log_sum([0.0 * f[0], *f]))
        terms.append(per_positive)
    return averaged(terms, average)


def ranked_list(s, labels, alpha, margin, t_positive, t_negative, lam):
    def weighted(excess, steepness):
        excess = [x for x in excess if x > 0]
        weights = [math.exp(steepness * float(x.detach())) for x in excess]
        return sum(w * x for w, x in zip(weights, excess, strict=True)) / sum(weights) if excess else 0.0

    def of_one(p, n):
        near = weighted([dist(x) - (alpha - margin) for x in p], t_positive)
        return (1 - lam) * near + lam * weighted([alpha - dist(x) for x in n], t_negative) + 0.0 * p[0]

    return over(s, labels, of_one)


def margin(s, labels, alpha, beta, nu):
    terms = []
    for a, ps, ns in anchors(labels):
        terms += [hinge(alpha + dist(s[a, p]) - beta) for p in ps]
        terms += [hinge(alpha - dist(s[a, n]) + beta) for n in ns]
    active = sum(1 for x in terms if x > 0)
    return sum(terms, torch.zeros(())) / max(active, 1) + nu * beta


def quadruplet(s, labels, first, second):
    terms = []
    for a, ps, ns in anchors(labels):
        p = min(ps, key=lambda i: float(s[a, i].detach()))
        n = max(ns, key=lambda i: float(s[a, i].detach()))
        value = hinge((2 - 2 * s[a, p]) - (2 - 2 * s[a, n]) + first)
        others = [k for k, label in enumerate(labels) if label not in (labels[a], labels[n])]
        if others:
            k = max(others, key=lambda i: float(s[n, i].detach()))
            value = value + hinge((2 - 2 * s[a, p]) - (2 - 2 * s[n, k]) + second)
        terms.append(value)
    return mean(terms)


def histogram(s, labels, nodes):
    step = 2 / (nodes - 1)

    def soft(values):
        return [mean([hinge(1 - abs(x - (-1 + r * step)) / step) for x in values]) for r in range(nodes)]

    groups = list(anchors(labels))
    if not groups:
        return mean([])
    h_p = soft([s[a, i] for a, ps, _ in groups for i in ps])
    h_n = soft([s[a, j] for a, _, ns in groups for j in ns])
    return sum(h_n[r] * sum(h_p[: r + 1]) for r in range(nodes))


def n_pair(points, labels, penalty):
    inner = points @ points.T
    return nt_xent(inner, labels, 1.0) + penalty * mean([sum(x**2 for x in point) for point in points])


def snr(points, labels, positive_margin, negative_margin, penalty, average="anchor"):
    def ratio(i, j):
        return torch.var(points[i] - points[j]) / torch.var(points[i])

    def violated(values):
        values = [x for x in values if x > 0]
        return mean(values) if values else torch.zeros(())

    far, near = [], []
    for a, ps, ns in anchors(labels):
        far.append([ratio(a, p) - positive_margin for p in ps])
        near.append([negative_margin - ratio(a, n) for n in ns])
    if average == "anchor":
        value = mean([violated(f) + violated(n) for f, n in zip(far, near, strict=True)])
    else:
        value = violated([x for own in far for x in own]) + violated([x for own in near for x in own])
    return value + penalty * mean([abs(sum(point)) for point in points])
