"""The figures of a comparison: means and ranks, paired differences, learning curves, accuracy against cost."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from pairlens.comparison.results import BenchmarkResult, Difference, LossResult, Measured, Results
from pairlens.comparison.study import slug
from pairlens.comparison.study_plan import FIGURES_FOLDER
from pairlens.core.table import decimal
from pairlens.evaluation.evaluate import class_words
from pairlens.evaluation.intervals import Interval
from pairlens.experiments.outcome import BEFORE_TRAINING
from pairlens.plotting.style import CYCLE, DASHES, FAINT, INK, PULL, PUSH, Picture, save, tidy

# A longer name would take more room than the figure itself.
MAX_NAME_LENGTH = 24
# More losses than this cannot be told apart by colour; then the first ones are named, and the others are grey.
MOST_NAMED, NAMED_OF_MANY = 16, 8
# A matrix of more losses is not readable on a page; then the first ones are drawn.
MOST_IN_MATRIX, IN_MATRIX_OF_MANY = 20, 12
# Height of a row in inches, for some losses and for many.
ROW, LOW_ROW = 0.34, 0.24
MEAN_MARK = {"marker": "|", "markersize": 11, "markeredgewidth": 2, "color": PUSH}
# Blue is for differences only, so that no cell without a decision has one of its shades.
_GREY: dict[str, Any] = {"color": FAINT, "linewidth": 0.7, "zorder": 1}
DIFFERENCES = LinearSegmentedColormap.from_list("differences", ("#cfe1f2", "#08306b"))
UNDECIDED = "#e4e4e4"


def draw_comparison(results: Results, folder: Path) -> list[tuple[str, Picture]]:
    """Draw every figure of every benchmark into the folder `figures` of a comparison.

    Returns:
        For each figure, the name of its benchmark and the picture.
    """
    pictures = []
    for result in results.fields:
        for name, draw in FIGURES.items():
            file = folder / FIGURES_FOLDER / f"{slug(result.name)}-{name}.svg"
            pictures.append((result.name, draw(result, file)))
    _remove_older({picture.file for _, picture in pictures}, folder / FIGURES_FOLDER)
    return pictures


def _remove_older(drawn: Collection[Path], folder: Path) -> None:
    """Remove the figures of benchmarks that the study has no more."""
    for name in FIGURES:
        for file in folder.glob(f"*-{name}.svg"):
            if file not in drawn:
                file.unlink()


def draw_ranks(result: BenchmarkResult, file: Path) -> Picture:
    """Draw each loss's mean with both of its intervals and every seed, and its rank with every seed."""
    count = len(result.losses)
    row_height = ROW if count <= MOST_IN_MATRIX else LOW_ROW
    figure = Figure(figsize=(10.4, 1.0 + row_height * count), layout="constrained")
    means, ranks = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for row, loss in enumerate(result.losses):
        _draw_mean(means, _ranking_metric(result, loss), row)
    for name, interval in result.baselines:
        means.axvline(100 * interval.mean, **_baseline_line(name))
    means.margins(x=0.08)
    means.set_yticks(range(count), [shortened(loss.name) for loss in result.losses])
    # The first loss is on top.
    means.set_ylim(count - 0.4, -0.6)
    means.set_xlabel(f"{result.metric} (%)")
    _draw_ranks(ranks, result)
    ranks.legend(handles=_rank_legend(result), fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    tidy((means, ranks))
    save(figure, file, file.stem)
    listed = "; ".join(f"{loss.name} {_percent(_ranking_metric(result, loss))}" for loss in result.losses)
    return Picture(
        file,
        f"{result.name}: {result.metric} of each loss, and its rank among the losses with each seed.",
        f"One row per loss, best first: {listed}",
    )


def _ranking_metric(result: BenchmarkResult, loss: LossResult) -> Measured:
    return loss.metric(result.metric)


def _percent(metric: Measured) -> str:
    return f"{100 * metric.over_seeds.mean:.1f} %"


def _draw_mean(axes: Axes, metric: Measured, row: int) -> None:
    over_seeds = metric.over_seeds
    # The wide grey bar comes first, so that the line and the dots lie on it.
    over_classes = [100 * metric.class_low, 100 * metric.class_high]
    axes.plot(over_classes, [row, row], color=FAINT, linewidth=6, solid_capstyle="butt")
    if over_seeds.low is not None and over_seeds.high is not None:
        axes.plot([100 * over_seeds.low, 100 * over_seeds.high], [row, row], color=PULL, linewidth=1.6)
    values = 100 * np.array(over_seeds.values)
    axes.plot(values, [row] * len(values), "o", color=PULL, markersize=3, alpha=0.6)
    axes.plot(100 * over_seeds.mean, row, linestyle="", **MEAN_MARK)


def _baseline_line(name: str) -> dict[str, Any]:
    return {"color": INK, "linewidth": 0.9, "linestyle": ":" if name == BEFORE_TRAINING else "--"}


def _rank_legend(result: BenchmarkResult) -> list[Artist]:
    return [
        Line2D([], [], marker="o", linestyle="", color=PULL, markersize=3, alpha=0.6, label="one seed"),
        Line2D([], [], linestyle="", label="mean over seeds", **MEAN_MARK),
        Line2D([], [], color=PULL, linewidth=1.6, label="95 % interval over seeds"),
        Line2D([], [], color=FAINT, linewidth=6, label="95 % interval over test classes"),
        *(Line2D([], [], label=shortened(name), **_baseline_line(name)) for name, _ in result.baselines),
    ]


def _draw_ranks(axes: Axes, result: BenchmarkResult) -> None:
    seeds = sorted(set.intersection(*(set(loss.seeds) for loss in result.losses)))
    counted = "1 seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
    axes.set_xlabel(f"rank by {result.metric} among {len(result.losses)} losses, {counted}")
    axes.set_xlim(0.5, len(result.losses) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    # In an unfinished study, the losses may have no seed in common; then there are no ranks.
    if not seeds:
        return
    values = np.array([_values_of_seeds(_ranking_metric(result, loss), loss, seeds) for loss in result.losses])
    # (loss, seed): the position of each loss in the order of its seed, which is the inverse of the sorting permutation.
    ranks = 1 + (-values).argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    for row, ranks_of_loss in enumerate(ranks):
        axes.plot(ranks_of_loss, [row] * len(ranks_of_loss), "o", color=PULL, markersize=4, alpha=0.45)
        axes.plot(ranks_of_loss.mean(), row, linestyle="", **MEAN_MARK)


def _values_of_seeds(metric: Measured, loss: LossResult, seeds: Sequence[int]) -> list[float]:
    return [metric.over_seeds.values[loss.seeds.index(seed)] for seed in seeds]


def draw_differences(result: BenchmarkResult, file: Path) -> Picture:
    """Draw the paired difference of every two losses, in the cell of the better one's row and the other one's column.

    Of many losses, the best ones are drawn.
    """
    count = len(result.losses) if len(result.losses) <= MOST_IN_MATRIX else IN_MATRIX_OF_MANY
    names = [loss.name for loss in result.losses[:count]]
    differences = [d for d in result.differences if d.first in names and d.second in names]
    figure = Figure(figsize=(max(4.4, 2.0 + 0.62 * count), 1.9 + 0.42 * count), layout="constrained")
    axes = figure.subplots()
    _draw_cells(axes, differences, names)
    axes.set_xticks(range(count), [shortened(name) for name in names], rotation=30, ha="right")
    axes.set_yticks(range(count), [shortened(name) for name in names])
    # Above the figure, not above the panel, which is too narrow for it on a phone.
    figure.legend(
        handles=_difference_legend(),
        title=f"points of {result.metric}, row better than column",
        fontsize=7,
        title_fontsize=8,
        frameon=False,
        loc="outside upper left",
        alignment="left",
    )
    tidy([axes])
    save(figure, file, file.stem)
    sentences = [
        f"{d.first} above {d.second} by {100 * d.over_seeds.mean:.1f}" for d in differences if d.distinguishable
    ]
    others = " The other losses are in differences.csv." if count < len(result.losses) else ""
    return Picture(
        file,
        f"{result.name}: paired differences over the seeds that both losses have, in points of {result.metric}. Each pair "
        f"is shown once, in the row of the better loss.{others}",
        f"Distinguishable pairs: {'; '.join(sentences) or 'none'}",
    )


def _draw_cells(axes: Axes, differences: Sequence[Difference], names: list[str]) -> None:
    """Draw one cell per pair, and one for each loss with itself."""
    count = len(names)
    # One scale for all cells, from no difference (light) to the largest one (dark).
    scale = Normalize(0, max((100 * d.over_seeds.mean for d in differences if d.distinguishable), default=1.0))
    values = np.full((count, count), np.nan)
    for difference in differences:
        row, column = names.index(difference.first), names.index(difference.second)
        points = 100 * difference.over_seeds.mean
        if difference.distinguishable:
            values[row, column] = points
        else:
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=UNDECIDED))
        # White on dark cells, where dark text could not be read.
        color = "white" if difference.distinguishable and scale(points) > 0.45 else INK
        axes.text(column, row, decimal(points), ha="center", va="center", fontsize=7, color=color)
    for row in range(count):
        axes.add_patch(Rectangle((row - 0.5, row - 0.5), 1, 1, facecolor="white", edgecolor=FAINT, hatch="////"))
    axes.imshow(values, cmap=DIFFERENCES, norm=scale, aspect="auto")


