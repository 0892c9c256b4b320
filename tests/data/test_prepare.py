import csv
import json
import os
import resource
import shutil
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from pairlens.core.images import decode, encode, load_image
from pairlens.data import prepare as module
from pairlens.data.catalog import Catalog
from pairlens.data.prepare import Preparation, prepare
from support.threads import loading_threads


def _prepare(tmp_path, **options):
    lines = []
    settings = {
        "data_name": "folder",
        "data_path": tmp_path / "data",
        "source": tmp_path / "photos",
        "size": 16,
        **options,
    }
    return prepare(Preparation(**settings), lines.append), lines


def _colours(catalog):
    return decode([catalog.jpeg(i) for i in range(len(catalog))], catalog.size).float().mean((2, 3))


def _many(tmp_path, photos, broken):
    """Write photos of two classes, all links to one picture; the first `broken` are not pictures."""
    Image.new("RGB", (9, 9), "red").save(tmp_path / "one.jpg")
    for i in range(photos):
        path = tmp_path / "photos" / "ab"[i % 2] / f"{i:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no picture") if i < broken else os.link(tmp_path / "one.jpg", path)


def test_photos_labels_and_pixels_are_prepared(class_folders, tmp_path):
    catalog, lines = _prepare(tmp_path, name="mine")
    assert catalog.file == tmp_path / "data" / "mine" / "uncropped.arrow"
    assert (catalog.name, catalog.size, catalog.class_names) == ("mine", 16, tuple("abcde"))
    assert catalog.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert catalog.splits == ("train",) * 6 + ("test",) * 4
    expected = [[50 * label, 100, 20 * copy] for label in range(5) for copy in range(2)]
    assert (_colours(catalog) - torch.tensor(expected)).abs().max() <= 3
    assert lines[1:4] == [
        "train: 3 classes, 6 photos",
        "test: 2 classes, 4 photos",
        "Found 10: 10 read, 0 refused, 0 left out.",
    ]
    description = json.loads(catalog.file.with_suffix(".json").read_text(encoding="utf-8"))
    assert description["origin"]["folder"] == "photos"
    assert sorted(path.name for path in catalog.file.parent.iterdir()) == ["uncropped.arrow", "uncropped.json"]


def test_real_birds(birds, tmp_path, capfd):
    catalog, _ = _prepare(tmp_path, source=birds, size=252)
    assert (len(catalog), catalog.classes, catalog.select("train").classes) == (294, 10, 5)
    assert catalog.class_names[0] == "001.Black_footed_Albatross"
    batch = decode([catalog.jpeg(i) for i in range(0, 294, 30)], 252)
    assert batch.shape == (10, 3, 252, 252)
    assert (batch.float().std((1, 2, 3)) > 15).all()
    with Image.open(birds / catalog.paths[30]) as original:
        small = np.asarray(original.convert("RGB").resize((252, 252), Image.Resampling.BILINEAR), dtype=float)
    assert np.abs(small - batch[1].permute(1, 2, 0).numpy()).mean() < 4
    assert capfd.readouterr() == ("", "")


def test_a_tenth_of_cub_is_cropped_to_its_boxes_in_order(annotations, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "available_cores", lambda: 2)
    root = tmp_path / "photos"
    root.mkdir()
    for file in (annotations / "CUB_200_2011").glob("*.txt"):
        shutil.copy(file, root)
    lines_of_a_tenth = (root / "images.txt").read_text(encoding="utf-8").splitlines()[::10]
    (root / "images.txt").write_text("\n".join(lines_of_a_tenth), encoding="utf-8")
    # Red grows with x and green with y, so the mean colour of a crop tells the centre of its box.
    pixels = np.zeros((400, 500, 3), np.uint8)
    pixels[:, :, 0] = np.arange(500) // 2
    pixels[:, :, 1] = np.arange(400)[:, None] // 2
    Image.fromarray(pixels).save(tmp_path / "ramp.bmp")
    for line in lines_of_a_tenth:
        path = root / "images" / line.split()[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(tmp_path / "ramp.bmp", path)
    catalog, lines = _prepare(tmp_path, data_name="cub", crop_type="cropped")
    assert catalog.file.name == "cropped.arrow"
    assert (len(catalog), catalog.classes, catalog.crop) == (1179, 200, "cropped")
    assert catalog.labels.unique().tolist() == list(range(200))
    assert catalog.select("train").labels.max() == 99
    assert "published split has 100 and 5,864" in lines[0]
    box_lines = (root / "bounding_boxes.txt").read_text(encoding="utf-8").splitlines()
    texts = dict(line.split(maxsplit=1) for line in box_lines)
    boxes = torch.tensor([[float(x) for x in texts[line.split()[0]].split()] for line in lines_of_a_tenth])
    fits = (boxes[:, 0] + boxes[:, 2] <= 500) & (boxes[:, 1] + boxes[:, 3] <= 400)
    centres = (boxes[:, :2] + boxes[:, 2:] / 2) / 2
    assert fits.sum() > 1000
    assert (_colours(catalog)[:, :2] - centres)[fits].abs().max() < 2.5


def test_query_and_gallery_share_labels_and_names_do_not_collide(tmp_path):
    items = {
        "W/Tees/2/1.jpg": "2 gallery",
        "W/Tees/2/2.jpg": "2 query",
        "M/Denim/1/1.jpg": "1 train",
        "W/Denim/3/1.jpg": "3 query",
    }
    (tmp_path / "photos" / "Eval").mkdir(parents=True)
    rows = "".join(f"img/{path} {rest}\n" for path, rest in items.items())
    (tmp_path / "photos" / "Eval" / "list_eval_partition.txt").write_text("4\na b c\n" + rows, encoding="utf-8")
    for shade, path in enumerate(items):
        file = tmp_path / "photos" / "Img" / "img" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9), 60 * shade).save(file)
    catalog, _ = _prepare(tmp_path, data_name="isc")
    assert catalog.paths == tuple(
        f"Img/img/{p}" for p in ("M/Denim/1/1.jpg", "W/Tees/2/2.jpg", "W/Denim/3/1.jpg", "W/Tees/2/1.jpg")
    )
    assert catalog.labels.tolist() == [0, 1, 2, 1]
    assert catalog.splits == ("train", "query", "query", "gallery")
    assert (_colours(catalog)[:, 0] - torch.tensor([120, 60, 180, 0])).abs().max() <= 2


