"""The figures of a comparison: means and ranks, paired differences, learning curves, accuracy against cost."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pairlens.comparison.results import BenchmarkResult, LossResult, Results
from pairlens.comparison.study import slug
from pairlens.plotting.style import CYCLE, DASHES, FAINT, INK, PULL, PUSH, Picture, save, tidy

FOLDER = "figures"
MOST_NAMED = 24


def draw_comparison(results: Results, folder: Path) -> list[tuple[str, Picture]]:
    """Draw all figures of all fields into `figures` of a comparison's folder; returns each with its field's name."""
    drawn = []
    for field in results.fields:
        for name, draw in FIGURES.items():
            file = folder / FOLDER / f"{slug(field.name)}-{name}.svg"
            drawn.append((field.name, draw(field, file)))
    return drawn


def draw_ranks(field: BenchmarkResult, file: Path) -> Picture:
    """Draw each loss's mean with both intervals and every seed, and the rank it has in every seed."""
    count = len(field.losses)
    figure = Figure(figsize=(9, 0.9 + 0.34 * count), layout="constrained")
    means, ranks = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for place, loss in enumerate(field.losses):
        _draw_mean(means, field, loss, place)
    means.axvline(100 * field.untrained.mean, color=INK, linewidth=0.9, linestyle=":")
    means.annotate("untrained", (100 * field.untrained.mean, -0.75), fontsize=7, color=INK, ha="center")
    means.margins(x=0.08)
    means.set_yticks(range(count), [shortened(loss.name) for loss in field.losses])
    means.set_ylim(count - 0.4, -1.0)
    means.set_xlabel(f"{field.metric} (%): seeds (dots), 95 % over seeds (line), over test classes (grey)")
    _draw_ranks(ranks, field)
    tidy((means, ranks))
    save(figure, file, file.stem)
    return Picture(
        file,
        f"{field.name}: {field.metric} of each loss, and the rank it has with each seed.",
        "A row a loss, best above: " + "; ".join(f"{x.name} {100 * _mean(field, x):.1f} %" for x in field.losses),
    )


def _mean(field: BenchmarkResult, loss: LossResult) -> float:
    return loss.metric(field.metric).over_seeds.mean


def _draw_mean(axes: Axes, field: BenchmarkResult, loss: LossResult, place: int) -> None:
    found = loss.metric(field.metric)
    over = found.over_seeds
    axes.plot(
        [100 * found.class_low, 100 * found.class_high], [place] * 2, color=FAINT, linewidth=6, solid_capstyle="butt"
    )
    if over.low is not None and over.high is not None:
        axes.plot([100 * over.low, 100 * over.high], [place] * 2, color=PULL, linewidth=1.6)
    axes.plot(100 * np.array(over.values), [place] * len(over.values), "o", color=PULL, markersize=3, alpha=0.6)
    axes.plot(100 * over.mean, place, "|", color=PUSH, markersize=11, markeredgewidth=2)


def _draw_ranks(axes: Axes, field: BenchmarkResult) -> None:
    shared = sorted(set.intersection(*(set(loss.seeds) for loss in field.losses)))
    axes.set_xlabel(f"rank by {field.metric} among {len(field.losses)}, {len(shared)} seeds (mean: bar)")
    axes.set_xlim(0.5, len(field.losses) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not shared:
        return
    values = np.array([[_value(field, loss, seed) for seed in shared] for loss in field.losses])
    ranks = 1 + (-values).argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    for place, row in enumerate(ranks):
        axes.plot(row, [place] * len(row), "o", color=PULL, markersize=4, alpha=0.45)
        axes.plot(row.mean(), place, "|", color=PUSH, markersize=11, markeredgewidth=2)


def _value(field: BenchmarkResult, loss: LossResult, seed: int) -> float:
    return loss.metric(field.metric).over_seeds.values[loss.seeds.index(seed)]


def draw_differences(field: BenchmarkResult, file: Path) -> Picture:
    """Draw the paired difference of every two losses; what is not distinguishable is grey."""
    names = [loss.name for loss in field.losses]
    count = len(names)
    values = np.full((count, count), np.nan)
    for d in field.differences:
        if d.distinguishable:
            values[names.index(d.first), names.index(d.second)] = 100 * d.over_seeds.mean
    figure = Figure(figsize=(2.4 + 0.62 * count, 1.7 + 0.42 * count), layout="constrained")
    axes = figure.subplots()
    most = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
    axes.set_facecolor("#eeeeee")
    axes.imshow(values, cmap="cividis", norm=TwoSlopeNorm(most / 2, 0, max(most, 1e-9)), aspect="auto")
    for d in field.differences:
        _write_difference(
            axes, names.index(d.first), names.index(d.second), 100 * d.over_seeds.mean, most, d.distinguishable
        )
    axes.set_xticks(range(count), [shortened(n) for n in names], rotation=30, ha="right")
    axes.set_yticks(range(count), [shortened(n) for n in names])
    axes.set_title(f"points of {field.metric}, row above column\n(grey: not distinguishable)")
    tidy([axes])
    save(figure, file, file.stem)
    apart = [
        f"{d.first} above {d.second} by {100 * d.over_seeds.mean:.1f}" for d in field.differences if d.distinguishable
    ]
    return Picture(
        file,
        f"{field.name}: paired differences over the seeds that both losses have, in points of {field.metric}; grey: not "
        "distinguishable.",
        "Distinguishable pairs: " + ("; ".join(apart) or "none"),
    )


def _write_difference(axes: Axes, row: int, column: int, value: float, most: float, apart: bool) -> None:
    color = INK if not apart or value > most / 2 else "white"
    axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=7, color=color)


