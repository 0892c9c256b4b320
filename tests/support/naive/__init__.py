"""Plain-loop twins of every formula, in float64: slow, obvious, and the reference for the fast implementations."""

import math

import torch


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def unit(vector):
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector] if length > 0 else list(vector)


def anchors(labels):
    """Yield (anchor, positives, negatives) of a batch paired with itself, where both sides exist."""
    for a, label in enumerate(labels):
        positives = [j for j, other in enumerate(labels) if j != a and other == label]
        negatives = [j for j, other in enumerate(labels) if other != label]
        if positives and negatives:
            yield a, positives, negatives


def mean(terms):
    return sum(terms) / len(terms) if terms else torch.zeros((), dtype=torch.float64)


def triplet(similarity, labels, margin):
    terms = []
    for a, positives, negatives in anchors(labels):
        farthest = max(torch.sqrt(2 - 2 * similarity[a, p]) for p in positives)
        nearest = min(torch.sqrt(2 - 2 * similarity[a, n]) for n in negatives)
        terms.append(torch.clamp(farthest - nearest + margin, min=0))
    return mean(terms)


def circle_of_one(positives, negatives, margin, gamma):
    """Return the circle loss of one anchor, log(1 + Σ over all its (negative, positive) pairs), shifted against overflow."""
    exponents = []
    for s_n in negatives:
        alpha_n = max(float(s_n.detach()) + margin, 0.0)
        for s_p in positives:
            alpha_p = max(1 + margin - float(s_p.detach()), 0.0)
            exponents.append(gamma * (alpha_n * (s_n - margin) - alpha_p * (s_p - (1 - margin))))
    shift = max(0.0, max(float(x.detach()) for x in exponents))
    return shift + torch.log(math.exp(-shift) + sum(torch.exp(x - shift) for x in exponents))


def circle(similarity, labels, margin, gamma):
    return mean(
        [
            circle_of_one([similarity[a, p] for p in positives], [similarity[a, n] for n in negatives], margin, gamma)
            for a, positives, negatives in anchors(labels)
        ]
    )


def circle_on_proxies(similarity, labels, margin, gamma):
    """Class-level circle loss: similarity[anchor, class]."""
    terms = []
    for a, label in enumerate(labels):
        others = [similarity[a, c] for c in range(similarity.shape[1]) if c != label]
        terms.append(circle_of_one([similarity[a, label]], others, margin, gamma))
    return mean(terms)


def soft_triple(embeddings, labels, centers, lam, gamma, tau, delta):
    """SoftTriple of (photo, dim) unit vectors and (class, centre, dim) unit centres, penalty included."""
    classes, k, _ = centers.shape
    terms = []
    for x, label in zip(embeddings, labels, strict=True):
        logits = []
        for c in range(classes):
            s = [torch.dot(x, centers[c, j]) for j in range(k)]
            weights = [torch.exp(value / gamma) for value in s]
            pooled = sum(w * value for w, value in zip(weights, s, strict=True)) / sum(weights)
            logits.append(lam * (pooled - (delta if c == label else 0.0)))
        terms.append(-torch.log(torch.exp(logits[label]) / sum(torch.exp(logit) for logit in logits)))
    penalty = 0.0
    for c in range(classes):
        for t in range(k):
            for s in range(t + 1, k):
                penalty = penalty + torch.sqrt(2 - 2 * torch.dot(centers[c, s], centers[c, t]))
    return mean(terms) + (tau * penalty / (classes * k * (k - 1)) if k > 1 else 0.0)


def ranking(query, items, itself):
    """Return item indices from nearest to farthest, equal scores by index, without the query itself."""
    scores = [(-cosine(query, item), j) for j, item in enumerate(items) if j != itself]
    return [j for _, j in sorted(scores)]


def metrics(queries, labels, items, item_labels, recalls, one_set):
    """Return the mean of every metric over the queries that have a relevant item, and the number of those that have none."""
    sums, counted, excluded = {}, 0, 0
    for q, (query, label) in enumerate(zip(queries, labels, strict=True)):
        itself = q if one_set else None
        right = sum(1 for j, other in enumerate(item_labels) if other == label and j != itself)
        if right == 0:
            excluded += 1
            continue
        counted += 1
        hits = [item_labels[j] == label for j in ranking(query, items, itself)]
        values = {}
        for k in recalls:
            values[f"R@{k}"] = float(any(hits[:k]))
            values[f"P@{k}"] = sum(hits[:k]) / k
        values["R-Precision"] = sum(hits[:right]) / right
        values["MAP@R"] = sum(sum(hits[: i + 1]) / (i + 1) for i in range(right) if hits[i]) / right
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value
    return {name: value / counted for name, value in sums.items()}, excluded
