"""The page: everything in one file, escaped, within its size."""

import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pairlens.core.table import Table
from pairlens.plotting.style import Picture, figures_for_a_page, save
from pairlens.report.page import (
    CodeBlock,
    FigureBlock,
    Page,
    Paragraph,
    PhotoBlock,
    PhotoRow,
    PhotoTile,
    Section,
    TableBlock,
)
from pairlens.report.render import render

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


def photos(name):
    picture = Image.new("RGB", (8, 8))
    tiles = [PhotoTile(picture, name, "query")]
    tiles += [PhotoTile(picture, name, f"result {rank}", rank == 1) for rank in (1, 2)]
    return PhotoBlock(name, [PhotoRow(name, tiles)])


def test_text_of_the_data_is_never_markup():
    text = render(
        page_of(
            Paragraph(EVIL),
            TableBlock(Table(EVIL, (EVIL, "b"), [(EVIL, EVIL)], (EVIL,)), explanations={EVIL: EVIL}),
            photos(EVIL),
            CodeBlock(EVIL, EVIL),
            CodeBlock(EVIL, EVIL, folded=True),
            title=EVIL,
        )
    )
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 15


def test_a_drawing_is_an_image_with_its_caption_and_its_text_alternative(line):
    text = render(page_of(FigureBlock(line), FigureBlock(line)))
    assert text.count("<img") == 2
    assert text.count('src="data:image/svg+xml;base64,') == 2
    assert 'alt="It rises &amp; &#34;ends&#34;."' in text
    assert "<figcaption>A line.</figcaption>" in text
    assert "<svg" not in text
    assert text.count("<style") == 1
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text)


def test_a_wide_drawing_has_a_narrow_copy_for_phones(tmp_path):
    figure = Figure(figsize=(9, 2), layout="constrained")
    figure.subplots(1, 2)
    with figures_for_a_page():
        save(figure, tmp_path / "wide.svg")
    text = render(page_of(FigureBlock(Picture(tmp_path / "wide.svg", "Wide.", "Two panels."))))
    assert text.count('<source media="screen and (max-width: 640px)" srcset="data:image/svg+xml;base64,') == 1


def test_photos_have_signs_words_and_their_names(tmp_path):
    text = render(page_of(photos("bird")))
    assert '<div class="tile correct">' in text
    assert 'alt="result 1, bird, correct"' in text
    assert 'alt="result 2, bird, wrong"' in text
    assert text.index(">✓<") < text.index(">✗<")


def test_photos_become_smaller_until_they_fit(tmp_path):
    pictures = [FigureBlock(noise(tmp_path, name)) for name in "abcd"]
    large = len(render(page_of(*pictures)).encode())
    small = render(page_of(*pictures), max_bytes=large - 1)
    assert len(small.encode()) < large
    assert small.count("<img") == 4


def test_what_does_not_fit_is_left_out_by_importance_and_said(tmp_path):
    pictures = [FigureBlock(noise(tmp_path, "low"), 1), FigureBlock(noise(tmp_path, "high"), 5)]
    none, one = (len(render(page_of(*some)).encode()) for some in ((), pictures[1:]))
    text = render(page_of(*pictures), max_bytes=one + 1000)
    assert none < len(text.encode()) <= one + 1000
    assert text.count("<img") == 1
    assert "Left out to keep this page small: Noise low." in text
    assert "<figcaption>Noise high.</figcaption>" in text
    with pytest.raises(ValueError, match="without any photo"):
        render(page_of(), max_bytes=100)


def test_a_drawing_without_importance_gives_way_before_photos_and_any_other_drawing_stays(line, tmp_path):
    drawing, folded = FigureBlock(line), FigureBlock(Picture(line.file, "A matrix.", "In a file."), importance=0)
    photo = FigureBlock(noise(tmp_path, "low"))
    sizes = [len(render(page_of(*some)).encode()) for some in ((drawing,), (drawing, folded))]
    text = render(page_of(folded, drawing), max_bytes=max(sizes) - 100)
    assert "Left out to keep this page small: A matrix. In a file." in text
    assert "<figcaption>A line.</figcaption>" in text
    fits = len(render(page_of(drawing, photo), max_bytes=10_000_000).encode())
    both = render(page_of(folded, photo, drawing), max_bytes=fits)
    assert "<figcaption>Noise low.</figcaption>" in both
    with pytest.raises(ValueError, match="compare fewer losses or benchmarks"):
        render(page_of(drawing, folded, photo), max_bytes=min(sizes) - 100)


def test_tables_say_what_their_cells_are():
    text = render(
        page_of(
            TableBlock(
                Table("Losses", ("loss", "R@1"), [("circle", "1.0"), ("triplet", "0.5")], bold=frozenset({"circle"}))
            )
        )
    )
    assert '<th scope="col">R@1</th>' in text
    assert '<tr class="strong"><th scope="row">circle</th><td data-column="R@1">1.0</td>' in text
    assert "<caption>Losses</caption>" in text
    assert 'role="region" aria-label="Losses" tabindex="0"' in text
