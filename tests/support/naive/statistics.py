"""Plain-loop twins of the statistics of comparisons."""

import math
import random


def t_interval(values, quantile):
    """Mean ± quantile · s / √n, the quantile of Student's t being given."""
    mean = sum(values) / len(values)
    s = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    half = quantile * s / math.sqrt(len(values))
    return mean - half, mean + half


def class_bootstrap(values_by_class, resamples, level):
    """Draw as many classes as there are, with replacement; take the mean over all their queries; again and again."""
    draw = random.Random(0)
    means = []
    for _ in range(resamples):
        chosen = [draw.choice(values_by_class) for _ in values_by_class]
        queries = [value for values in chosen for value in values]
        means.append(sum(queries) / len(queries))
    means.sort()
    tail = (1 - level) / 2
    return means[int(tail * resamples)], means[int((1 - tail) * resamples) - 1]


def ranks(values_by_loss):
    """Rank of every loss in every seed, 1 the highest; of equal ones the first."""
    seeds = len(values_by_loss[0])
    found = []
    for values in values_by_loss:
        row = []
        for seed in range(seeds):
            above = sum(other[seed] > values[seed] for other in values_by_loss)
            before = sum(other[seed] == values[seed] for other in values_by_loss[: values_by_loss.index(values)])
            row.append(1 + above + before)
        found.append(row)
    return found
