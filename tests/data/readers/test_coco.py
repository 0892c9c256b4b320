import json

import pytest

from pairlens.core.boxes import ShareBox
from pairlens.data.readers import coco, read

IMAGES = [
    {"id": 1, "file_name": "kitchen/a.jpg", "width": 40, "height": 30},
    {"id": 2, "file_name": "b.jpg", "width": 40, "height": 30},
    {"id": 3, "file_name": "empty.jpg", "width": 40, "height": 30},
]
CATEGORIES = [{"id": 7, "name": "spoon"}, {"id": 9, "name": "cup"}]
BOXES = [
    {"id": 11, "image_id": 1, "category_id": 9, "bbox": [0, 0, 10.4, 10]},
    {"id": 12, "image_id": 1, "category_id": 7, "bbox": [5, 5, 20, 20]},
    {"id": 15, "image_id": 2, "category_id": 9, "bbox": [30, 20, 10, 10.6], "iscrowd": 0},
]


def _write(folder, **changes):
    contents = {"images": IMAGES, "categories": CATEGORIES, "annotations": BOXES, "info": {}, **changes}
    (folder / "boxes.json").write_text(json.dumps(contents), encoding="utf-8")
    return folder / "boxes.json"


def _changed(entries, position, **changes):
    changed = [dict(entry) for entry in entries]
    changed[position].update(changes)
    return changed


def test_one_photo_per_box_with_the_id_in_its_key(tmp_path):
    annotations = coco.read(_write(tmp_path))
    assert [(p.key, p.class_name, p.split, p.box) for p in annotations.photos] == [
        ("kitchen/a.jpg#11", "cup", "train", (0, 0, 10, 10)),
        ("b.jpg#15", "cup", "train", (30, 20, 40, 31)),
        ("kitchen/a.jpg#12", "spoon", "test", (5, 5, 25, 25)),
    ]
    assert (annotations.root, annotations.given) == (tmp_path, False)
    assert [(entry.path, entry.kind) for entry in annotations.left_out] == [("empty.jpg", "image without annotation")]


def test_the_folder_of_the_photos(tmp_path):
    file = _write(tmp_path)
    assert read("coco", file, tmp_path).root == tmp_path
    (tmp_path / "images").mkdir()
    assert coco.read(file).root == tmp_path / "images"
    with pytest.raises(FileNotFoundError, match="none is not a folder; give the folder of the photos as --images"):
        coco.read(file, tmp_path / "none")


def test_images_may_have_a_split(tmp_path):
    images = [{**image, "split": split} for image, split in zip(IMAGES, ("gallery", "train", "train"), strict=True)]
    annotations = coco.read(_write(tmp_path, images=images))
    assert [(p.key, p.split) for p in annotations.photos] == [
        ("b.jpg#15", "train"), ("kitchen/a.jpg#11", "gallery"), ("kitchen/a.jpg#12", "gallery"),
    ]  # fmt: skip
    assert annotations.given


def test_crowds_are_left_out_and_counted(tmp_path):
    annotations = coco.read(_write(tmp_path, annotations=_changed(BOXES, 2, iscrowd=1)))
    assert len(annotations.photos) == 2
    assert annotations.left_out[0].kind == "crowd annotation"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"annotations": _changed(BOXES, 1, image_id=5)}, "annotation 12 has an unknown image_id, 5"),
        ({"annotations": _changed(BOXES, 1, image_id=True)}, "annotation 12 has an unknown image_id"),
        ({"annotations": _changed(BOXES, 1, category_id=[7])}, r"annotation 12 has an unknown category_id, \[7\]"),
        (
            {"annotations": _changed(BOXES, 1, bbox=[30, 20, 12, 5])},
            r"annotation 12: the box .* is not inside its image of",
        ),
        ({"annotations": _changed(BOXES, 1, bbox=[-3, 20, 12, 5])}, "annotation 12: .* is not inside"),
        ({"annotations": _changed(BOXES, 1, bbox=[3, 2, 0, 5])}, "annotation 12: .* has no pixel"),
        ({"annotations": _changed(BOXES, 1, bbox=[9, 2, -4, 5])}, "annotation 12: .* has no pixel"),
        ({"annotations": _changed(BOXES, 1, bbox=[3, 2, 5])}, "annotation 12: its bbox is not four numbers"),
        ({"annotations": _changed(BOXES, 1, bbox=[3, 2, 5, float("nan")])}, "annotation 12: its bbox is not four"),
        ({"annotations": _changed(BOXES, 1, bbox=[3, 2, 5, "5"])}, "annotation 12: its bbox is not four"),
        ({"annotations": _changed(BOXES, 1, bbox={})}, "annotation 12: its bbox is not four"),
        ({"annotations": _changed(BOXES, 1, id=11)}, "the id 11 occurs twice in annotations"),
        ({"annotations": _changed(BOXES, 1, id="12")}, "entry 2 of annotations has no id"),
        ({"annotations": _changed(BOXES, 1, bbox=[0, 0, 10, 10])}, r"the box \(0, 0, 10, 10\) of the photo .* 2 times"),
        ({"annotations": [3]}, "entry 1 of annotations has no id"),
        ({"annotations": []}, "lists no photos"),
        ({"annotations": {}}, "has no list 'annotations'"),
        ({"images": _changed(IMAGES, 0, file_name="../a.jpg")}, "'../a.jpg', which is not inside"),
        ({"images": _changed(IMAGES, 0, file_name="/etc/passwd")}, "'/etc/passwd', which is not inside"),
        ({"images": _changed(IMAGES, 0, file_name="a\x1b.jpg")}, "has a control character"),
        ({"images": _changed(IMAGES, 0, file_name=3)}, "entry 1 of images: it has no file_name"),
        ({"images": _changed(IMAGES, 0, width="wide")}, "entry 1 of images: its width is not a number"),
        ({"images": _changed(IMAGES, 0, split="val")}, "entry 1 of images: the split 'val' is not one of"),
        ({"images": _changed(IMAGES, 0, split="train")}, r"gives some images a split but not 'b\.jpg'"),
        ({"categories": _changed(CATEGORIES, 0, name="cup")}, "two categories of the same name"),
        ({"categories": _changed(CATEGORIES, 0, name=None)}, "entry 7 of categories: it has no name"),
    ],
)
def test_a_malformed_entry_is_an_error_in_one_sentence(tmp_path, changes, reason):
    with pytest.raises(ValueError, match=reason) as error:
        coco.read(_write(tmp_path, **changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"images": 1}', "[" * 100_000, b"\xd8\x00"])
def test_what_is_no_coco_file_is_an_error(tmp_path, text):
    file = tmp_path / "boxes.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"boxes\.json (cannot be read as JSON|is not a COCO file)"):
        coco.read(file)


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("pairlens.core.untrusted.MAX_JSON_BYTES", 100)
    with pytest.raises(ValueError, match="but at most 100 are read"):
        coco.read(_write(tmp_path))


def test_boxes_as_shares_are_read_and_a_mixture_is_refused(tmp_path):
    shares = [dict(entry, bbox=[left, 0, 0.5, 1]) for entry, left in zip(BOXES, (0, 0.25, 0.5), strict=True)]
    boxes = {photo.box for photo in coco.read(_write(tmp_path, annotations=shares)).photos}
    assert boxes == {ShareBox(left, 0, left + 0.5, 1) for left in (0, 0.25, 0.5)}
    with pytest.raises(ValueError, match=r"annotation 12: the box 0\.25, 0, 0\.75, 1 lies within 0 to 1"):
        coco.read(_write(tmp_path, annotations=[BOXES[0], shares[1]]))
