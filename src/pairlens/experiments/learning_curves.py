"""Learning curves of a run as a figure: loss, retrieval and similarities over the epochs."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from pairlens.experiments.outcome import Outcome
from pairlens.plotting.style import save

# Training imports this module, and its help text must not wait for Matplotlib.
if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Shortest time between two drawings of a run, in seconds: a short epoch would spend most of its time on them.
SECONDS_BETWEEN = 5.0

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"


def draw_learning_curves(outcome: Outcome, title: str, file: Path) -> None:
    """Draw loss, retrieval and similarities over the epochs; epoch 0 is the model before training.

    Dashed lines are the backbone as it comes, if it was measured.

    Args:
        outcome: the result of the run.
        title: title of the figure; without a title the figure does not state which epoch is kept either.
        file: an SVG or PNG file, by its suffix.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.2), layout="constrained")
    loss, retrieval, similarity = figure.subplots(1, 3)
    _draw_loss(loss, outcome)
    _draw_retrieval(retrieval, outcome)
    _draw_similarity(similarity, outcome)
    for axes in (loss, retrieval, similarity):
        axes.set_xlabel("epoch (0: before training)")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=7)
        axes.xaxis.label.set_fontsize(8)
        axes.yaxis.label.set_fontsize(8)
        axes.xaxis.get_major_locator().set_params(integer=True)
    if title:
        figure.suptitle(f"{title}\nselected: {outcome.selection}", fontsize=9, parse_math=False)
    save(figure, file)


def draw_if_due(outcome: Outcome, title: str, file: Path, drawn: float, is_finished: bool) -> float:
    """Draw the curves if the run is finished or its last drawing is old; returns the time of the last drawing.

    Args:
        outcome: the result of the run.
        title: title of the figure.
        file: a PNG file.
        drawn: when they were drawn last, or the run was started, in seconds of `time.perf_counter`.
        is_finished: whether the run has its last epoch.
    """
    if not is_finished and time.perf_counter() - drawn < SECONDS_BETWEEN:
        return drawn
    draw_learning_curves(outcome, title, file)
    return time.perf_counter()


def _draw_loss(axes: "Axes", outcome: Outcome) -> None:
    # Epoch 0 has no training loss.
    rows = [(r.epoch, r.train_loss) for r in outcome.rows if r.train_loss is not None]
    axes.plot([epoch for epoch, _ in rows], [loss for _, loss in rows], color=BLUE, marker="o", markersize=3)
    axes.set_ylabel("mean training loss per photo")


def _draw_retrieval(axes: "Axes", outcome: Outcome) -> None:
    epochs = [r.epoch for r in outcome.rows]
    # The first metric is R@k for the smallest k of the experiment.
    names = [outcome.rows[0].report.metrics[0].name, "MAP@R"]
    for name, color in zip(names, (BLUE, ORANGE), strict=True):
        metrics = [next(m for m in r.report.metrics if m.name == name) for r in outcome.rows]
        low = [100 * m.low for m in metrics]
        high = [100 * m.high for m in metrics]
        axes.plot(epochs, [100 * m.value for m in metrics], color=color, marker="o", markersize=3, label=f"test {name}")
        axes.fill_between(epochs, low, high, color=color, alpha=0.15)
        if outcome.baseline is not None:
            value = 100 * outcome.baseline.report[name]
            # The colour says which metric it is, so one legend entry, in neutral grey, stands for both lines.
            axes.axhline(value, color=color, linewidth=0.9, linestyle="--")
    if outcome.baseline is not None:
        axes.plot([], [], color=GREY, linewidth=0.9, linestyle="--", label=outcome.baseline.name)
    # A dotted line marks the kept epoch; the space above the curves is for the legend.
    axes.axvline(outcome.epoch, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_ylim(0, min(100, 1.15 * axes.get_ylim()[1]))
    axes.set_ylabel("% of test queries")
    axes.legend(frameon=False, fontsize=7, title="band: 95 % over classes", title_fontsize=7, loc="upper left")


def _draw_similarity(axes: "Axes", outcome: Outcome) -> None:
    # A test set without positive pairs has no mean of them.
    positive = [(r.epoch, r.mean_s_p) for r in outcome.rows if r.mean_s_p is not None]
    negative = [(r.epoch, r.mean_s_n) for r in outcome.rows if r.mean_s_n is not None]
    for points, color, label in ((positive, GREEN, "positive pairs"), (negative, ORANGE, "negative pairs")):
        axes.plot([e for e, _ in points], [s for _, s in points], color=color, marker="o", markersize=3, label=label)
    axes.set_ylabel("mean cosine of test pairs")
    axes.legend(frameon=False, fontsize=7)
