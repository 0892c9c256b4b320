"""What is found at the places that a user names."""

import os
from pathlib import Path
from unicodedata import normalize

import pyarrow as pa
import pytest
from pyarrow import parquet

from pairlens.collection.source_table import read_source_table
from pairlens.collection.sources import find_sources
from pairlens.core.boxes import ShareBox
from support.tiny_collections import photo_folder, write_photo

DECOMPOSED = normalize("NFD", "café")


def names(found):
    return [photo.name for photo in found.photos]


def table(file: Path, *lines: str) -> Path:
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_a_flat_folder_of_mixed_formats_has_no_labels(tmp_path):
    for number, suffix in enumerate((".jpg", ".PNG", ".webp", ".bmp")):
        write_photo(tmp_path / f"{number}{suffix}", number)
    (tmp_path / "notes.txt").write_text("no photo", encoding="utf-8")
    found = find_sources([tmp_path])
    assert names(found) == ["0.jpg", "1.PNG", "2.webp", "3.bmp"]
    assert {photo.label for photo in found.photos} == {None}
    assert [entry.kind for entry in found.left_out] == [".txt file"]
    assert found.folders == ((tmp_path.as_posix(), ""),)
    assert "no labels" in found.labels_from


def test_folders_are_labels_if_there_are_two(tmp_path):
    photo_folder(tmp_path, "ab", 1)
    write_photo(tmp_path / "loose.png", 7)
    write_photo(tmp_path / "b" / "deep" / "1.png", 8)
    found = find_sources([tmp_path])
    assert {photo.name: photo.label for photo in found.photos} == {
        "a/0.png": "a",
        "b/0.png": "b",
        "b/deep/1.png": "b/deep",
        "loose.png": None,
    }
    assert "a, b, b/deep" in found.labels_from
    assert {photo.label for photo in find_sources([tmp_path], labels="none").photos} == {None}


def test_one_folder_of_photos_is_a_label_only_if_it_is_asked_for(tmp_path):
    photo_folder(tmp_path, "a", 2)
    assert {photo.label for photo in find_sources([tmp_path]).photos} == {None}
    assert {photo.label for photo in find_sources([tmp_path], labels="folders").photos} == {"a"}


def test_a_single_file_lies_in_its_folder(tmp_path):
    file = write_photo(tmp_path / "a.jpg", 1)
    found = find_sources([file])
    assert (found.photos[0].root, found.photos[0].path) == (tmp_path.as_posix(), "a.jpg")
    assert found.folders == ()


def test_the_same_photo_of_two_places_is_one(tmp_path):
    photo_folder(tmp_path, "ab", 2)
    places = [tmp_path / "a", tmp_path, tmp_path / "a" / "0.png", table(tmp_path / "t.csv", "path,price", "a/0.png,3")]
    found = find_sources(places)
    assert sorted(names(found)) == ["a/0.png", "a/1.png", "b/0.png", "b/1.png"]
    first = next(photo for photo in found.photos if photo.name == "a/0.png")
    assert (first.label, first.metadata) == ("a", {"price": 3})


def test_a_label_of_a_table_comes_before_that_of_the_folder(tmp_path):
    photo_folder(tmp_path, "ab", 1)
    found = find_sources([tmp_path, table(tmp_path / "t.csv", "path,label", "a/0.png,cat")])
    assert {photo.name: photo.label for photo in found.photos} == {"a/0.png": "cat", "b/0.png": "b"}


class TestRoots:
    def test_an_inner_folder_belongs_to_the_outer_one(self, tmp_path):
        photo_folder(tmp_path, "ab", 1)
        root = tmp_path.as_posix()
        found = find_sources([tmp_path / "a"], known_roots=[root])
        assert [(photo.root, photo.path) for photo in found.photos] == [(root, "a/0.png")]
        assert found.folders == ((root, "a"),)

    def test_photos_of_an_inner_root_keep_it_however_often_the_outer_folder_is_indexed(self, tmp_path):
        photo_folder(tmp_path, "ab", 1)
        outer, inner = tmp_path.as_posix(), (tmp_path / "a").as_posix()
        for known in ([inner], [inner, outer]):
            found = find_sources([tmp_path], known_roots=known)
            assert [(photo.root, photo.path) for photo in found.photos] == [(inner, "0.png"), (outer, "b/0.png")]
            assert set(found.folders) == {(outer, ""), (inner, "")}

    def test_a_root_of_kept_photos_contains_no_file(self, tmp_path):
        photo_folder(tmp_path, "a", 1)
        assert find_sources([tmp_path], known_roots=[""]).photos[0].root == tmp_path.as_posix()

    def test_a_name_that_only_begins_alike_is_another_folder(self, tmp_path):
        write_photo(tmp_path / "cats2" / "a.png", 1)
        found = find_sources([tmp_path / "cats2"], known_roots=[(tmp_path / "cats").as_posix()])
        assert found.photos[0].root == (tmp_path / "cats2").as_posix()


