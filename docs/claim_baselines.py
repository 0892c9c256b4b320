"""The table of docs/results.md that holds what a training adds to its backbone."""

import statistics

from claim_targets import read


def baselines() -> str:
    """R@1, P@8 and MAP@R of the backbone as it comes, before training and after one epoch, at each image size."""
    stored = read("baselines.json")["results"]
    lines: list[str] = []
    for size, models in stored.items():
        for name, seeds in models.items():
            metrics = list(seeds[0])
            if not lines:
                lines += [f"| | {' | '.join(metrics)} |", "| --- " * (1 + len(metrics)) + "|"]
            cells = [_spread([seed[metric] for seed in seeds]) for metric in metrics]
            lines.append(f"| {name}, {size} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    # The backbone as it comes does not depend on the seed.
    if len(set(values)) == 1:
        return f"{values[0]:.1f}"
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"
