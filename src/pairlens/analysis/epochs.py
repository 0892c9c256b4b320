"""The shape of seen and unseen photos over the epochs of a run, as a figure."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

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
