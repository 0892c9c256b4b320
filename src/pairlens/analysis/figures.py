"""Figures drawn from numbers."""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from pairlens.analysis.weights import WeightCurve

PULL, PUSH = "#1b7837", "#b2182b"


def draw_weight_curve(curve: WeightCurve, title: str, file: Path, of: str = "similarity of the pair") -> None:
    """Draw the weights of a positive and of a negative over their similarity, as a small SVG or PNG by the file's name."""
    figure = Figure(figsize=(2.6, 1.7), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="0.8", linewidth=0.8)
    axes.plot(curve.similarity, curve.positive, color=PULL, label="positive")
    axes.plot(curve.similarity, curve.negative, color=PUSH, linestyle="--", label="negative")
    axes.set_title(title, fontsize=8)
    axes.set_xlabel(of, fontsize=7)
    axes.set_ylabel("weight", fontsize=7)
    axes.set_xlim(-1, 1)
    axes.set_xticks((-1, -0.5, 0, 0.5, 1))
    axes.tick_params(labelsize=6)
    axes.legend(fontsize=6, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    # Without a date and with fixed ids the same curve gives the same file, so that a commit shows only what changed.
    with rc_context({"svg.hashsalt": title, "svg.fonttype": "none"}):
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
