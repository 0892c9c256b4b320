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


def _split_of(root):
    return {(photo.class_name, photo.split) for photo in image_folder.read(root).photos}


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING"])
@pytest.mark.parametrize("test", ["test", "Testing", "val", "Valid", "VALIDATION"])
def test_train_with_any_name_for_the_test_folder_is_a_split(tmp_path, train, test):
    _touch(tmp_path, f"{train}/a/1.jpg", f"{train}/b/1.jpg", f"{test}/c/1.jpg")
    assert _split_of(tmp_path) == {("a", "train"), ("b", "train"), ("c", "test")}


def test_train_query_and_gallery_are_a_split(tmp_path):
    _touch(tmp_path, "Train/a/1.jpg", "query/b/1.jpg", "gallery/b/2.jpg")
    assert _split_of(tmp_path) == {("a", "train"), ("b", "query"), ("b", "gallery")}


def test_a_third_folder_is_left_out_and_counted(tmp_path):
    _touch(tmp_path, "train/a/1.jpg", "val/v/1.jpg", "test/c/1.jpg", "extra/x/1.jpg", "train/loose.jpg")
    annotations = image_folder.read(tmp_path)
    assert {photo.class_name for photo in annotations.photos} == {"a", "c"}
    assert [entry.kind for entry in annotations.left_out] == [
        "photo beside the split folders",
        "photo outside class folders",
        "photo in val",
    ]


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        (["train/a/1.jpg", "train/b/1.jpg"], "has the folder 'train' but none to go with it"),
        (["train/a/1.jpg", "cats/1.jpg"], "has the folder 'train' but none to go with it"),
        (["val/a/1.jpg", "test/b/1.jpg"], "has folders for test, validation but none for train"),
        (["train/a/1.jpg", "query/b/1.jpg"], "has folders for query, train; a split needs"),
        (["train/a/1.jpg", "val/b/1.jpg", "valid/c/1.jpg"], "the folders 'val' and 'valid', which mean the same"),
        (["train/1.jpg", "val/1.jpg"], "fewer than two class folders with photos .*2 photos outside class folders"),
        (["a/train/1.jpg", "a/val/2.jpg", "b/train/1.jpg"], "a has the folders train and val, which would become cla"),
        (["all/Train/a/1.jpg", "all/Test/b/1.jpg"], "all has the folders Test and Train, which would become classes"),
    ],
)
def test_a_split_that_is_not_understood_is_refused(tmp_path, paths, reason):
    _touch(tmp_path, *paths)
    with pytest.raises(ValueError, match=reason):
        image_folder.read(tmp_path)


GROCERIES = [
    "train/Fruit/Apple/Golden-Delicious/1.jpg", "train/Fruit/Apple/Pink-Lady/1.jpg", "train/Packages/Milk/1.jpg",
    "test/Vegetables/Carrot/1.jpg", "test/Fruit/Pear/Anjou/1.jpg",
]  # fmt: skip


def test_the_class_is_the_folder_that_holds_the_photo(tmp_path):
    _touch(tmp_path, *GROCERIES)
    annotations = image_folder.read(tmp_path)
    assert [photo.class_name for photo in annotations.photos] == [
        "Fruit/Apple/Golden-Delicious", "Fruit/Apple/Pink-Lady", "Packages/Milk", "Fruit/Pear/Anjou",
        "Vegetables/Carrot",
    ]  # fmt: skip
    assert annotations.notes[0].startswith(
        "a class is the folder that holds a photo: Fruit/Apple/Golden-Delicious, Fru"
    )


def test_class_depth_chooses_the_level(tmp_path):
    _touch(tmp_path, *GROCERIES)
    annotations = image_folder.read(tmp_path, class_depth=2)
    assert {photo.class_name for photo in annotations.photos} == {
        "Fruit/Apple", "Packages/Milk", "Fruit/Pear", "Vegetables/Carrot",
    }  # fmt: skip
    assert "level 2 of the folders" in annotations.notes[0]
    deep = image_folder.read(tmp_path, class_depth=3)
    assert [entry.kind for entry in deep.left_out] == ["photo above the class folders"] * 2


def test_a_class_inside_a_class_is_named(tmp_path):
    _touch(tmp_path, "a/1.jpg", "a/back/1.jpg", "b/1.jpg")
    assert "a/back lies in a folder that is a class, too" in image_folder.read(tmp_path).notes[0]
    assert {photo.class_name for photo in image_folder.read(tmp_path, class_depth=1).photos} == {"a", "b"}
