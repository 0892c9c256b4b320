"""One style for all figures: colour-blind safe (Okabe and Ito), labelled, without what carries no number."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pairlens.core.files import atomic_write

PULL, PUSH, INK, FAINT = "#0072B2", "#D55E00", "#333333", "#BBBBBB"
# Grey stands for their yellow, which white paper hides.
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
DASHES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Picture:
    """A figure on disk with what is said of it.

    Attributes:
        file: SVG or PNG.
        caption: what it shows, for everybody.
        alt: what is to be seen in it, for those who cannot see it.
    """

    file: Path
    caption: str
    alt: str


def tidy(panels: Iterable[Axes]) -> None:
    """Take away the frame's upper and right line and make the numbers small."""
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=7)
        axes.xaxis.label.set_fontsize(8)
        axes.yaxis.label.set_fontsize(8)
        axes.title.set_fontsize(9)


def save(figure: Figure, file: Path, salt: str = "pairlens") -> None:
    """Write a figure under its name when it is complete; the same figure gives the same SVG."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}), atomic_write(file) as part:
        figure.savefig(
            part, format=file.suffix[1:], dpi=130, metadata={"Date": None} if file.suffix == ".svg" else None
        )
