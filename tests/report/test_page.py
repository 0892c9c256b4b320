"""The page: everything in one file, escaped, within its size."""

import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pairlens.plotting.style import Picture, save
from pairlens.report.page import CodeBlock, FigureBlock, Page, Paragraph, Section, Table, render

EVIL = "<script>alert(1)</script>"


def page_of(*blocks, title="A verdict."):
    return Page("report of a test", title, ["More."], [("data", "bars")], (), [Section("Part", blocks)], "today")


@pytest.fixture
def line(tmp_path):
    figure = Figure(figsize=(4, 2))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 3])
    axes.set_clip_on(True)
    save(figure, tmp_path / "line.svg")
    return Picture(tmp_path / "line.svg", "A line.", 'It rises & "ends".')


def noise(tmp_path, name, side=240):
    file = tmp_path / f"{name}.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)).save(file)
    return Picture(file, f"Noise {name}.", "Nothing.")


def test_text_of_the_data_is_never_markup():
    text = render(
        page_of(
            Paragraph(EVIL),
            Table(EVIL, (EVIL, "b"), [(EVIL, EVIL)], note=EVIL),
            CodeBlock(EVIL, EVIL),
            CodeBlock(EVIL, EVIL, folded=True),
            title=EVIL,
        )
    )
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 10


def test_two_figures_share_no_id_and_every_reference_is_met(line):
    text = render(page_of(FigureBlock(line), FigureBlock(line)))
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    assert used <= set(ids)
    assert any(name.startswith("p1-") for name in used)


def test_a_figure_has_its_names_and_leaves_the_page_alone(line):
    text = render(page_of(FigureBlock(line)))
    assert text.count("<svg") == 1
    assert 'role="img"' in text
    assert 'aria-label="It rises &amp; &quot;ends&quot;."' in text
    assert "<figcaption>A line.</figcaption>" in text
    assert "<metadata" not in text
    assert text.count("<style") == 1
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text)


def test_photos_become_smaller_until_they_fit(tmp_path):
    pictures = [FigureBlock(noise(tmp_path, name)) for name in "abcd"]
    large = len(render(page_of(*pictures)).encode())
    small = render(page_of(*pictures), most=large - 1)
    assert len(small.encode()) < large
    assert small.count("<img") == 4


def test_what_does_not_fit_is_left_out_by_importance_and_said(tmp_path):
    pictures = [FigureBlock(noise(tmp_path, "low"), 1), FigureBlock(noise(tmp_path, "high"), 5)]
    none, one = (len(render(page_of(*some)).encode()) for some in ((), pictures[1:]))
    text = render(page_of(*pictures), most=one + 1000)
    assert none < len(text.encode()) <= one + 1000
    assert text.count("<img") == 1
    assert "Left out to keep this page small: Noise low." in text
    assert "<figcaption>Noise high.</figcaption>" in text
    with pytest.raises(ValueError, match="without any photo"):
        render(page_of(), most=100)


def test_tables_say_what_their_cells_are():
    text = render(
        page_of(Table("Losses", ("loss", "R@1"), [("circle", "1.0"), ("triplet", "0.5")], frozenset({"circle"})))
    )
    assert '<th scope="col">R@1</th>' in text
    assert '<tr class="strong"><th scope="row">circle</th><td>1.0</td>' in text
    assert "<caption>Losses</caption>" in text
    assert 'role="region" aria-label="Losses" tabindex="0"' in text