def test_a_table_with_boxes_can_be_cropped(class_folders, tmp_path):
    (class_folders / "t.csv").write_text(
        "label,path,split,x_1,y_1,x_2,y_2\na,a/0.png,train,0,0,9,9\nb,b/0.png,test,1,1,8,8\n", encoding="utf-8"
    )
    catalog, _ = _prepare(tmp_path, data_name="csv", source=class_folders / "t.csv", crop_type="cropped")
    assert catalog.paths == ("a/0.png", "b/0.png")


def test_cropping_without_boxes_is_an_error(class_folders, tmp_path):
    with pytest.raises(ValueError, match=r"--crop_type cropped needs bounding boxes, .* so use --crop_type uncropped"):
        _prepare(tmp_path, crop_type="cropped")
    assert not (tmp_path / "data").exists()


def test_paths_may_be_text(class_folders, tmp_path):
    catalog, _ = _prepare(tmp_path, data_path=str(tmp_path / "data"), source=str(tmp_path / "photos"))
    assert catalog.file == tmp_path / "data" / "folder" / "uncropped.arrow"
    assert Preparation("folder", data_path="data").data_path == Path("data")


def test_a_finished_preparation_is_not_repeated(class_folders, tmp_path):
    first, _ = _prepare(tmp_path)
    stamp = first.file.stat().st_mtime_ns
    again, lines = _prepare(tmp_path)
    assert (again.digest, again.file.stat().st_mtime_ns) == (first.digest, stamp)
    assert lines[-1].endswith("is prepared already, from the same photos; --force prepares it again.")


@pytest.mark.parametrize("change", [{"force": True}, {"size": 8}, {"quality": 50}, "listing", "damage"])
def test_a_change_prepares_again(class_folders, tmp_path, change):
    first, _ = _prepare(tmp_path)
    node = first.file.stat().st_ino
    if change == "listing":
        (class_folders / "e" / "1.png").unlink()
    if change == "damage":
        os.truncate(first.file, 100)
    again, lines = _prepare(tmp_path, **(change if isinstance(change, dict) else {}))
    assert again.file.stat().st_ino != node
    assert lines[-1].startswith("Written to ")
    assert len(Catalog.open(first.file)) == (9 if change == "listing" else 10)


