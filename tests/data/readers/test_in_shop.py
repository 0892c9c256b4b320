import pytest

from pairlens.data.readers import in_shop

HEADING = "4\nimage_name item_id evaluation_status\n"
SAME_NAMES = """img/WOMEN/Tees/id_00000002/01_1_front.jpg      id_00000002 gallery
img/WOMEN/Tees/id_00000002/02_1_front.jpg      id_00000002 query
img/MEN/Denim/id_00000001/01_1_front.jpg       id_00000001 train
img/WOMEN/Denim/id_00000003/01_1_front.jpg     id_00000003 query
"""


def _write(root, text):
    (root / "Eval").mkdir()
    (root / "Eval" / "list_eval_partition.txt").write_text(text, encoding="utf-8")


def test_the_real_list_gives_the_published_counts(annotations):
    items = in_shop.read(annotations / "in_shop")
    assert in_shop.PUBLISHED == {"train": (3997, 25882), "query": (3985, 14218), "gallery": (3985, 12612)}
    assert {split: _count(items, split) for split in in_shop.PUBLISHED} == in_shop.PUBLISHED
    assert len({photo.path for photo in items.photos}) == 52712
    assert len({photo.path.rsplit("/")[-1] for photo in items.photos}) == 380


def _count(items, split):
    photos = [photo for photo in items.photos if photo.split == split]
    return len({photo.class_name for photo in photos}), len(photos)


def test_photos_of_the_same_file_name_stay_apart(tmp_path):
    _write(tmp_path, HEADING + SAME_NAMES)
    assert [(p.path, p.class_name, p.split) for p in in_shop.read(tmp_path).photos] == [
        ("Img/img/MEN/Denim/id_00000001/01_1_front.jpg", "id_00000001", "train"),
        ("Img/img/WOMEN/Tees/id_00000002/02_1_front.jpg", "id_00000002", "query"),
        ("Img/img/WOMEN/Denim/id_00000003/01_1_front.jpg", "id_00000003", "query"),
        ("Img/img/WOMEN/Tees/id_00000002/01_1_front.jpg", "id_00000002", "gallery"),
    ]


def test_an_unknown_status_is_named(tmp_path):
    _write(tmp_path, HEADING + "img/a.jpg id_1 test\n")
    with pytest.raises(
        ValueError, match=r"list_eval_partition\.txt, line 3: the status 'test' is not train, query or gallery"
    ):
        in_shop.read(tmp_path)


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"list_eval_partition\.txt is missing"):
        in_shop.read(tmp_path)
