"""Figures of a trained model: the cosines of its pairs, and its statistics after every epoch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pairlens.analysis.inspection import Inspection
from pairlens.analysis.statistic_meanings import SHAPE_MEANINGS
from pairlens.core.table import decimal
from pairlens.evaluation.evaluate import part_titles
from pairlens.evaluation.geometry import BINS, PairSimilarities
from pairlens.experiments.outcome import EpochRow
from pairlens.plotting.style import INK, PULL, PUSH, Picture, save, tidy

# The statistics with a panel over the epochs: one of each group that says the same.
PANELS = ("overlap", "d_prime", "pi_ratio", "rho", "effective_rank", "hub_bad", "circle_pass")
MAX_TITLE_LENGTH = 30


def draw_epochs(rows: Sequence[EpochRow], file: Path) -> Picture:
    """Draw the main statistics of training and test photos over the epochs, and the gradient cosine of both losses."""
    figure = Figure(figsize=(11, 5.0), layout="constrained")
    panels = figure.subplots(2, 4).flatten()
    for axes, name in zip(panels, PANELS, strict=False):
        _draw_statistic(axes, rows, name)
    panels[0].legend(fontsize=7, frameon=False)
    _draw_gradient_cosine(panels[-1], rows)
    for axes in panels:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(panels)
    save(figure, file)
    last = rows[-1].unseen
    seen = rows[-1].report.seen_classes
    titles = part_titles(seen)
    what = "seen and unseen classes" if seen == "none" else " and ".join(titles)
    values = (
        [] if last is None else [f"{SHAPE_MEANINGS[name].name} {decimal(getattr(last, name), 2)}" for name in PANELS]
    )
    return Picture(
        file,
        f"Statistics of the embeddings of {what} after every epoch.",
        f"{titles[1].capitalize()}, after the last epoch: {', '.join(values)}",
    )


def _draw_statistic(axes: Axes, rows: Sequence[EpochRow], name: str) -> None:
    train, test = part_titles(rows[-1].report.seen_classes)
    for stats_of_row, label, color, mark in (
        ([row.seen for row in rows], train, PULL, "o-"),
        ([row.unseen for row in rows], test, PUSH, "^--"),
    ):
        # Epochs that were not measured have no point.
        points = [(row.epoch, getattr(stats, name)) for row, stats in zip(rows, stats_of_row, strict=True) if stats]
        epochs = [epoch for epoch, _ in points]
        axes.plot(epochs, [value for _, value in points], mark, color=color, markersize=3, label=label)
    meaning = SHAPE_MEANINGS[name]
    # "Lower is better." -> "lower is better"; a direction with conditions does not fit into a title.
    direction = meaning.direction.rstrip(".").lower() if len(meaning.direction) <= MAX_TITLE_LENGTH else ""
    axes.set_title(_two_lines(meaning.name) + (f"\n({direction})" if direction else ""))


def _two_lines(title: str) -> str:
    if len(title) <= MAX_TITLE_LENGTH:
        return title
    # At the last space that leaves the first line short enough.
    middle = title.rfind(" ", 0, MAX_TITLE_LENGTH)
    return f"{title[:middle]}\n{title[middle + 1 :]}"


def _draw_gradient_cosine(axes: Axes, rows: Sequence[EpochRow]) -> None:
    points = [(row.epoch, row.gradient_cosine) for row in rows if row.gradient_cosine is not None]
    # Without an auxiliary loss there is no second gradient.
    axes.set_visible(bool(points))
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.plot([epoch for epoch, _ in points], [cosine for _, cosine in points], "s-", color=INK, markersize=3)
    axes.set_title("gradient cosine of pairwise\nand auxiliary loss")


def draw_similarities(inspection: Inspection, file: Path) -> Picture:
    """Draw the histograms of s_p and s_n of training and test photos, side by side on the same scales.

    Args:
        inspection: holds the pair similarities of both.
        file: where to write the figure.
    """
    sets = dict(zip(inspection.titles, inspection.similarities.values(), strict=True))
    figure = Figure(figsize=(4.2 * len(sets), 2.8), layout="constrained")
    # Shared axes, because the difference between training and test photos is what the figure is for.
    panels = figure.subplots(1, len(sets), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (name, similarities) in zip(panels, sets.items(), strict=True):
        _draw_histograms(axes, similarities)
        axes.set(title=name, xlabel="cosine of a pair", xlim=(-1, 1))
    panels[0].set_ylabel(f"share of pairs per {2 / BINS:g}")
    tidy(panels)
    save(figure, file)
    means = [
        f"{name}: mean cosine of positive pairs {decimal(float(similarities.positive.mean()), 2)}, of negative "
        f"pairs {decimal(float(similarities.negative.mean()), 2)}"
        for name, similarities in sets.items()
    ]
    caption = "Histograms of the cosines of positive pairs (same class) and negative pairs (different classes)."
    return Picture(file, caption, "; ".join(means))


def _draw_histograms(axes: Axes, similarities: PairSimilarities) -> None:
    edges = np.linspace(-1, 1, BINS + 1)
    highest = 0.0
    for kind, pairs, color in (("positive", similarities.positive, PULL), ("negative", similarities.negative, PUSH)):
        # Rounding can put a cosine a little outside [-1, 1].
        cosines = pairs.clamp(-1, 1).numpy()
        shares = np.histogram(cosines, edges)[0] / len(cosines)
        highest = max(highest, shares.max())
        label = f"{kind} pairs, mean {decimal(float(cosines.mean()), 2)}"
        axes.stairs(shares, edges, color=color, label=label)
    # Above the histograms there is room for the legend, whatever their shape.
    axes.set_ylim(0, max(axes.get_ylim()[1], 1.35 * highest))
    axes.legend(fontsize=7, frameon=False, loc="upper left")
