"""Text on pictures: every character is drawn as itself, or as an escape; none as the box of a font that lacks it."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pairlens.plotting import lettering
from pairlens.plotting.contact_sheet import SIDE, TEXT
from pairlens.plotting.lettering import Lettering, _characters, _dejavu, _runs

TEXT_20 = Lettering(20)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    lettering._font_of.cache_clear()
    yield
    lettering._font_of.cache_clear()


def drawn(text):
    picture = Image.new("L", (600, 40), 255)
    TEXT_20.draw(ImageDraw.Draw(picture), (5, 5), text, "#000000")
    return np.asarray(picture)


@pytest.mark.parametrize("alphabet", ["äöüßéèñøåçłŁőžŽ", "αβγδεζΩΣ", "абвгдежЩЯ", "ěščřžđÞ", "№€£…–"])
def test_the_letters_of_europe_are_all_different_and_none_is_a_box(alphabet):
    pictures = [drawn(letter) for letter in alphabet]
    box = drawn("\ufffe")
    for number, picture in enumerate(pictures):
        assert (picture < 128).any()
        assert not np.array_equal(picture, box)
        assert not any(np.array_equal(picture, other) for other in pictures[:number])


def test_a_letter_and_its_accent_are_drawn_as_one():
    assert np.array_equal(drawn("cafe\u0301"), drawn("café"))


def escaped(text):
    return "".join(part for _, part in _runs(text))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("中", "\\u4e2d"),
        ("a\u200bb", "a\\u200bb"),
        ("a\nb", "a\\nb"),
        ("\udcff", "\\udcff"),
        ("\U0001f697 car", "\\U0001f697 car"),
        ("\x1b[31m", "\\x1b[31m"),
    ],
)
def test_what_no_font_has_is_an_escape(monkeypatch, text, shown):
    monkeypatch.setattr(lettering, "_system_fonts", lambda: ())
    # DejaVu has a few pictures of its own.
    monkeypatch.setattr(lettering, "_has", lambda file, c: ord(c) in _characters(file) and ord(c) < 0x1F000)
    assert escaped(text) == shown
    assert (drawn(text) < 128).any()
    assert TEXT_20.width(text) == TEXT_20.width(shown)


def test_a_font_of_the_system_draws_what_dejavu_lacks(monkeypatch):
    other = _dejavu().with_name("STIXGeneral.ttf")
    character = chr(min(c for c in _characters(other) - _characters(_dejavu()) if 0x300 < c < 0xE000))
    monkeypatch.setattr(lettering, "_system_fonts", lambda: (_dejavu().with_name("missing.ttf"), other))
    assert _runs(f"a{character}b") == [(_dejavu(), "a"), (other, character), (_dejavu(), "b")]
    lettering._font_of.cache_clear()
    with_font = drawn(character)
    monkeypatch.setattr(lettering, "_system_fonts", lambda: ())
    lettering._font_of.cache_clear()
    assert not np.array_equal(with_font, drawn(character))


def test_a_damaged_font_of_the_system_is_left_out(tmp_path):
    file = tmp_path / "broken.ttf"
    file.write_bytes(b"no font")
    assert _characters(file) == frozenset()


@pytest.mark.parametrize("text", ["short", "Ω" * 100, "中文" * 100, "x" * 10**6, ""])
def test_a_text_is_never_wider_than_its_space(text):
    shown = TEXT_20.shortened(text, 200)
    assert TEXT_20.width(shown) <= 200
    assert shown == text or shown.endswith("…")


@pytest.mark.parametrize("text", ["query", "10   distance 0.123  correct", "8   distance 1.234  wrong"])
def test_the_captions_of_a_sheet_fit_below_a_photo(text):
    assert TEXT.shortened(text, SIDE) == text


def test_anchors_place_the_text():
    def edges(anchor, x):
        picture = Image.new("L", (400, 60), 255)
        TEXT_20.draw(ImageDraw.Draw(picture), (x, 30), "Wide", "#000000", anchor)
        rows, columns = np.nonzero(np.asarray(picture) < 128)
        return rows.mean(), (columns.min() + columns.max()) / 2

    assert edges("mm", 200)[1] == pytest.approx(200, abs=2)
    assert edges("lm", 200)[1] == pytest.approx(200 + TEXT_20.width("Wide") / 2, abs=2)
    assert edges("lm", 200)[0] == pytest.approx(30, abs=4)
    assert edges("la", 200)[0] > edges("lm", 200)[0]
