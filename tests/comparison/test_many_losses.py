"""The figures and the report of a comparison of many losses stay readable, and say what they leave out."""

from dataclasses import replace
from itertools import combinations

import pytest

from pairlens.comparison import figures
from pairlens.comparison.results import Difference
from pairlens.evaluation.intervals import t_interval
from pairlens.losses import Circle, Triplet
from pairlens.report.comparison_report import _losses_sections
from pairlens.report.sections import losses_section
from support.study_results import benchmark_result


def many(count):
    """A benchmark of so many losses, with curves of two epochs and the differences of any two."""
    result = benchmark_result("birds", {f"loss {n}": [0.9 - 0.01 * n, 0.91 - 0.01 * n] for n in range(count)}, 0.1)
    losses = tuple(replace(loss, curve=(t_interval([0.1, 0.2]),) * 2, epochs=(0, 1)) for loss in result.losses)
    names = [loss.name for loss in losses]
    over_seeds = t_interval([0.01, 0.02])
    differences = tuple(Difference("MAP@R", *pair, over_seeds, 0.01, 0.02, True) for pair in combinations(names, 2))
    return replace(result, losses=losses, differences=differences)


@pytest.fixture
def drawn(monkeypatch):
    """Every figure that is saved; rendering warns, which is an error, if a figure has too little room."""
    saved, save = [], figures.save

    def keep(figure, file, salt):
        saved.append(figure)
        save(figure, file, salt)

    monkeypatch.setattr(figures, "save", keep)
    return saved


@pytest.mark.parametrize("count", [2, 16, 17, 60])
@pytest.mark.parametrize("draw", [figures.draw_metric_curves, figures.draw_costs])
def test_the_first_of_many_losses_are_named_and_the_others_grey(draw, count, drawn, tmp_path):
    picture = draw(many(count), tmp_path / "figure.svg")
    (axes,) = drawn[0].axes
    names = [text.get_text() for text in axes.get_legend().get_texts() if text.get_text().startswith("loss")]
    named = count if count <= 16 else 8
    assert names == [f"loss {n}" for n in range(named)]
    assert len([line for line in axes.lines if line.get_color() == figures.FAINT]) == count - named
    assert ("Grey: the other losses, without intervals." in picture.caption) == (named < count)
    # The text alternative has the value of every loss.
    assert f"loss {count - 1} " in picture.alt


@pytest.mark.parametrize(("count", "rows"), [(3, 3), (20, 20), (21, 12), (60, 12)])
def test_a_matrix_has_the_first_of_many_losses(count, rows, drawn, tmp_path):
    picture = figures.draw_differences(many(count), tmp_path / "figure.svg")
    (axes,) = drawn[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"loss {n}" for n in range(rows)]
    assert len(axes.texts) == rows * (rows - 1) / 2
    assert picture.alt.count(" above ") == rows * (rows - 1) / 2
    assert ("differences.csv" in picture.caption) == (rows < count)


@pytest.mark.parametrize("count", [3, 42])
def test_ranks_have_a_row_for_each_loss(count, drawn, tmp_path):
    figures.draw_ranks(many(count), tmp_path / "figure.svg")
    assert len(drawn[0].axes[0].get_yticks()) == count


def test_the_planes_of_the_first_losses_are_drawn_and_all_are_audited(without_rendering, tmp_path):
    losses = [("a", Circle()), ("b", Triplet()), ("c", Circle(gamma=10))]
    section = losses_section(losses, tmp_path, most=2)
    figure, *audits = section.blocks
    assert "The other losses are not drawn here; pairlens explain LOSS draws any of them." in figure.picture.caption
    assert "(a, b)" in figure.picture.alt
    assert figure.importance == 0
    assert [audit.table.title.split(":")[0] for audit in audits] == ["Audit of a", "Audit of b", "Audit of c"]
    (alone,) = [block for block in losses_section(losses[:1], tmp_path).blocks if hasattr(block, "picture")]
    assert alone.importance == 1


def test_losses_that_two_benchmarks_share_are_described_once(monkeypatch, tmp_path):
    described = []

    def describe(losses, folder, level, most):
        described.append((len(losses), most))
        return f"{len(losses)} losses"

    monkeypatch.setattr("pairlens.report.comparison_report.losses_section", describe)
    monkeypatch.setattr("pairlens.report.comparison_report._loss_of", lambda *_: None)
    whole = replace(many(9), name="whole")
    part = replace(whole, name="part", losses=whole.losses[2:5])
    other = replace(whole, name="other", losses=tuple(replace(loss, loss="x:margin=1") for loss in whole.losses))
    sections = _losses_sections(None, [whole, part, other], tmp_path, (), 3)
    assert described == [(9, 4), (9, 4)]
    assert sections[0] == sections[2] == "9 losses"
    assert sections[1].blocks[0].text == "The losses have the same settings as in whole, where they are described."
    described.clear()
    _losses_sections(None, [many(17)], tmp_path, (), 2)
    assert described == [(17, 3)]
