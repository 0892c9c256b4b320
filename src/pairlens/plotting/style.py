"""Figure style: colour-blind safe colours (Okabe and Ito), axes without ornament, and saving as SVG or PNG."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pairlens.core.files import atomic_write, make_folder
from pairlens.plotting.panel_layout import NARROW_WIDTH, PAGE_WIDTH, PanelLayout

# The colours and the record of a picture are imported by commands that draw nothing, and Matplotlib imports slowly.
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PULL, PUSH, INK, FAINT = "#0072B2", "#D55E00", "#333333", "#BBBBBB"
# The yellow of Okabe and Ito is hardly visible on white paper, so grey takes its place.
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
DASHES = ("-", "--", ":", "-.")

_FOR_A_PAGE: ContextVar[bool] = ContextVar("_FOR_A_PAGE", default=False)


@dataclass(frozen=True)
class Picture:
    """A figure on disk with its caption and its text alternative.

    Attributes:
        file: SVG or PNG.
        caption: what the figure shows.
        alt: what can be seen in it, for readers who cannot see it.
    """

    file: Path
    caption: str
    alt: str

    @property
    def narrow_file(self) -> Path:
        """The same figure with its panels below each other, for a phone; it exists only for the SVG files of a page."""
        return self.file.with_suffix(".narrow.svg")

    @property
    def dark_file(self) -> Path:
        """The same picture on dark paper; it exists only for the pictures of photos on a page."""
        return self.file.with_suffix(f".dark{self.file.suffix}")


def tidy(panels: "Iterable[Axes]") -> None:
    """Remove the upper and the right line of the frame and set the font sizes."""
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=7)
        axes.xaxis.label.set_fontsize(8)
        axes.yaxis.label.set_fontsize(8)
        axes.title.set_fontsize(9)


@contextmanager
def figures_for_a_page() -> Iterator[None]:
    """Within this context, pictures are drawn for a page.

    `save` fits each SVG to the width of the page and writes a narrow copy for phones beside it; pictures of photos also
    get a copy on dark paper.
    """
    token = _FOR_A_PAGE.set(True)
    try:
        yield
    finally:
        _FOR_A_PAGE.reset(token)


def is_for_a_page() -> bool:
    """Return whether pictures are drawn for a page."""
    return _FOR_A_PAGE.get()


def save(figure: "Figure", file: Path, salt: str = "pairlens") -> None:
    """Write a figure to its file, completely or not at all; equal figures give equal SVG files.

    Args:
        figure: what to save; within `figures_for_a_page` its panels are moved, so it is of no use afterwards.
        file: its suffix, .svg or .png, says the format.
        salt: what the ids inside an SVG are derived from.
    """
    make_folder(file.parent)
    if not is_for_a_page() or file.suffix != ".svg":
        _write(figure, file, salt)
        return
    layout = PanelLayout.of(figure)
    has_narrow_copy = layout.can_be_narrow()
    layout.fit_width(PAGE_WIDTH)
    _write(figure, file, salt)
    if has_narrow_copy:
        layout.fit_width(NARROW_WIDTH)
        _write(figure, Picture(file, "", "").narrow_file, salt)


def _write(figure: "Figure", file: Path, salt: str) -> None:
    from matplotlib import rc_context

    # Without the date, and with ids derived from the salt, an SVG depends on nothing but the figure.
    metadata = {"Date": None} if file.suffix == ".svg" else None
    with rc_context({"svg.hashsalt": salt, "svg.fonttype": "none"}), atomic_write(file) as part:
        figure.savefig(part, format=file.suffix[1:], dpi=130, metadata=metadata)