def _difference_legend() -> list[Patch]:
    return [
        Patch(facecolor=DIFFERENCES(0.7), label="distinguishable (darker: larger difference)"),
        Patch(facecolor=UNDECIDED, label="not distinguishable"),
        Patch(facecolor="white", edgecolor=FAINT, hatch="////", label="the same loss"),
        Patch(facecolor="white", label="empty: each pair is shown once"),
    ]


def draw_metric_curves(result: BenchmarkResult, file: Path) -> Picture:
    """Draw the ranking metric over the epochs; the band is the 95 % t-interval over seeds."""
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.subplots()
    named, others = _named_and_others(result)
    for loss in others:
        _draw_curve(axes, loss, **_GREY)
    for number, loss in enumerate(named):
        color, dash = look(number)
        _draw_curve(axes, loss, color=color, linestyle=dash, label=shortened(loss.name))
        _draw_band(axes, loss, color)
    # The model before training is epoch 0 of every curve; the backbone as it comes is not on any.
    if result.baseline is not None:
        line = _baseline_line(result.baseline_name)
        axes.axhline(100 * result.baseline.mean, label=shortened(result.baseline_name), **line)
    # The axis begins at 0, so that a small difference does not look large.
    tested = class_words(result.seen_classes)
    axes.set(xlabel="epoch (0: before training)", ylabel=f"{result.metric} on {tested} (%)", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _add_legend_beside(axes)
    tidy([axes])
    save(figure, file, file.stem)
    last = ", ".join(f"{loss.name} {100 * loss.curve[-1].mean:.1f} %" for loss in result.losses)
    return Picture(
        file,
        f"{result.name}: {result.metric} after every epoch, mean over seeds; band: 95 % t-interval over seeds."
        f"{_about_others(others)}",
        f"Learning curves; after the last epoch: {last}",
    )


def _draw_curve(axes: Axes, loss: LossResult, **style: Any) -> None:
    axes.plot(loss.evaluated_epochs, [100 * point.mean for point in loss.curve], **style)


def _draw_band(axes: Axes, loss: LossResult, color: str) -> None:
    # With one seed there is no interval.
    ends = [(100 * p.low, 100 * p.high) for p in loss.curve if p.low is not None and p.high is not None]
    if len(ends) == len(loss.curve):
        lows, highs = np.array(ends).T
        axes.fill_between(loss.evaluated_epochs, lows, highs, color=color, alpha=0.13, linewidth=0)


def draw_costs(result: BenchmarkResult, file: Path) -> Picture:
    """Draw the ranking metric against the duration of a run, evaluations included."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    named, others = _named_and_others(result)
    for loss in others:
        axes.plot(*_place(result, loss), ".", color=FAINT, zorder=1)
    for number, loss in enumerate(named):
        # The same colour as in the learning curves; the markers tell apart what colours do not.
        color, _ = look(number)
        height = 100 * _half_width(_ranking_metric(result, loss).over_seeds)
        axes.errorbar(*_place(result, loss), height, _half_width(loss.seconds), color=color)
        marker = MARKERS[number % len(MARKERS)]
        axes.plot(*_place(result, loss), marker, color=color, label=shortened(loss.name))
    axes.set(xlabel="seconds per run, evaluations included", ylabel=f"{result.metric} (%)")
    _add_legend_beside(axes)
    tidy([axes])
    save(figure, file, file.stem)
    points = [f"{x.name} {_percent(_ranking_metric(result, x))} in {x.seconds.mean:.0f} s" for x in result.losses]
    return Picture(
        file,
        f"{result.name}: accuracy against cost; lines: 95 % intervals over seeds. The seconds depend on the machine and on "
        f"what else it was doing.{_about_others(others)}",
        "; ".join(points),
    )


def _place(result: BenchmarkResult, loss: LossResult) -> tuple[float, float]:
    """Return the seconds and the percentage of a loss."""
    return loss.seconds.mean, 100 * _ranking_metric(result, loss).over_seeds.mean


def _named_and_others(result: BenchmarkResult) -> tuple[Sequence[LossResult], Sequence[LossResult]]:
    """Return the losses that a figure tells apart, best first, and those that it draws in grey."""
    count = len(result.losses) if len(result.losses) <= MOST_NAMED else NAMED_OF_MANY
    return result.losses[:count], result.losses[count:]


def _about_others(others: Sequence[LossResult]) -> str:
    return " Grey: the other losses, without intervals." if others else ""


def _half_width(interval: Interval) -> float:
    return 0.0 if interval.low is None else interval.mean - interval.low


def _add_legend_beside(axes: Axes) -> None:
    # Beside the panel, because within it a legend of many losses would cover the curves.
    axes.legend(
        fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), title="best first", title_fontsize=7
    )


def look(number: int) -> tuple[str, str]:
    """Return colour and dash pattern of a line, different for the first 32 lines."""
    return CYCLE[number % len(CYCLE)], DASHES[number // len(CYCLE) % len(DASHES)]


def shortened(name: str) -> str:
    r"""Return a name that is short enough for a figure; dollar signs are escaped, or matplotlib would read mathematics.

    >>> shortened("x" * 30), shortened("$1")
    ('xxxxxxxxxxxxxxxxxxxxxxx…', '\\$1')
    """
    short = name if len(name) <= MAX_NAME_LENGTH else name[: MAX_NAME_LENGTH - 1] + "…"
    return short.replace("$", r"\$")


MARKERS: Sequence[str] = ("o", "s", "^", "D", "v", "P", "X", "*", "p", "h")
FIGURES: dict[str, Callable[[BenchmarkResult, Path], Picture]] = {
    "ranks": draw_ranks,
    "differences": draw_differences,
    "curves": draw_metric_curves,
    "costs": draw_costs,
}
