"""Plain-loop twins of the metrics that are not in every report, in float64."""

from support import naive

GRID = 2**15


def further_metrics(queries, labels, items, item_labels, ks, one_set):
    """Return mAP@k for each k, and MRR: means over the queries that have a relevant item."""
    sums, counted = {}, 0
    for q, (query, label) in enumerate(zip(queries, labels, strict=True)):
        itself = q if one_set else None
        right = sum(1 for j, other in enumerate(item_labels) if other == label and j != itself)
        if right == 0:
            continue
        counted += 1
        hits = [item_labels[j] == label for j in naive.ranking(query, items, itself)]
        values = {"MRR": 1 / (hits.index(True) + 1)}
        for k in ks:
            precisions = [sum(hits[: i + 1]) / (i + 1) for i in range(min(k, len(hits))) if hits[i]]
            values[f"mAP@{k}"] = sum(precisions) / min(k, right)
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value
    return {name: value / counted for name, value in sums.items()}


def pairs_of_classes(queries, labels, items, item_labels, one_set):
    """Return for each class with a positive pair the rounded scores of its positive and of its negative pairs."""
    positives, negatives = {}, {}
    for q, (query, label) in enumerate(zip(queries, labels, strict=True)):
        others = [j for j in range(len(items)) if not (one_set and j == q)]
        # A query without a relevant item is no query of the evaluation.
        if label not in [item_labels[j] for j in others]:
            continue
        for j in others:
            score = round(naive.cosine(query, items[j]) * GRID)
            (positives if item_labels[j] == label else negatives).setdefault(label, []).append(score)
    return {label: (scores, negatives.get(label, [])) for label, scores in positives.items()}


def calibration_thresholds(pairs):
    """Return 101 thresholds between the lowest with at most 10 % and the lowest with at most 1 % false accepts."""
    negatives = [score for _, scores in pairs.values() for score in scores]
    ends = []
    for rate in (0.1, 0.01):
        threshold = -GRID
        while sum(score >= threshold for score in negatives) > rate * len(negatives):
            threshold += 1
        ends.append(threshold)
    low, high = ends
    return [low + (high - low) * step // 100 for step in range(101)]


def opis_values(queries, labels, items, item_labels, one_set):
    """Return the squared deviation of each class from the mean utility, averaged over the thresholds."""
    pairs = pairs_of_classes(queries, labels, items, item_labels, one_set)
    thresholds = calibration_thresholds(pairs)
    utility = {}
    for label, (positives, negatives) in pairs.items():
        for t in thresholds:
            sensitivity = sum(score >= t for score in positives) / len(positives)
            specificity = sum(score < t for score in negatives) / len(negatives)
            total = sensitivity + specificity
            utility[label, t] = 2 * sensitivity * specificity / total if total else 0.0
    means = {t: sum(utility[label, t] for label in pairs) / len(pairs) for t in thresholds}
    return [sum((utility[label, t] - means[t]) ** 2 for t in thresholds) / len(thresholds) for label in sorted(pairs)]