class TestTables:
    def test_labels_boxes_and_metadata(self, tmp_path):
        write_photo(tmp_path / "a.png", 1)
        lines = (
            "path,label,x_1,y_1,x_2,y_2,price,code,sold",
            "a.png,cat,1,2,10,20,2.5,007,true",
            "a.png,,,,,,,12,false",
        )
        first, second = find_sources([table(tmp_path / "t.csv", *lines)]).photos
        assert (first.label, first.box, first.metadata) == (
            "cat",
            (1, 2, 10, 20),
            {"price": 2.5, "code": "007", "sold": True},
        )
        assert (second.label, second.box, second.metadata) == (None, None, {"code": "12", "sold": False})

    def test_boxes_in_shares(self, tmp_path):
        found = find_sources([table(tmp_path / "t.csv", "path,x_1,y_1,x_2,y_2", "a.png,0,0,0.5,1")])
        assert found.photos[0].box == ShareBox(0.0, 0.0, 0.5, 1.0)

    def test_a_parquet_table(self, tmp_path):
        parquet.write_table(
            pa.table({"path": ["a.png"], "label": ["x"], "n": pa.array([None], pa.int64())}), tmp_path / "t.parquet"
        )
        assert find_sources([tmp_path / "t.parquet"]).photos[0].label == "x"

    def test_names_are_found_as_the_disk_spells_them(self, tmp_path):
        write_photo(tmp_path / f"{DECOMPOSED}.png", 1)
        photo = find_sources([table(tmp_path / "t.csv", "path", "café.png")]).photos[0]
        assert photo.file.is_file()
        assert photo.name == "café.png"

    @pytest.mark.parametrize(
        ("lines", "words"),
        [
            (("label", "a"), "no column 'path'"),
            (("path", "../a.png"), "row 1.*inside"),
            (("path", "/etc/passwd"), "row 1.*inside"),
            (("path,x_1,y_1,x_2,y_2", "a.png,1,2,3,x"), "row 1.*four numbers"),
            (("path,x_1,y_1,x_2,y_2", "a.png,1,2,3,nan"), "row 1.*inside a photo"),
            (("path,x_1", "a.png,1"), "row 1"),
            (("path,a[0]", "a.png,1"), "t.csv: the metadata key"),
            (("path,label", "a.png,\x07"), "row 1.*label"),
            (("path", "a.png,b"), "cells"),
        ],
    )
    def test_a_wrong_row_is_named(self, tmp_path, lines, words):
        with pytest.raises(ValueError, match=words):
            find_sources([table(tmp_path / "t.csv", *lines)])


class TestTypes:
    @pytest.mark.parametrize(
        ("texts", "values"),
        [
            (["1", "", "-20"], [1, None, -20]),
            (["1", "2.5"], [1.0, 2.5]),
            (["1", "nan", ""], [1.0, None, None]),
            (["nan"], ["nan"]),
            (["007", "8"], ["007", "8"]),
            (["-007", "8.5"], ["-007", "8.5"]),
            (["+49170", "1"], ["+49170", "1"]),
            (["1_000", "2"], ["1_000", "2"]),
            (["9007199254740993", "1"], ["9007199254740993", "1"]),
            (["1e999", "1"], ["1e999", "1"]),
            (["1e-3", "."], ["1e-3", "."]),
            (["true", "FALSE"], [True, False]),
            (["true", "1"], ["true", "1"]),
        ],
    )
    def test_a_column_has_one_type(self, tmp_path, texts, values):
        lines = ["path,v", *(f"{n}.png,{text}" for n, text in enumerate(texts))]
        rows = read_source_table(table(tmp_path / "t.csv", *lines)).rows
        found = [row.metadata.get("v") for row in rows]
        assert found == values
        assert list(map(type, found)) == list(map(type, values))


