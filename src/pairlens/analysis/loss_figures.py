"""Figures of a loss: the weights of a pair, and the similarity plane."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pairlens.analysis.explanation import Explained
from pairlens.analysis.loss_plane import SimilarityPlane
from pairlens.analysis.pair_weights import WeightCurve
from pairlens.plotting.style import DASHES, FAINT, INK, PULL, PUSH, save, tidy

PULL_TITLE = r"pull, $|\partial L/\partial s_p|$"
PUSH_TITLE = r"push, $|\partial L/\partial s_n|$"
# Every fourth point of the plane has an arrow.
ARROW_STEP = 4
# Number of powers of ten that the colour scale of pull and push spans.
DECADES = 4
TITLE_WIDTH = 36


def draw_weight_curve(curve: WeightCurve, title: str, file: Path, of: str = "similarity of the pair") -> None:
    """Draw the weights of a positive and of a negative over their similarity, small, as SVG or PNG by the file's name.

    Args:
        curve: the weights.
        title: the name of the loss.
        file: where to write the figure.
        of: what the horizontal axis is.
    """
    figure = Figure(figsize=(2.6, 1.9), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color=FAINT, linewidth=0.8)
    similarity = curve.similarity.numpy()
    axes.plot(similarity, curve.positive, color=PULL, label="positive")
    axes.plot(similarity, curve.negative, color=PUSH, linestyle="--", label="negative")
    axes.set(xlabel=of, ylabel="weight", xlim=(-1, 1), xticks=(-1, -0.5, 0, 0.5, 1))
    limit_weights(axes, similarity, [(curve.positive.numpy(), PULL), (curve.negative.numpy(), PUSH)])
    # Above the panel, where it covers no curve.
    axes.legend(
        fontsize=6, frameon=False, ncols=2, title=title, title_fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0)
    )
    tidy([axes])
    save(figure, file, title)


def limit_weights(axes: Axes, similarity: np.ndarray, curves: Sequence[tuple[np.ndarray, str]]) -> None:
    """Scale a panel of weights to what most of the curves need, and mark the peaks that are cut off with their values.

    The distance of two photos has no slope where it is 0, so some losses have weights near a cosine of 1 that are many
    times those of all other pairs; on a scale that shows them, nothing else could be seen.

    Args:
        axes: the panel, in which the curves are drawn already.
        similarity: (step,) the positions of the values.
        curves: the (step,) values of each curve and its colour.
    """
    highest = max(weight_limit(weights) for weights, _ in curves)
    lowest = max(weight_limit(-weights) for weights, _ in curves)
    if highest <= 0 and lowest <= 0:
        return
    axes.set_ylim(-1.08 * lowest if lowest > 0.02 * highest else -0.05 * highest, 1.15 * highest or 0.05 * lowest)
    # One mark per colour: curves of one colour differ in their dashes, and have their peaks at the same place.
    by_height = sorted(curves, key=lambda curve: curve[0].max())
    peaks = {color: (weights.max(), similarity[weights.argmax()]) for weights, color in by_height}
    cut_off = [(color, *peak) for color, peak in peaks.items() if peak[0] > 1.15 * highest]
    for line, (color, weight, position) in enumerate(cut_off):
        axes.plot(position, 1.1 * highest, "^", color=color, markersize=5, clip_on=False)
        # Beside the marker, towards the middle of the panel; a second value below the first one.
        side = -1 if position > 0 else 1
        axes.annotate(
            f"up to {weight:.3g}",
            (position, 1.1 * highest),
            xytext=(6 * side, -8 * line),
            textcoords="offset points",
            color=color,
            fontsize=6,
            ha="right" if side < 0 else "left",
            va="center",
        )


def weight_limit(weights: np.ndarray) -> float:
    """Return the largest weight, or a lower limit if that is a narrow peak far above the others; 0 if none is above 0.

    >>> weight_limit(np.array([0.0, 1.0, 2.0])), round(weight_limit(np.array([1.0] * 99 + [50.0])), 2)
    (2.0, 1.5)
    """
    highest = float(weights.max(initial=0.0))
    # Without the weights that are almost 0: a loss may weigh few pairs, and these are then what there is to see.
    visible = weights[weights > 0.01 * highest]
    if highest <= 0 or not len(visible):
        return 0.0
    limit = 1.5 * float(np.quantile(visible, 0.9))
    return limit if highest > 2 * limit else highest


def draw_explanations(explained: Sequence[Explained], file: Path) -> None:
    """Draw one row per loss: surface, pull, push, flow, and the weights of a positive and of a negative.

    The maps of pull and push share one logarithmic colour scale, so that a colour means the same in all rows.
    """
    figure = Figure(figsize=(15, 2.9 * len(explained) + 0.35), layout="constrained")
    panels = figure.subplots(len(explained), 6, squeeze=False)
    # The largest forces but for the last percent, which may be poles.
    highest = max(float(np.quantile(one.plane.force, 0.99)) for one in explained)
    norm = LogNorm(highest / 10**DECADES, highest, clip=True)
    for row, one in zip(panels, explained, strict=True):
        _draw_surface(row[0], one)
        image = _draw_force(row[1], one.plane, np.abs(one.plane.pull), norm, PULL_TITLE)
        _draw_force(row[2], one.plane, np.abs(one.plane.push), norm, PUSH_TITLE)
        bar = figure.colorbar(image, ax=list(row[1:3]), shrink=0.9, pad=0.01)
        bar.ax.tick_params(labelsize=7)
        bar.set_label("weight", fontsize=7)
        _draw_flow(row[3], one)
        _draw_curves(row[4], one, "positive")
        _draw_curves(row[5], one, "negative")
        tidy(row)
    _add_dash_legend(figure, explained[0])
    save(figure, file)


def _label_plane(axes: Axes, title: str) -> None:
    axes.set(title=title, xlabel="$s_n$", ylabel="$s_p$", xlim=(-1, 1), ylim=(-1, 1), aspect="equal")
    axes.set_xticks((-1, 0, 1))
    axes.set_yticks((-1, 0, 1))


def _draw_surface(axes: Axes, one: Explained) -> None:
    lines = axes.contour(one.plane.s_n, one.plane.s_p, one.plane.value, levels=9, cmap="cividis", linewidths=1)
    axes.clabel(lines, fontsize=7, fmt="%.3g")
    # With a space that cannot be broken, the name of a setting stays with its value.
    items = [item.replace(" ", "\N{NO-BREAK SPACE}") for item in one.settings.split(", ")]
    settings = "\n".join(textwrap.wrap(f"({', '.join(items)})", TITLE_WIDTH)) if one.settings else ""
    # A dollar sign would begin a formula.
    _label_plane(axes, f"loss of {one.name}\n{settings}".strip().replace("$", r"\$"))


def _draw_force(axes: Axes, plane: SimilarityPlane, force: Any, norm: LogNorm, title: str) -> Any:
    # A logarithmic scale has no place for 0.
    positive = np.maximum(force, 1e-300)
    image = axes.pcolormesh(plane.s_n, plane.s_p, positive, norm=norm, cmap="cividis", rasterized=True)
    _label_plane(axes, title)
    return image


def _draw_flow(axes: Axes, one: Explained) -> None:
    plane = one.plane
    step = slice(None, None, ARROW_STEP)
    # Descent lowers s_n by the push and raises s_p by the pull; the arrows show the direction alone.
    along_s_n = -plane.push[step, step]
    along_s_p = plane.pull[step, step]
    length = np.maximum(np.hypot(along_s_n, along_s_p), 1e-300)
    moves = length > plane.content
    u = np.where(moves, along_s_n / length, 0.0)
    v = np.where(moves, along_s_p / length, 0.0)
    axes.quiver(plane.s_n[step], plane.s_p[step], u, v, color=FAINT, scale=18, width=0.005)
    for path in one.paths.points:
        axes.plot(path[:, 0], path[:, 1], color=PULL, linewidth=0.7, alpha=0.7)
    axes.plot(*one.paths.ends.T, "o", color=PUSH, markersize=3, clip_on=False)
    axes.contour(plane.s_n, plane.s_p, plane.value, levels=[plane.boundary], colors=INK, linewidths=1.2)
    _label_plane(axes, "flow (ends: dots,\nboundary: black)")


def _draw_curves(axes: Axes, one: Explained, side: str) -> None:
    color = PULL if side == "positive" else PUSH
    curves = list(one.curves.values())
    for curve, dash in zip(curves, DASHES, strict=False):
        axes.plot(curve.similarity, getattr(curve, side), dash, color=color)
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.set(title=f"weight of a {side}", xlabel="similarity of the pair", ylabel="weight", xlim=(-1, 1))
    limit_weights(axes, curves[0].similarity.numpy(), [(getattr(curve, side).numpy(), color) for curve in curves])


def _add_dash_legend(figure: Figure, one: Explained) -> None:
    """Explain the dashes of all weight panels below the figure, where no panel is."""
    handles = [
        Line2D([], [], color=INK, linestyle=dash, label=f"{level:g}")
        for level, dash in zip(one.curves, DASHES, strict=False)
    ]
    figure.legend(
        handles=handles,
        title="dashes of the weights: similarity of the other negatives",
        fontsize=7,
        title_fontsize=7,
        frameon=False,
        loc="outside lower right",
        ncols=len(handles),
    )
