"""Figures of a trained model: how similar its pairs are, and the shape of seen and unseen photos over its epochs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pairlens.evaluation.geometry import BINS, PairSimilarities
from pairlens.experiments.run_folder import EpochRow
from pairlens.plotting.style import INK, PULL, PUSH, Picture, save, tidy

PANELS = {
    "overlap": "overlap of s_p and s_n",
    "d_prime": "d'",
    "pi_ratio": "spread within / between classes",
    "rho": "spectral decay ρ",
    "effective_rank": "effective rank",
    "hub_bad": "share of wrong neighbours",
    "circle_pass": "share within the circle",
}


def draw_epochs(rows: Sequence[EpochRow], file: Path) -> Picture:
    """Draw the main numbers of seen and unseen photos over the epochs, and how far the two losses agree."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    panels = figure.subplots(2, 4).flatten()
    for axes, (name, title) in zip(panels, PANELS.items(), strict=False):
        _draw(axes, rows, name)
        axes.set_title(title)
    panels[0].legend(fontsize=7, frameon=False)
    points = [(row.epoch, row.gradient_cosine) for row in rows if row.gradient_cosine is not None]
    panels[-1].set_visible(bool(points))
    panels[-1].axhline(0, color=INK, linewidth=0.6)
    panels[-1].plot([e for e, _ in points], [c for _, c in points], "s-", color=INK, markersize=3)
    panels[-1].set_title("gradient cosine of both losses")
    for axes in panels:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(panels)
    save(figure, file)
    last = rows[-1].unseen
    said = "" if last is None else ", ".join(f"{title} {getattr(last, name):.2f}" for name, title in PANELS.items())
    return Picture(
        file, "The shape of seen and unseen photos after every epoch.", f"Unseen, after the last epoch: {said}"
    )


def _draw(axes: Axes, rows: Sequence[EpochRow], name: str) -> None:
    for which, color, mark in (("seen", PULL, "o-"), ("unseen", PUSH, "^--")):
        shapes = [(row.epoch, getattr(row, which)) for row in rows]
        points = [(epoch, getattr(shape, name)) for epoch, shape in shapes if shape is not None]
        axes.plot([e for e, _ in points], [v for _, v in points], mark, color=color, markersize=3, label=which)


def draw_similarities(sets: Mapping[str, PairSimilarities], file: Path) -> Picture:
    """Draw the histograms of s_p and s_n of each set, one beside the other on the same scales."""
    figure = Figure(figsize=(4.2 * len(sets), 2.8), layout="constrained")
    panels = figure.subplots(1, len(sets), sharex=True, sharey=True, squeeze=False)[0]
    edges = np.linspace(-1, 1, BINS + 1)
    for axes, (name, similarities) in zip(panels, sets.items(), strict=True):
        for kind, color in (("positive", PULL), ("negative", PUSH)):
            values = getattr(similarities, kind).clamp(-1, 1).numpy()
            shares = np.histogram(values, edges)[0] / len(values)
            axes.stairs(shares, edges, color=color, label=f"{kind} pairs, mean {values.mean():.2f}")
        axes.set(title=f"{name} classes", xlabel="cosine of a pair", xlim=(-1, 1))
        axes.legend(fontsize=7, frameon=False, loc="upper left")
    panels[0].set_ylabel(f"share of pairs in {2 / BINS:g}")
    tidy(panels)
    save(figure, file)
    means = [(n, float(s.positive.mean()), float(s.negative.mean())) for n, s in sets.items()]
    return Picture(
        file,
        "How similar the pairs of a class and the pairs of different classes are.",
        "; ".join(
            f"{name} classes: positive pairs {p:.2f}, negative pairs {n:.2f} in the mean" for name, p, n in means
        ),
    )
