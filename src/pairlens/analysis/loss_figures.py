"""Figures drawn from numbers: what a loss does to a pair, and in the similarity plane."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from pairlens.analysis.loss_plane import Paths, SimilarityPlane
from pairlens.analysis.pair_weights import WeightCurve
from pairlens.plotting.style import DASHES, FAINT, INK, PULL, PUSH, save, tidy

PULL_TITLE = r"pull, $|\partial L/\partial s_p|$"
PUSH_TITLE = r"push, $|\partial L/\partial s_n|$"
ARROWS = 4
DECADES = 4


def draw_weight_curve(curve: WeightCurve, title: str, file: Path, of: str = "similarity of the pair") -> None:
    """Draw the weights of a positive and of a negative over their similarity, as a small SVG or PNG by the file's name."""
    figure = Figure(figsize=(2.6, 1.7), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.plot(curve.similarity, curve.positive, color=PULL, label="positive")
    axes.plot(curve.similarity, curve.negative, color=PUSH, linestyle="--", label="negative")
    axes.set(title=title, xlabel=of, ylabel="weight", xlim=(-1, 1), xticks=(-1, -0.5, 0, 0.5, 1))
    axes.legend(fontsize=6, frameon=False)
    tidy([axes])
    save(figure, file, title)


@dataclass(frozen=True, eq=False)
class Explained:
    """What there is to draw of one loss.

    Attributes:
        name: what to call it.
        plane: the loss over the similarity plane.
        paths: where it leads.
        curves: its weight curves by the similarity of the other negatives.
    """

    name: str
    plane: SimilarityPlane
    paths: Paths
    curves: dict[float, WeightCurve]


def draw_explanations(explained: Sequence[Explained], file: Path) -> None:
    """Draw a row a loss: surface, pull, push, flow, and the weights of a positive and of a negative.

    The maps of pull and push share one logarithmic scale, so that a colour means the same in all rows.
    """
    figure = Figure(figsize=(14, 2.6 * len(explained) + 0.35), layout="constrained")
    panels = figure.subplots(len(explained), 6, squeeze=False)
    most = max(float(np.quantile(one.plane.force, 0.99)) for one in explained)
    norm = LogNorm(most / 10**DECADES, most, clip=True)
    for row, one in zip(panels, explained, strict=True):
        _draw_surface(row[0], one)
        image = _draw_map(row[1], one.plane, np.abs(one.plane.pull), norm, PULL_TITLE)
        _draw_map(row[2], one.plane, np.abs(one.plane.push), norm, PUSH_TITLE)
        bar = figure.colorbar(image, ax=list(row[1:3]), shrink=0.9, pad=0.01)
        bar.ax.tick_params(labelsize=7)
        bar.set_label("weight", fontsize=7)
        _draw_flow(row[3], one)
        _draw_curves(row[4], one, "positive")
        _draw_curves(row[5], one, "negative")
        tidy(row)
    save(figure, file)


def _frame(axes: Axes, title: str) -> None:
    axes.set(title=title, xlabel="$s_n$", ylabel="$s_p$", xlim=(-1, 1), ylim=(-1, 1), aspect="equal")
    axes.set_xticks((-1, 0, 1))
    axes.set_yticks((-1, 0, 1))


def _draw_surface(axes: Axes, one: Explained) -> None:
    lines = axes.contour(one.plane.s_n, one.plane.s_p, one.plane.value, levels=9, cmap="cividis", linewidths=1)
    axes.clabel(lines, fontsize=7, fmt="%.3g")
    _frame(axes, one.name.replace("$", r"\$") + ": loss")


def _draw_map(axes: Axes, plane: SimilarityPlane, values: Any, norm: LogNorm, title: str) -> Any:
    image = axes.pcolormesh(
        plane.s_n, plane.s_p, np.maximum(values, 1e-300), norm=norm, cmap="cividis", rasterized=True
    )
    _frame(axes, title)
    return image


def _draw_flow(axes: Axes, one: Explained) -> None:
    plane, some = one.plane, slice(None, None, ARROWS)
    push, pull = -plane.push[some, some], plane.pull[some, some]
    length = np.maximum(np.hypot(push, pull), 1e-300)
    moved = length > plane.content
    unit = [np.where(moved, x / length, 0.0) for x in (push, pull)]
    axes.quiver(plane.s_n[some], plane.s_p[some], *unit, color=FAINT, scale=18, width=0.005)
    for path in one.paths.points:
        axes.plot(path[:, 0], path[:, 1], color=PULL, linewidth=0.7, alpha=0.7)
    axes.plot(*one.paths.ends.T, "o", color=PUSH, markersize=3, clip_on=False)
    axes.contour(plane.s_n, plane.s_p, plane.value, levels=[plane.boundary], colors=INK, linewidths=1.2)
    _frame(axes, "flow, ends (•), boundary")


def _draw_curves(axes: Axes, one: Explained, side: str) -> None:
    for (negatives, curve), dash in zip(one.curves.items(), DASHES, strict=False):
        color = PULL if side == "positive" else PUSH
        axes.plot(curve.similarity, getattr(curve, side), dash, color=color, label=f"{negatives:g}")
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.set(title=f"weight of a {side}", xlabel="similarity of the pair", ylabel="weight", xlim=(-1, 1))
    axes.legend(title="other negatives at", fontsize=7, title_fontsize=7, frameon=False)
