"""Plain-loop twins of the statistics of comparisons."""

import math
import random


def t_interval(values, quantile):
    """Return mean ± quantile · s / √n for a given quantile of Student's t."""
    mean = sum(values) / len(values)
    s = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    half = quantile * s / math.sqrt(len(values))
    return mean - half, mean + half


def class_bootstrap(values_by_class, resamples, level):
    """Return the interval of the mean over all queries when classes are resampled with replacement."""
    rng = random.Random(0)
    means = []
    for _ in range(resamples):
        chosen = [rng.choice(values_by_class) for _ in values_by_class]
        queries = [value for values in chosen for value in values]
        means.append(sum(queries) / len(queries))
    means.sort()
    tail = (1 - level) / 2
    return means[int(tail * resamples)], means[int((1 - tail) * resamples) - 1]


def ranks(values_by_loss):
    """Return the rank of every loss in every seed, 1 for the highest value; ties are ordered by loss."""
    seeds = len(values_by_loss[0])
    ranks_of_losses = []
    for values in values_by_loss:
        row = []
        for seed in range(seeds):
            above = sum(other[seed] > values[seed] for other in values_by_loss)
            before = sum(other[seed] == values[seed] for other in values_by_loss[: values_by_loss.index(values)])
            row.append(1 + above + before)
        ranks_of_losses.append(row)
    return ranks_of_losses
