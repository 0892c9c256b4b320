"""Plain loops of losses over all pairs of a batch at once, or over photos of a class taken two by two."""

import torch

from support.naive import anchors, mean
from support.naive.pairwise import dist, hinge


def pairs_of(s, labels):
    """Return the similarities of all positive and of all negative pairs."""
    groups = list(anchors(labels))
    return [s[a, p] for a, ps, _ in groups for p in ps], [s[a, n] for a, _, ns in groups for n in ns]


def intra_pair_variance(s, labels, positive_epsilon, negative_epsilon):
    p, n = pairs_of(s, labels)
    low, high = (1 - positive_epsilon) * mean(p), (1 + negative_epsilon) * mean(n)
    return mean([hinge(low - x) ** 2 for x in p]) + mean([hinge(x - high) ** 2 for x in n])


def threshold_consistent(s, labels, positive_margin, negative_margin, positive_weight, negative_weight):
    p, n = pairs_of(s, labels)
    pull = mean([positive_margin - x for x in p if x <= positive_margin])
    return positive_weight * pull + negative_weight * mean([x - negative_margin for x in n if x >= negative_margin])


def dynamic_soft_margin(s, labels, bins):
    groups = {a: (ps, ns) for a, ps, ns in anchors(labels)}
    x = []
    for a, (ps, ns) in groups.items():
        for p in ps:
            # The anchors of which p is a negative are those that are counted and have another class.
            to_positive = [dist(s[b, p]) for b in groups if labels[b] != labels[p]]
            x.append(dist(s[a, p]) - min([dist(s[a, n]) for n in ns] + to_positive))
    histogram = [0.0] * bins
    places = [(float(value.detach()) + 2) / 4 * bins for value in x]
    for place in places:
        low = min(int(place), bins - 1)
        histogram[low] += 1 - (place - low)
        histogram[min(low + 1, bins - 1)] += place - low
    shares = [sum(histogram[: min(int(place), bins - 1) + 1]) / len(x) for place in places]
    return mean([share * value for share, value in zip(shares, x, strict=True)])


def rounds(labels):
    """Return for each round of the classes the (anchor, positive) places: first and second photo, third and fourth, ..."""
    places = {label: [j for j, other in enumerate(labels) if other == label] for label in labels}
    longest = max(len(own) for own in places.values())
    return [
        [(own[r], own[r + 1]) for own in places.values() if len(own) > r + 1] for r in range(0, longest, 2)
    ]  # the classes of a round are those that have both photos


def n_pair_equation_7(points, labels, penalty):
    terms = []
    for of_round in rounds(labels):
        for a, p in of_round:
            others = [q for b, q in of_round if b != a]
            if others:
                gaps = [torch.dot(points[a], points[q]) - torch.dot(points[a], points[p]) for q in others]
                terms.append(torch.log(1 + sum(torch.exp(gap) for gap in gaps)))
    return mean(terms) + penalty * mean([sum(x**2 for x in point) for point in points])


def vicreg(points, labels, invariance, variance, covariance):
    chosen = [pair for of_round in rounds(labels) for pair in of_round]
    if not chosen:
        return mean([])
    dim = points.shape[1]
    value = invariance * mean([sum((points[a] - points[p]) ** 2) / dim for a, p in chosen])
    for view in ([a for a, _ in chosen], [p for _, p in chosen]):
        of_coordinate = [[points[i][k] - mean([points[j][k] for j in view]) for i in view] for k in range(dim)]
        for k in range(dim):
            for m in range(dim):
                products = [x * y for x, y in zip(of_coordinate[k], of_coordinate[m], strict=True)]
                c = sum(products) / max(len(view) - 1, 1)
                if k == m:
                    value = value + variance / 2 * hinge(1 - torch.sqrt(c + 1e-4)) / dim
                else:
                    value = value + covariance * c**2 / dim
    return value
