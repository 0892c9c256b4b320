import pytest

from pairlens.data.readers import sop

HEADING = "image_id class_id super_class_id path\n"


def _write(root, train, test):
    (root / "Ebay_train.txt").write_text(HEADING + train, encoding="utf-8")
    (root / "Ebay_test.txt").write_text(HEADING + test, encoding="utf-8")


def test_products_are_sorted_by_number(tmp_path):
    _write(tmp_path, "1 10 1 bicycle_final/b_0.JPG\n2 9 1 bicycle_final/a_0.JPG\n", "3 11 2 lamp_final/a_0.JPG\n")
    assert [(p.path, p.class_name, p.split) for p in sop.read(tmp_path).photos] == [
        ("bicycle_final/a_0.JPG", "9", "train"),
        ("bicycle_final/b_0.JPG", "10", "train"),
        ("lamp_final/a_0.JPG", "11", "test"),
    ]


def test_a_list_of_the_published_size_is_read_whole(tmp_path):
    train_classes, train_photos = sop.PUBLISHED["train"]
    test_classes, test_photos = sop.PUBLISHED["test"]
    train = [f"{i} {1 + i % train_classes} 1 chair_final/{i}.JPG\n" for i in range(train_photos)]
    test = [f"{i} {1 + train_classes + i % test_classes} 2 sofa_final/{i}.JPG\n" for i in range(test_photos)]
    _write(tmp_path, "".join(train), "".join(test))
    photos = sop.read(tmp_path).photos
    assert len(photos) == 120053
    assert len({photo.class_name for photo in photos}) == 22634
    assert [photo.class_name for photo in photos[:6]] == ["1"] * 6


def test_a_malformed_line_or_missing_list_is_named(tmp_path):
    _write(tmp_path, "1 ten 1 bicycle_final/b_0.JPG\n", "")
    with pytest.raises(ValueError, match=r"Ebay_train\.txt, line 2: 'ten' should be a whole number"):
        sop.read(tmp_path)
    (tmp_path / "Ebay_test.txt").unlink()
    (tmp_path / "Ebay_train.txt").write_text(HEADING, encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=r"Ebay_test\.txt is missing"):
        sop.read(tmp_path)