def draw_metric_curves(field: BenchmarkResult, file: Path) -> Picture:
    """Draw the ranking metric over the epochs, the band being the 95 % t-interval over seeds."""
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.subplots()
    for number, loss in enumerate(field.losses):
        color, dash = look(number)
        epochs = np.arange(len(loss.curve))
        axes.plot(epochs, [100 * p.mean for p in loss.curve], dash, color=color, label=shortened(loss.name))
        if loss.curve[0].low is not None:
            ends = [[100 * float(e or 0.0) for e in (p.low, p.high)] for p in loss.curve]
            axes.fill_between(epochs, *np.array(ends).T, color=color, alpha=0.13, linewidth=0)
    axes.set(xlabel="epoch (0: untrained)", ylabel=f"{field.metric} on unseen classes (%)", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(
        fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), title="best first", title_fontsize=7
    )
    tidy([axes])
    save(figure, file, file.stem)
    last = ", ".join(f"{x.name} {100 * x.curve[-1].mean:.1f} %" for x in field.losses)
    return Picture(
        file,
        f"{field.name}: {field.metric} after every epoch, mean over seeds; band: 95 % t-interval.",
        f"Learning curves; after the last epoch: {last}",
    )


def draw_costs(field: BenchmarkResult, file: Path) -> Picture:
    """Draw the ranking metric against the time that a run takes, evaluations included."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    for number, loss in enumerate(field.losses):
        found, seconds = loss.metric(field.metric).over_seeds, loss.seconds
        color, _ = look(number)
        axes.errorbar(
            seconds.mean,
            100 * found.mean,
            _half(found.mean, found.low),
            _half(seconds.mean, seconds.low, 1),
            color=color,
        )
        axes.plot(
            seconds.mean, 100 * found.mean, MARKERS[number % len(MARKERS)], color=color, label=shortened(loss.name)
        )
    axes.set(xlabel="seconds of a run, evaluations included", ylabel=f"{field.metric} (%)")
    axes.legend(
        fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), title="best first", title_fontsize=7
    )
    tidy([axes])
    save(figure, file, file.stem)
    return Picture(
        file,
        f"{field.name}: accuracy against cost; lines: 95 % over seeds. Seconds are of the machine and its other work.",
        "; ".join(f"{x.name} {100 * _mean(field, x):.1f} % in {x.seconds.mean:.0f} s" for x in field.losses),
    )


def _half(mean: float, low: float | None, scale: float = 100) -> float:
    return 0.0 if low is None else scale * (mean - low)


def look(number: int) -> tuple[str, str]:
    """Return colour and dash of a line, different for the first 32."""
    return CYCLE[number % len(CYCLE)], DASHES[number // len(CYCLE) % len(DASHES)]


def shortened(name: str) -> str:
    r"""Return a name short enough for a figure, its dollars no mathematics.

    >>> shortened("x" * 30), shortened("$1")
    ('xxxxxxxxxxxxxxxxxxxxxxx…', '\\$1')
    """
    short = name if len(name) <= MOST_NAMED else name[: MOST_NAMED - 1] + "…"
    return short.replace("$", r"\$")


MARKERS: Sequence[str] = ("o", "s", "^", "D", "v", "P", "X", "*", "p", "h")
FIGURES: dict[str, Callable[[BenchmarkResult, Path], Picture]] = {
    "ranks": draw_ranks,
    "differences": draw_differences,
    "curves": draw_metric_curves,
    "costs": draw_costs,
}
