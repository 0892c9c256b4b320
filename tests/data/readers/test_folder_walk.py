import os
import unicodedata

import pytest

from pairlens.core import image_formats
from pairlens.data.account import count_kinds
from pairlens.data.readers import image_folder
from pairlens.data.readers.folder_walk import walk_folder

SYSTEM = ["@eaDir", "@EADIR", "__MACOSX", "#recycle", "$RECYCLE.BIN", "lost+found", "System Volume Information"]
HIDDEN = [".Trash-1000", ".Trashes", ".thumbnails", ".git"]


def _touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def _kinds(left_out):
    return {count.kind: count.count for count in count_kinds(left_out)}


def test_every_file_on_the_disk_is_a_photo_or_left_out(tmp_path):
    inside_photos = [f"{name}/{deep}x.jpg" for name in (*SYSTEM, *HIDDEN, "a") for deep in ("", "deep/")]
    _touch(tmp_path, *inside_photos, "a/b.txt", "a/.hidden.png", "a/noend", "loose.webp", "a/@eaDir/1.jpg/thumb.jpg")
    contents = walk_folder(tmp_path)
    on_disk = sum(len(files) for _, _, files in os.walk(tmp_path))
    assert len(contents.photos) + len(contents.left_out) == on_disk
    assert [path.as_posix() for path in contents.photos] == ["loose.webp", "a/x.jpg", "a/deep/x.jpg"]
    kinds = _kinds(contents.left_out)
    assert {kind: kinds[kind] for kind in (".txt file", "hidden file", "file without suffix", "file in @eaDir")} == {
        ".txt file": 1,
        "hidden file": 1,
        "file without suffix": 1,
        "file in @eaDir": 3,
    }
    assert kinds["file in hidden folders"] == 2 * len(HIDDEN)


@pytest.mark.parametrize("suffix", sorted(image_formats.photo_suffixes()))
def test_every_suffix_of_a_format_that_is_read_is_a_photo(tmp_path, suffix):
    _touch(tmp_path, f"a/1{suffix}", f"a/2{suffix.upper()}")
    assert len(walk_folder(tmp_path).photos) == 2


def test_heic_without_its_package_is_left_out_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(image_formats, "_register_heif", lambda: False)
    image_formats.readable_formats.cache_clear()
    image_formats.photo_suffixes.cache_clear()
    try:
        _touch(tmp_path, *(f"{name}/{i}.heic" for name in "ab" for i in range(2)))
        with pytest.raises(ValueError, match=r"left out: 4 \.heic files: .* pip install 'pairlens\[heif\]'"):
            image_folder.read(tmp_path)
    finally:
        image_formats.readable_formats.cache_clear()
        image_formats.photo_suffixes.cache_clear()


@pytest.fixture
def linked(tmp_path):
    """A data folder with links of every kind, and what lies outside of it."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    _touch(root, "a/1.jpg", "b/1.jpg")
    _touch(outside, "secret.jpg", "more/2.jpg")
    (root / "a" / "file_out.jpg").symlink_to(outside / "secret.jpg")
    (root / "a" / "file_in.jpg").symlink_to(root / "b" / "1.jpg")
    (root / "a" / "nothing.jpg").symlink_to(root / "none.jpg")
    (root / "a" / "up").symlink_to(root)
    (root / "c").symlink_to(outside)
    (root / "d").symlink_to(root / "b")
    return root


def test_links_inside_are_followed_and_links_to_outside_are_counted(linked):
    contents = walk_folder(linked)
    assert [path.as_posix() for path in contents.photos] == ["a/1.jpg", "a/file_in.jpg", "b/1.jpg", "d/1.jpg"]
    assert _kinds(contents.left_out) == {"linked file": 2, "linked folder": 2}
    assert {entry.path for entry in contents.left_out} == {"a/file_out.jpg", "a/nothing.jpg", "a/up", "c"}


def test_links_to_outside_are_followed_if_asked_for(linked):
    contents = walk_folder(linked, follow_links=True)
    photos = {path.as_posix() for path in contents.photos}
    assert photos >= {"a/file_out.jpg", "c/secret.jpg", "c/more/2.jpg"}
    assert {entry.path for entry in contents.left_out} == {"a/nothing.jpg", "a/up"}


def test_links_that_name_each_other_end(tmp_path):
    for i in range(6):
        (tmp_path / f"d{i}").mkdir()
        _touch(tmp_path, f"d{i}/1.jpg")
    for i in range(6):
        for j in range(6):
            (tmp_path / f"d{i}" / f"to{j}").symlink_to(tmp_path / f"d{j}")
    contents = walk_folder(tmp_path)
    assert len(contents.photos) < 6**4
    assert {entry.kind for entry in contents.left_out} == {"linked folder"}


def test_a_pipe_named_like_a_photo_and_a_closed_folder_are_left_out(tmp_path):
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "a" / "pipe.jpg")
    (tmp_path / "broken\n.jpg.txt").touch()
    contents = walk_folder(tmp_path)
    assert contents.photos == ()
    assert [entry.kind for entry in contents.left_out] == [".txt file", "special file"]
    assert "\n" not in contents.left_out[0].path


def test_classes_are_the_same_in_both_spellings(tmp_path):
    composed, decomposed = "café", unicodedata.normalize("NFD", "café")
    _touch(tmp_path, f"train/{composed}/1.jpg", f"test/{decomposed}/2.jpg", "train/a/1.jpg", "test/b/1.jpg")
    photos = image_folder.read(tmp_path).photos
    assert {photo.class_name for photo in photos} == {composed, "a", "b"}
    assert f"test/{composed}/2.jpg" in {photo.key for photo in photos}
    assert all((tmp_path / photo.path).is_file() for photo in photos)
