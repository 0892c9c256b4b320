"""A figure of the ranks of the losses on every benchmark: lines that cross are losses whose order differs."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pairlens.comparison.figures import look, shortened
from pairlens.comparison.rank_agreement import RankedLosses
from pairlens.comparison.rank_correlation import ranks_of
from pairlens.plotting.style import Picture, save, tidy

# A longer name of a benchmark would overlap the next one.
CHARACTERS_PER_LINE, MAX_NAME_LINES = 14, 4
AGREEMENT_FILE = "rank-agreement.svg"


def draw_rank_agreement(benchmarks: Sequence[RankedLosses], file: Path) -> Picture | None:
    """Draw the rank of each loss on every benchmark.

    Returns:
        None if the benchmarks have fewer than two losses in common; an older figure in the file is removed then.
    """
    losses = [name for name in benchmarks[0].means if all(name in other.means for other in benchmarks)]
    if len(losses) < 2 or len(benchmarks) < 2:
        file.unlink(missing_ok=True)
        return None
    # By benchmark, the rank of every loss, 1 for the highest mean.
    ranks = [ranks_of([-benchmark.means[name] for name in losses]) for benchmark in benchmarks]
    figure = Figure(figsize=(1.6 + 1.3 * len(benchmarks), 1.4 + 0.22 * len(losses)), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(losses):
        color, dash = look(number)
        of_loss = [float(found[number]) for found in ranks]
        axes.plot(range(len(benchmarks)), of_loss, dash, color=color, marker="o", markersize=4)
        axes.annotate(
            shortened(name),
            (len(benchmarks) - 1, of_loss[-1]),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
    _label(axes, benchmarks, len(losses))
    save(figure, file, file.stem)
    orders = [
        f"{benchmark.name}: {', '.join(sorted(losses, key=lambda name: -benchmark.means[name]))}"
        for benchmark in benchmarks
    ]
    return Picture(
        file,
        "The rank of each loss on every benchmark by its mean over seeds, the best on top. Where lines cross, the order "
        "differs.",
        f"One line per loss. {'; '.join(orders)}",
    )


def _label(axes: Axes, benchmarks: Sequence[RankedLosses], losses: int) -> None:
    lines = [
        textwrap.wrap(one.name, CHARACTERS_PER_LINE, max_lines=MAX_NAME_LINES, placeholder=" …") for one in benchmarks
    ]
    # Matplotlib would read mathematics between dollar signs.
    names = ["\n".join(of_name).replace("$", r"\$") for of_name in lines]
    axes.set_xticks(range(len(benchmarks)), names)
    axes.set_xlim(-0.25, len(benchmarks) - 0.75)
    axes.set_yticks(range(1, losses + 1))
    axes.set_ylim(losses + 0.5, 0.5)
    axes.set_ylabel("rank")
    tidy([axes])