def test_one_photo_in_a_hundred_may_fail(tmp_path):
    _many(tmp_path, photos=200, broken=2)
    catalog, lines = _prepare(tmp_path)
    assert len(catalog) == 198
    with (catalog.file.parent / "uncropped.failures.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows] == ["path", "a/0000.jpg", "b/0001.jpg"]
    assert "cannot be read as a picture" in rows[1][1]
    assert "Found 200: 198 read, 2 refused (2 unreadable files), 0 left out." in lines
    assert json.loads(catalog.file.with_suffix(".json").read_text(encoding="utf-8"))["failures"] == 2
    with pytest.raises(ValueError, match="2 of 200 photos cannot be read, but with --strict all must be readable"):
        _prepare(tmp_path, strict=True)


def test_more_than_one_in_a_hundred_stops(tmp_path):
    _many(tmp_path, photos=200, broken=3)
    with pytest.raises(ValueError, match=r"3 of 200 photos cannot be read, but at most 1 % may .*a/0000\.jpg"):
        _prepare(tmp_path)
    assert [path.name for path in (tmp_path / "data" / "folder").iterdir()] == ["uncropped.failures.csv"]
    for i in range(3):
        shutil.copy(tmp_path / "one.jpg", tmp_path / "photos" / "ab"[i % 2] / f"{i:04}.jpg")
    catalog, _ = _prepare(tmp_path)
    assert sorted(path.name for path in catalog.file.parent.iterdir()) == ["uncropped.arrow", "uncropped.json"]


def test_a_listed_photo_that_is_missing_is_a_failure(class_folders, tmp_path):
    rows = "".join(f"c{i % 3},{'abcde'[i % 5]}/{i // 5}.png,{'test' if i % 3 == 2 else 'train'}\n" for i in range(10))
    (class_folders / "t.csv").write_text(f"label,path,split\n{rows}c9,none.png,test\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"1 of 11 photos .*none\.png does not exist"):
        _prepare(tmp_path, data_name="csv", source=class_folders / "t.csv")


@pytest.mark.parametrize("cores", [1, 3])
def test_the_bytes_do_not_depend_on_the_number_of_cores(class_folders, tmp_path, monkeypatch, cores):
    threads = set()
    reduce = module.reduce_photo

    def reduce_slowly(*arguments):
        threads.add(threading.get_ident())
        time.sleep(0.01)
        return reduce(*arguments)

    monkeypatch.setattr(module, "reduce_photo", reduce_slowly)
    monkeypatch.setattr(module, "available_cores", lambda: cores)
    catalog, _ = _prepare(tmp_path)
    jpegs = [encode(load_image(class_folders / path), 16) for path in catalog.paths]
    assert [bytes(catalog.jpeg(i)) for i in range(10)] == jpegs
    assert len(threads) == cores


def test_an_interrupt_leaves_no_file_and_no_thread(class_folders, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "reduce_photo", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        _prepare(tmp_path)
    assert list((tmp_path / "data" / "folder").iterdir()) == []
    assert not loading_threads()


@contextmanager
def _largest_file(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_an_error_in_one_sentence_and_leaves_no_file(class_folders, tmp_path):
    message = r"cannot write to .* free disk space or choose another --data_path"
    with _largest_file(3000), pytest.raises(ValueError, match=message):
        _prepare(tmp_path)
    assert list((tmp_path / "data" / "folder").iterdir()) == []
    assert len(_prepare(tmp_path)[0]) == 10


def test_a_folder_that_cannot_be_created_is_an_error_in_one_sentence(class_folders, tmp_path):
    (tmp_path / "data").write_text("a file in the way", encoding="utf-8")
    with pytest.raises(ValueError, match=r"cannot write to .*data/folder"):
        _prepare(tmp_path)


def test_the_source_is_not_changed(class_folders, tmp_path):
    before = sorted((path, path.stat().st_mtime_ns) for path in class_folders.rglob("*"))
    _prepare(tmp_path)
    assert sorted((path, path.stat().st_mtime_ns) for path in class_folders.rglob("*")) == before


def test_the_source_is_in_the_data_folder_by_default(class_folders, tmp_path):
    class_folders.rename(tmp_path / "folder")
    catalog = prepare(Preparation("folder", tmp_path, size=8), print)
    assert catalog.file == tmp_path / "folder" / "uncropped.arrow"
    assert len(prepare(Preparation("folder", tmp_path, size=8, force=True), print)) == 10


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"name": "a/b"}, "plain folder name"), ({"name": ".."}, "plain folder name"), ({"size": 0}, "--size 0"),
     ({"quality": 101}, "--quality 101"), ({"data_name": "csv"}, "needs --source"),
     ({"data_name": "coco"}, "needs --source"),
     ({"data_name": "pets"}, "is not a reader; available are car, cub"), ({"data_name": ""}, "is not a reader"),
     ({"split": "half"}, "--split 'half' is not one of classes, photos, given"), ({"seed": -1}, "--seed -1"),
     ({"images": "x"}, "--images is for --data_name coco")],
)  # fmt: skip
def test_options_out_of_range_are_an_error(options, reason):
    with pytest.raises(ValueError, match=reason):
        Preparation(**{"data_name": "folder", "data_path": Path("data"), **options})


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="photos is not a folder"):
        _prepare(tmp_path)


