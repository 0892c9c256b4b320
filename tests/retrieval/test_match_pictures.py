import pytest
from PIL import Image, ImageFont

from pairlens.core.images import load_image
from pairlens.plotting.contact_sheet import BORDER, SIDE, Tile, tile_sheet
from pairlens.retrieval.gallery import Match, Query
from pairlens.retrieval.match_pictures import contact_sheet, framed, write_pictures

BLUE = Image.new("RGB", (36, 36), (0, 0, 255))


def matches(*verdicts):
    return [Match(i, f"c/{i}.jpg", f"class {i}", i / 10, right, BLUE) for i, right in enumerate(verdicts, 1)]


QUERY = Query("008055", "class 1", BLUE, b"")


def channel_of_border(picture):
    red, green, blue = picture.getpixel((BORDER // 2, SIDE // 2))
    if green > max(red, blue):
        return "green"
    return "red" if red > max(green, blue) else "grey"


def test_border_is_green_for_right_red_for_wrong_grey_for_unknown():
    assert [channel_of_border(framed(m)) for m in matches(True, False, None)] == ["green", "red", "grey"]
    assert framed(matches(True)[0]).getpixel((SIDE // 2, SIDE // 2)) == (0, 0, 255)


def test_files_are_named_by_rank_and_distance_as_in_the_original_project(tmp_path):
    files = write_pictures(QUERY, matches(True, False), tmp_path / "008055")
    names = ["query_img.jpg", "retrieval_img_1_0.1000.jpg", "retrieval_img_2_0.2000.jpg", "sheet.png"]
    assert [f.name for f in files] == names
    assert sorted(f.name for f in (tmp_path / "008055").iterdir()) == names
    assert all(load_image(f).size == (SIDE, SIDE) for f in files[:-1])


def test_pictures_of_an_earlier_query_are_replaced(tmp_path):
    write_pictures(QUERY, matches(True, False, False), tmp_path)
    write_pictures(QUERY, matches(True), tmp_path)
    assert len(list(tmp_path.glob("retrieval_img_*"))) == 1


def test_the_sheet_has_one_row_per_query_and_one_column_per_match():
    one = contact_sheet([(QUERY, matches(True, False))])
    two = contact_sheet([(QUERY, matches(True, False)), (QUERY, matches(True, False, None))], title="two")
    assert two.width - one.width == pytest.approx(SIDE, abs=20)
    assert two.height > 1.9 * one.height - 20


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match=r"cannot be written.*--out"):
        write_pictures(QUERY, matches(True), tmp_path / "file" / "x")


def test_a_long_caption_is_cut_without_measuring_all_of_it(monkeypatch):
    measured = []
    measure = ImageFont.FreeTypeFont.getlength
    monkeypatch.setattr(
        ImageFont.FreeTypeFont,
        "getlength",
        lambda self, text, *rest: measured.append(text) or measure(self, text, *rest),
    )
    tile_sheet([[Tile(Image.new("RGB", (9, 9)), "first", 100_000 * "m")]])
    assert max(map(len, measured)) <= SIDE + 1
