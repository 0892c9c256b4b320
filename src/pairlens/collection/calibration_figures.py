"""Figures of a calibration: whether its probability is true, and what it accepts beside the raw cosine."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pairlens.collection.calibration import ReliabilityBin
from pairlens.collection.match_features import Array
from pairlens.plotting.style import CYCLE, DASHES, FAINT, Picture, save, tidy

# Percent: a probability or a rate is read as one.
PERCENT = 100
MARKS = ("o", "^", "s", "D")


def draw_reliability(bins_of: Mapping[str, Sequence[ReliabilityBin]], file: Path) -> Picture:
    """Draw the share of right matches over the stated probability, with the share of the queries in each bin below.

    Args:
        bins_of: the bins of each data set or model, by its name.
        file: SVG or PNG.
    """
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot((0, PERCENT), (0, PERCENT), color=FAINT, linewidth=0.8)
    for number, (name, bins) in enumerate(bins_of.items()):
        probability, right, weight = (
            PERCENT * np.array([getattr(one, value) for one in bins]) for value in ("probability", "right", "weight")
        )
        style = {"color": CYCLE[number % len(CYCLE)], "marker": MARKS[number % len(MARKS)], "markersize": 4}
        upper.plot(probability, right, label=name, linewidth=1, **style)
        lower.plot(probability, weight, linewidth=1, **style)
    upper.set(ylabel="best match is right, %", xlim=(0, PERCENT), ylim=(0, PERCENT))
    lower.set(xlabel="stated probability of a match, %", ylabel="of queries, %")
    lower.set_ylim(bottom=0)
    upper.legend(fontsize=7, frameon=False)
    tidy((upper, lower))
    save(figure, file)
    return Picture(
        file,
        "Share of right best matches over the stated probability, and the share of the queries with such a probability.",
        "Points near the diagonal: what is stated with 80 % is right in about 80 %.",
    )


def draw_accepts(
    curves_of: Mapping[str, tuple[Array, Array]],
    false_accepts: Sequence[float],
    file: Path,
    asked: Sequence[float] = (),
) -> Picture:
    """Draw true accepts over false accepts, of the calibrated score and of the raw cosine, one panel per data set.

    Args:
        curves_of: for each data set or model the (rate,) true accepts of the score, then of the raw cosine.
        false_accepts: (rate,) the false accept rates, above 0.
        file: SVG or PNG.
        asked: false accept rates to mark.
    """
    figure = Figure(figsize=(2.9 * len(curves_of) + 0.4, 2.8), layout="constrained")
    panels = figure.subplots(1, len(curves_of), squeeze=False, sharey=True)[0]
    rates = PERCENT * np.asarray(false_accepts)
    for axes, (name, curves) in zip(panels, curves_of.items(), strict=True):
        for rate in asked:
            axes.axvline(PERCENT * rate, color=FAINT, linewidth=0.8)
        labels = ("calibrated score", "raw cosine")
        for number, (label, curve) in enumerate(zip(labels, curves, strict=True)):
            axes.plot(rates, PERCENT * curve, color=CYCLE[number], linestyle=DASHES[number], label=label)
        axes.set(xscale="log", xlabel="false accepts of strange queries, %", title=name, ylim=(0, PERCENT))
        axes.set_xlim(rates.min(), rates.max())
        # 0.5 and not 5 · 10⁻¹.
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panels[0].set_ylabel("true accepts, %")
    panels[0].legend(fontsize=7, frameon=False, loc="upper left")
    tidy(panels)
    save(figure, file)
    return Picture(
        file,
        "Queries of held classes that are accepted with a right match, over the strange queries that are accepted.",
        "The curve of the calibrated score lies above that of the raw cosine at every false accept rate.",
    )