def test_a_replaced_photo_is_noticed(class_folders, tmp_path):
    (class_folders / "a" / "bad.png").write_bytes(b"not a picture")
    for name in "abcde":
        for copy in range(2, 30):
            shutil.copy(class_folders / name / "0.png", class_folders / name / f"{copy}.png")
    assert len(_prepare(tmp_path, data_name="folder", source=class_folders)[0]) == 150
    shutil.copy(class_folders / "a" / "0.png", class_folders / "a" / "bad.png")
    repaired = _prepare(tmp_path, data_name="folder", source=class_folders)[0]
    assert len(repaired) == 151
    Image.new("RGB", (40, 30), "white").save(class_folders / "e" / "1.png")
    assert _prepare(tmp_path, data_name="folder", source=class_folders)[0].digest != repaired.digest


def test_split_photos_gives_every_class_training_and_test_photos(class_folders, tmp_path):
    for name in "abcde":
        for copy in range(2, 6):
            shutil.copy(class_folders / name / "0.png", class_folders / name / f"{copy}.png")
    catalog, lines = _prepare(tmp_path, split="photos")
    train, test = catalog.select("train"), catalog.select("test")
    assert (len(train), len(test)) == (15, 15)
    assert train.labels.unique().tolist() == test.labels.unique().tolist() == [0, 1, 2, 3, 4]
    assert "test: 5 classes (5 of them in train), 15 photos" in lines
    paths = set(test.paths)
    assert set(_prepare(tmp_path, split="photos", seed=1)[0].select("test").paths) != paths
    assert _prepare(tmp_path, split="photos", seed=1)[1][-1].endswith("--force prepares it again.")


def test_split_given_allows_a_class_on_both_sides(class_folders, tmp_path):
    rows = "".join(
        f"{'abcde'[i % 5]},{'abcde'[i % 5]}/{i // 5}.png,{'test' if i > 3 else 'train'}\n" for i in range(10)
    )
    (class_folders / "t.csv").write_text(f"label,path,split\n{rows}", encoding="utf-8")
    with pytest.raises(ValueError, match="4 classes both in train and in another split, such as 'a'"):
        _prepare(tmp_path, data_name="csv", source=class_folders / "t.csv")
    catalog, _ = _prepare(tmp_path, data_name="csv", source=class_folders / "t.csv", split="given")
    assert catalog.select("train").labels.tolist() == [0, 1, 2, 3]
    assert sorted(catalog.select("test").labels.tolist()) == [0, 1, 2, 3, 4, 4]


def test_every_box_of_a_coco_file_becomes_a_photo(tmp_path):
    (tmp_path / "images").mkdir()
    picture = Image.new("RGB", (40, 30), "red")
    picture.paste("blue", (20, 0, 40, 30))
    picture.save(tmp_path / "images" / "a.png")
    picture.save(tmp_path / "images" / "b.png")
    boxes = [([0, 0, 20, 30], 1), ([20, 0, 20, 30], 2)]
    contents = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(("a.png", "b.png"))],
        "categories": [{"id": 1, "name": "left"}, {"id": 2, "name": "right"}],
        "annotations": [
            {"id": 10 * image + kind, "image_id": image, "category_id": kind, "bbox": box}
            for image in range(2)
            for box, kind in boxes
        ],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(contents), encoding="utf-8")
    with pytest.raises(ValueError, match=r"coco lists 2 boxes of 'a\.png'; use --crop_type cropped"):
        _prepare(tmp_path, data_name="coco", source=tmp_path / "boxes.json")
    catalog, _ = _prepare(tmp_path, data_name="coco", source=tmp_path / "boxes.json", crop_type="cropped")
    assert catalog.paths == ("a.png#1", "b.png#11", "a.png#2", "b.png#12")
    assert catalog.splits == ("train", "train", "test", "test")
    assert (_colours(catalog) - torch.tensor([[254, 0, 0.0]] * 2 + [[0, 0, 254.0]] * 2)).abs().max() < 6


def test_records_of_a_program_are_prepared(class_folders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    records = [{"path": f"photos/{name}/{i}.png", "label": name} for name in "abcde" for i in range(2)]
    catalog = prepare(records=records)
    assert catalog.file == tmp_path / "data" / "records" / "uncropped.arrow"
    assert catalog.splits == ("train",) * 6 + ("test",) * 4
    assert capsys.readouterr().out.splitlines()[-1].startswith("Written to data/records/uncropped.arrow")
    options = Preparation("records", name="shop", size=16, source="photos")
    inside = [{**record, "path": record["path"].removeprefix("photos/")} for record in records]
    assert prepare(options, print, records=iter(inside)).file == tmp_path / "data" / "shop" / "uncropped.arrow"


def test_records_and_a_reader_exclude_each_other(tmp_path):
    with pytest.raises(ValueError, match="belong together"):
        prepare(Preparation("folder"), records=[{"path": "a.jpg", "label": "a"}])
    with pytest.raises(ValueError, match="belong together"):
        prepare(Preparation("records"))
    with pytest.raises(ValueError, match="nothing to prepare"):
        prepare()
