"""Figures fitted to a width by moving their panels below each other, so that text keeps its size."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# In inches of 96 CSS pixels: the text column of the report, and that of a phone of 390 pixels.
PAGE_WIDTH, NARROW_WIDTH = 10.8, 3.7
# A panel is never made narrower than this, nor than a fifth of the width of the figure.
MIN_PANEL_WIDTH = 1.7
# A panel that becomes narrower becomes lower as well, down to this part of its height.
MIN_HEIGHT_FACTOR = 0.72
# A single panel above this width, such as the matrix of many losses, has too much in it to be drawn narrow.
MAX_SINGLE_WIDTH = 9.0
LEGEND_LINE = 0.17
LAYOUT_PASSES = 2


@dataclass(frozen=True, eq=False)
class PanelLayout:
    """The panels of a figure as they were drawn.

    Attributes:
        figure: the figure.
        rows: its panels from top to bottom, each row from left to right.
        panel_width: width of a cell of the grid, in inches.
        panel_height: its height.
    """

    figure: "Figure"
    rows: "Sequence[Sequence[Axes]]"
    panel_width: float
    panel_height: float

    @classmethod
    def of(cls, figure: "Figure") -> "PanelLayout":
        """Return the layout of a figure that has not been fitted yet."""
        rows: dict[int, list[Axes]] = {}
        grid_rows = grid_columns = 1
        for axes in figure.axes:
            spec = axes.get_subplotspec()
            # Colour bars are not in the grid; Matplotlib puts them beside their panels.
            if spec is not None and axes.get_visible():
                grid_rows, grid_columns = spec.get_gridspec().get_geometry()
                rows.setdefault(spec.rowspan.start, []).append(axes)
        return cls(
            figure, list(rows.values()), figure.get_figwidth() / grid_columns, figure.get_figheight() / grid_rows
        )

    @property
    def panels(self) -> "list[Axes]":
        """All panels."""
        return [panel for row in self.rows for panel in row]

    def can_be_narrow(self) -> bool:
        """Return whether the figure is too wide for a phone and can be drawn narrower."""
        width = self.figure.get_figwidth()
        return width > NARROW_WIDTH and (len(self.panels) > 1 or width <= MAX_SINGLE_WIDTH)

    def fit_width(self, width: float) -> None:
        """Fit the figure into a width in inches: fewer panels per row, more rows; if it fits, it stays as it is."""
        if self.figure.get_figwidth() <= width:
            return
        from matplotlib.gridspec import GridSpec

        columns = _columns_that_fit(max(map(len, self.rows)), self.panel_width, width)
        factor = max(MIN_HEIGHT_FACTOR, min(1.0, width / columns / self.panel_width))
        # Each row of the drawn figure is broken by itself, so that two losses never share a line.
        lines = [line for row in self.rows for line in _broken(row, columns)]
        legend_height = sum(_move_legend_above(panel) for panel in self.panels)
        self.figure.set_size_inches(width, len(lines) * self.panel_height * factor + legend_height)
        grid = GridSpec(len(lines), columns, self.figure)
        for number, line in enumerate(lines):
            for column, panel in enumerate(line):
                panel.set_subplotspec(grid[number, column])
        for panel in self.panels:
            _label_axes(panel)
            _wrap_texts(panel, width / columns)
        engine = self.figure.get_layout_engine()
        # The constrained layout starts from the old positions; one pass leaves labels outside of the figure.
        for _ in range(LAYOUT_PASSES):
            # A figure without a layout of its own stays as its grid is.
            if engine is not None:
                engine.execute(self.figure)


def _columns_that_fit(columns: int, panel_width: float, width: float) -> int:
    # Panels may shrink to two thirds before one of them has to move to the next line.
    narrowest = max(MIN_PANEL_WIDTH, width / 5, 2 / 3 * panel_width)
    fitting = max(1, min(columns, int(width / narrowest)))
    # Lines of equal length: of six panels three and three, not four and two.
    return math.ceil(columns / math.ceil(columns / fitting))


def _broken(row: "Sequence[Axes]", columns: int) -> "list[Sequence[Axes]]":
    return [row[start : start + columns] for start in range(0, len(row), columns)]


def _move_legend_above(panel: "Axes") -> float:
    """Move a legend that stands to the right of a panel above it; returns the height that it needs, in inches."""
    legend = panel.get_legend()
    if legend is None:
        return 0.0
    left = legend.get_bbox_to_anchor().transformed(panel.transAxes.inverted()).x0
    if left < 0.99:
        return 0.0
    legend.set_loc("lower left")
    legend.set_bbox_to_anchor((0, 1.02), transform=panel.transAxes)
    return LEGEND_LINE * (len(legend.get_texts()) + 1)


def _label_axes(panel: "Axes") -> None:
    """Show the labels of the y axis, which panels side by side share with the leftmost one."""
    panel.tick_params(labelleft=True)
    if not panel.get_ylabel():
        shared = panel.get_shared_y_axes().get_siblings(panel)
        panel.set_ylabel(next((axes.get_ylabel() for axes in shared if axes.get_ylabel()), ""))


def _wrap_texts(panel: "Axes", width: float) -> None:
    for text in (panel.title, panel.xaxis.label):
        # A letter is about 0.55 em wide; a quarter of the width is left to the axis. Formulas cannot be broken.
        letters = int(0.75 * 72 * width / (0.55 * float(text.get_fontsize())))
        if "$" not in text.get_text():
            text.set_text(textwrap.fill(text.get_text().replace("\n", " "), letters))