class TestLabelsAndMetadataOfTables:
    @pytest.mark.parametrize("name", ["a/0.png", "{root}/a/0.png", "{folder}/a/0.png", r"a\0.png", "./a/0.png"])
    def test_paths_relative_to_root_or_above_or_whole(self, tmp_path, name):
        root = photo_folder(tmp_path / "photos", "ab", 1)
        name = name.format(root=root.as_posix(), folder=root.name)
        found = find_sources([root], labels=table(tmp_path / "l.csv", "path,label", f"{name},cat"))
        assert {photo.name: photo.label for photo in found.photos} == {"a/0.png": "cat", "b/0.png": None}
        assert "none for 1 photo" in found.labels_from

    def test_paths_relative_to_the_table(self, tmp_path):
        root = photo_folder(tmp_path / "photos", "ab", 1)
        found = find_sources([root], metadata=table(root / "a" / "m.csv", "path,price", "0.png,3"))
        assert {photo.name: dict(photo.metadata) for photo in found.photos} == {"a/0.png": {"price": 3}, "b/0.png": {}}

    def test_a_name_without_its_folder_describes_no_photo(self, tmp_path):
        root = photo_folder(tmp_path / "photos", "ab", 1)
        with pytest.raises(ValueError, match=r"describes none of the 2 photos.*such as a/0\.png"):
            find_sources([root], metadata=table(tmp_path / "m.csv", "path,price", "0.png,3"))

    def test_a_table_without_labels_is_refused(self, tmp_path):
        root = photo_folder(tmp_path / "photos", "ab", 1)
        with pytest.raises(ValueError, match="no label"):
            find_sources([root], labels=table(tmp_path / "m.csv", "path,price", "a/0.png,3"))

    def test_a_path_twice_is_refused(self, tmp_path):
        root = photo_folder(tmp_path / "photos", "ab", 1)
        with pytest.raises(ValueError, match=r"row 2.*twice"):
            find_sources([root], metadata=table(tmp_path / "m.csv", "path,price", "a/0.png,3", "./a/0.png,4"))

    def test_a_table_that_is_not_there(self, tmp_path):
        photo_folder(tmp_path, "ab", 1)
        with pytest.raises(FileNotFoundError, match="folder is not a file"):
            find_sources([tmp_path], labels=Path("folder"))


class TestNames:
    def test_control_characters_and_bytes_that_are_no_text_are_left_out(self, tmp_path):
        write_photo(tmp_path / "a\x1b.png", 1)
        try:
            write_photo(tmp_path / "b.png", 2).rename(tmp_path / os.fsdecode(b"\xff.png"))
        except OSError:
            pytest.skip("this disk takes UTF-8 only")
        found = find_sources([tmp_path])
        assert not found.photos
        assert [entry.kind for entry in found.left_out] == ["photo with an unprintable name"] * 2

    def test_a_root_that_is_no_text_is_refused(self, tmp_path):
        write_photo(tmp_path / "a\x1b" / "a.png", 1)
        for place in (tmp_path / "a\x1b", tmp_path / "a\x1b" / "a.png"):
            with pytest.raises(ValueError, match="rename it"):
                find_sources([place])

    def test_two_spellings_of_one_name_are_one_photo_and_one_left_out(self, tmp_path):
        write_photo(tmp_path / f"{DECOMPOSED}.png", 1)
        write_photo(tmp_path / "café.png", 2)
        if len(list(tmp_path.iterdir())) == 1:
            pytest.skip("this disk holds one of the two names")
        found = find_sources([tmp_path])
        assert names(found) == ["café.png"]
        assert [entry.kind for entry in found.left_out] == ["photo with an ambiguous name"]


class TestLinks:
    def test_links_to_outside_are_followed_on_demand(self, tmp_path):
        outside, inside = write_photo(tmp_path / "outside" / "a.png", 1), tmp_path / "photos"
        write_photo(inside / "b.png", 2)
        (inside / "out.png").symlink_to(outside)
        (inside / "in.png").symlink_to("b.png")
        (inside / "folder").symlink_to(outside.parent)
        found = find_sources([inside])
        assert names(found) == ["b.png", "in.png"]
        assert sorted(entry.kind for entry in found.left_out) == ["linked file", "linked folder"]
        assert len(find_sources([inside], follow_links=True).photos) == 4
        listed = table(inside / "t.csv", "path", "out.png", "folder/a.png", "b.png")
        assert [names(find_sources([listed], follow_links=follow)) for follow in (False, True)] == [
            ["b.png"],
            ["out.png", "folder/a.png", "b.png"],
        ]

    def test_a_pipe_is_no_photo(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.png")
        os.mkfifo(tmp_path / "pipe.csv")
        assert [entry.kind for entry in find_sources([tmp_path]).left_out] == [".csv file", "special file"]
        for name in ("pipe.png", "pipe.csv"):
            with pytest.raises(ValueError, match="a pipe"):
                find_sources([tmp_path / name])


@pytest.mark.parametrize(("name", "words"), [("a.txt", "no photo"), ("a", "no photo")])
def test_other_files_are_refused(tmp_path, name, words):
    (tmp_path / name).write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        find_sources([tmp_path / name])


def test_places_that_are_missing(tmp_path):
    with pytest.raises(ValueError, match="nothing to index"):
        find_sources([])
    with pytest.raises(FileNotFoundError):
        find_sources([tmp_path / "no"])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the administrator opens every folder")
def test_a_closed_folder_is_not_empty(tmp_path):
    photo_folder(tmp_path, "ab", 1)
    (tmp_path / "a").chmod(0)
    try:
        assert find_sources([tmp_path]).unopened == ((tmp_path.as_posix(), "a"),)
    finally:
        (tmp_path / "a").chmod(0o755)
