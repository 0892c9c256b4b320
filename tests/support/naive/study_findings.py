"""Plain loops for variance components and rank correlations, written without looking at the fast versions."""


def two_way(grid):
    """Variance components (loss, seed, rest) of rows of losses and columns of seeds, from the textbook's table."""
    losses, seeds = len(grid), len(grid[0])
    grand = sum(map(sum, grid)) / (losses * seeds)
    of_loss = [sum(row) / seeds for row in grid]
    of_seed = [sum(row[s] for row in grid) / losses for s in range(seeds)]
    ss_loss = seeds * sum((m - grand) ** 2 for m in of_loss)
    ss_seed = losses * sum((m - grand) ** 2 for m in of_seed)
    ss_rest = 0.0
    for number, row in enumerate(grid):
        for s, value in enumerate(row):
            ss_rest += (value - of_loss[number] - of_seed[s] + grand) ** 2
    rest = ss_rest / ((losses - 1) * (seeds - 1))
    return (ss_loss / (losses - 1) - rest) / seeds, (ss_seed / (seeds - 1) - rest) / losses, rest


def ranks_with_ties(values):
    """Rank from 1, ties share the mean of their ranks."""
    return [1 + sum(o < v for o in values) + (sum(o == v for o in values) - 1) / 2 for v in values]


def spearman(first, second):
    a, b = ranks_with_ties(first), ranks_with_ties(second)
    mean = (len(a) + 1) / 2
    top = sum((x - mean) * (y - mean) for x, y in zip(a, b, strict=True))
    bottom = sum((x - mean) ** 2 for x in a) * sum((y - mean) ** 2 for y in b)
    return top / bottom**0.5


def kendall(first, second):
    concordant = discordant = only_first = only_second = 0
    for i in range(len(first)):
        for j in range(i):
            x, y = first[i] - first[j], second[i] - second[j]
            concordant += x * y > 0
            discordant += x * y < 0
            only_first += x != 0 and y == 0
            only_second += y != 0 and x == 0
    both = concordant + discordant
    return (concordant - discordant) / ((both + only_first) * (both + only_second)) ** 0.5
