import pytest

from pairlens.data.readers.text_lines import read_lines


def _read(file, text, **options):
    file.write_bytes(text)
    return [(line.number, *line.fields) for line in read_lines(file, **options)]


def test_lines_are_numbered_as_in_the_file(tmp_path):
    text = b"\xef\xbb\xbf2\r\nname id\r\n\r\na.jpg 7\r\nb.jpg 8"
    assert _read(tmp_path / "list.txt", text, fields=2, skip=2) == [(4, "a.jpg", "7"), (5, "b.jpg", "8")]


def test_the_last_field_may_hold_spaces(tmp_path):
    assert _read(tmp_path / "list.txt", b"1  my photos/a b.jpg ", fields=2) == [(1, "1", "my photos/a b.jpg")]


def test_a_short_line_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"list\.txt, line 2: 1 fields where 2 are expected; restore the file"):
        _read(tmp_path / "list.txt", b"1 a\n2\n", fields=2)


def test_a_word_in_place_of_a_number_is_named(tmp_path):
    (tmp_path / "list.txt").write_text("one 2.5 wide", encoding="utf-8")
    (line,) = read_lines(tmp_path / "list.txt", fields=3)
    with pytest.raises(ValueError, match="line 1: 'one' should be a whole number"):
        line.integer(0)
    with pytest.raises(ValueError, match="line 1: 'wide' should be a number of pixels"):
        line.pixels(2)
    assert line.pixels(1) == 2.5


def test_a_missing_or_binary_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.txt is missing"):
        list(read_lines(tmp_path / "none.txt", fields=1))
    with pytest.raises(ValueError, match="is not a text file"):
        _read(tmp_path / "list.txt", b"\xff\xfe\x00", fields=1)
