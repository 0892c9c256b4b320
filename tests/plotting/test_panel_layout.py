"""Figures fitted to a page and to a phone."""

import pytest
from matplotlib.figure import Figure

from pairlens.plotting.panel_layout import NARROW_WIDTH, PAGE_WIDTH, PanelLayout
from pairlens.plotting.style import figures_for_a_page, save


def drawn(rows, columns, width, height=2.0):
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for number, axes in enumerate(panels.flatten()):
        axes.plot([0, 1], [0, 1], label="a line")
        axes.set(
            title=f"panel {number} of the figure", xlabel="a long label below the axis of the panel", ylabel="value"
        )
    return figure


def lines_of(figure, panels):
    """How many panels each line has, from top to bottom."""
    tops = [round(panel.get_position().y1, 3) for panel in panels]
    return [tops.count(top) for top in sorted(set(tops), reverse=True)]


@pytest.mark.parametrize(
    ("rows", "columns", "width", "on_page", "on_phone"),
    [
        (1, 1, 7.2, [1], [1]),
        (1, 2, 9.0, [2], [1, 1]),
        (1, 3, 11.0, [3], [1, 1, 1]),
        (2, 4, 11.0, [4, 4], [2, 2, 2, 2]),
        (2, 6, 14.0, [3, 3, 3, 3], [2, 2, 2, 2, 2, 2]),
    ],
)
def test_panels_move_below_each_other(rows, columns, width, on_page, on_phone):
    figure = drawn(rows, columns, width)
    layout = PanelLayout.of(figure)
    for limit, lines in ((PAGE_WIDTH, on_page), (NARROW_WIDTH, on_phone)):
        layout.fit_width(limit)
        figure.draw_without_rendering()
        assert figure.get_figwidth() <= limit
        assert lines_of(figure, layout.panels) == lines


def test_every_label_lies_within_the_figure():
    figure = drawn(1, 6, 14.0, 3.0)
    panels = figure.axes
    figure.colorbar(panels[0].imshow([[0, 1]]), ax=panels[:2]).set_label("weight")
    layout = PanelLayout.of(figure)
    for limit in (PAGE_WIDTH, NARROW_WIDTH):
        layout.fit_width(limit)
        figure.draw_without_rendering()
        box = figure.get_tightbbox()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.get_figwidth()
        assert box.y1 <= figure.get_figheight()


def test_a_legend_beside_a_panel_moves_above_it():
    figure = drawn(1, 1, 7.2, 3.8)
    (axes,) = figure.axes
    legend = axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    PanelLayout.of(figure).fit_width(NARROW_WIDTH)
    figure.draw_without_rendering()
    assert legend.get_window_extent().y0 >= axes.get_window_extent().y1


def test_panels_that_shared_an_axis_have_their_own_labels():
    figure = Figure(figsize=(9, 2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    left.set_ylabel("share of pairs")
    PanelLayout.of(figure).fit_width(NARROW_WIDTH)
    figure.draw_without_rendering()
    assert right.get_ylabel() == "share of pairs"
    assert any(tick.label1.get_visible() for tick in right.yaxis.get_major_ticks())


def test_a_matrix_of_many_losses_is_not_drawn_narrow():
    assert not PanelLayout.of(drawn(1, 1, 12.0)).can_be_narrow()
    assert not PanelLayout.of(drawn(1, 1, 3.0)).can_be_narrow()
    assert PanelLayout.of(drawn(1, 1, 7.0)).can_be_narrow()


def test_only_the_figures_of_a_page_have_a_narrow_copy(tmp_path):
    save(drawn(1, 2, 9.0), tmp_path / "alone.svg")
    with figures_for_a_page():
        save(drawn(1, 2, 9.0), tmp_path / "page.svg")
        save(drawn(1, 2, 9.0), tmp_path / "page.png")
    assert {file.name for file in tmp_path.iterdir()} == {"alone.svg", "page.svg", "page.narrow.svg", "page.png"}


def test_a_figure_without_a_layout_is_fitted_too():
    figure = Figure(figsize=(12, 3))
    figure.subplots(1, 4)
    PanelLayout.of(figure).fit_width(NARROW_WIDTH)
    assert figure.get_figwidth() == NARROW_WIDTH
