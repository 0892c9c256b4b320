"""Plain-loop twins of the analysis of retrieval failures."""


def neighbors(vectors, query, k):
    """Return the k most similar other vectors; equal similarities are ordered by index."""
    similarity = [
        (-sum(a * b for a, b in zip(vectors[query], other, strict=True)), i) for i, other in enumerate(vectors)
    ]
    return [i for _, i in sorted(s for s in similarity if s[1] != query)][:k]


def average_precision_at_r(vectors, labels, query):
    relevant = sum(label == labels[query] for label in labels) - 1
    hits, total = 0, 0.0
    for rank, item in enumerate(neighbors(vectors, query, relevant), 1):
        if labels[item] == labels[query]:
            hits += 1
            total += hits / rank
    return total / relevant, hits


def confusion(vectors, labels, a, b):
    """Return the share of the other class among the first R neighbours of the queries of both classes."""
    errors = total = 0
    for query, label in enumerate(labels):
        if label in (a, b):
            relevant = sum(other == label for other in labels) - 1
            total += relevant
            errors += sum(labels[i] == (b if label == a else a) for i in neighbors(vectors, query, relevant))
    return errors / total


def trustworthiness(by_cosine, points, k):
    """Return the trustworthiness of Venna and Kaski: each neighbour in the plane costs its rank by cosine beyond k."""
    n = len(points)
    cost = 0
    for i in range(n):
        order = sorted((d, j) for j, d in enumerate(by_cosine[i]) if j != i)
        rank = {j: r for r, (_, j) in enumerate(order, 1)}
        plane = sorted(
            (sum((a - b) ** 2 for a, b in zip(points[i], points[j], strict=True)), j) for j in range(n) if j != i
        )
        cost += sum(max(0, rank[j] - k) for _, j in plane[:k])
    return 1 - 2 * cost / (n * k * (2 * n - 3 * k - 1))
