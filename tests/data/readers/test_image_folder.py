import pytest

from pairlens.data.readers import image_folder


def _touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def _photos(root):
    return [(photo.path, photo.class_name, photo.split) for photo in image_folder.read(root).photos]


def test_the_first_half_of_the_classes_is_train(tmp_path):
    _touch(tmp_path, "d/1.jpg", "b/1.jpg", "c/1.jpg", "a/2.jpg", "a/1.jpg", "empty/readme.txt", "loose.jpg")
    assert _photos(tmp_path) == [
        ("a/1.jpg", "a", "train"),
        ("a/2.jpg", "a", "train"),
        ("b/1.jpg", "b", "train"),
        ("c/1.jpg", "c", "test"),
        ("d/1.jpg", "d", "test"),
    ]


def test_train_and_test_folders_define_the_split(tmp_path):
    _touch(tmp_path, "train/z/1.jpg", "test/a/1.jpg", "other/q/1.jpg")
    assert _photos(tmp_path) == [("train/z/1.jpg", "z", "train"), ("test/a/1.jpg", "a", "test")]


def test_a_class_may_be_in_train_and_test(tmp_path):
    _touch(tmp_path, "train/z/1.jpg", "test/z/2.jpg", "test/a/1.jpg")
    assert {(name, split) for _, name, split in _photos(tmp_path)} == {("z", "train"), ("z", "test"), ("a", "test")}
    assert image_folder.read(tmp_path).given


def test_only_train_and_test_folders_give_a_split(tmp_path):
    _touch(tmp_path, "a/1.jpg", "b/1.jpg", "train/1.jpg")
    assert not image_folder.read(tmp_path).given


def test_suffixes_and_hidden_files(tmp_path):
    names = [
        "1.JPG",
        "2.jpeg",
        "3.PnG",
        "4.webp",
        "5.bmp",
        "6.gif",
        "7.tif",
        "8.TIFF",
        "9.ppm",
        "A.pgm",
        "B.jp2",
        "C.tga",
        "D.jpe",
    ]
    photos = [f"a/{name}" for name in names]
    others = ["a/.x.jpg", "a/.git/x.jpg", ".thumbs/x.jpg", "__MACOSX/x.jpg", "a/x.txt", "a/jpg"]
    _touch(tmp_path, *photos, *others, "b/1.jpg")
    assert [path for path, name, _ in _photos(tmp_path) if name == "a"] == photos
    assert len(_photos(tmp_path)) == len(photos) + 1


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    _touch(root, "a/1.jpg", "b/1.jpg")
    _touch(outside, "secret.jpg")
    (root / "a" / "out.jpg").symlink_to(outside / "secret.jpg")
    (root / "a" / "more").symlink_to(outside)
    (root / "c").symlink_to(outside)
    (root / "a" / "in.jpg").symlink_to(root / "b" / "1.jpg")
    assert [path for path, _, _ in _photos(root)] == ["a/1.jpg", "a/in.jpg", "b/1.jpg"]


def test_the_same_file_name_in_two_classes_stays_apart(tmp_path):
    _touch(tmp_path, "a/front.jpg", "b/front.jpg")
    assert len(_photos(tmp_path)) == 2


@pytest.mark.parametrize("paths", [[], ["1.jpg"], ["a/1.jpg", "b/none.txt"]])
def test_fewer_than_two_classes_are_an_error(tmp_path, paths):
    _touch(tmp_path, *paths)
    with pytest.raises(ValueError, match="fewer than two class folders"):
        image_folder.read(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none is not a folder"):
        image_folder.read(tmp_path / "none")
