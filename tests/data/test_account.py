"""Found = read + refused + left out: the sum of `prepare` in the terminal, the JSON and the CSV file."""

import csv
import json
from unicodedata import normalize

import numpy as np
import pytest
from PIL import Image

from pairlens.core.images import load_image
from pairlens.data.account import Account, Exclusion, KindCount
from pairlens.data.catalog import Catalog, Description
from pairlens.data.prepare import Preparation, prepare


def _prepare(tmp_path, source="photos", **options):
    lines = []
    settings = {
        "data_name": "folder",
        "data_path": tmp_path / "data",
        "source": tmp_path / source,
        "size": 16,
        **options,
    }
    return prepare(Preparation(**settings), lines.append), lines


def _rows(catalog):
    with catalog.file.with_suffix(".failures.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def _save(path, colour=(200, 40, 90), size=(20, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def test_the_sum_is_in_the_terminal_the_json_and_the_csv(class_folders, tmp_path):
    (class_folders / "a" / "note.txt").write_text("x", encoding="utf-8")
    (class_folders / "a" / "bad.png").write_bytes(b"no picture")
    (class_folders / "b" / "thumbs" / "@eaDir").mkdir(parents=True)
    for i in range(3):
        _save(class_folders / "b" / "thumbs" / "@eaDir" / f"{i}.jpg")
    jpeg = class_folders / "e" / "cut.jpg"
    _save(jpeg)
    jpeg.write_bytes(jpeg.read_bytes()[:-2])
    catalog, lines = _prepare(tmp_path, max_failures=0.1)
    sentence = (
        "Found 16: 11 read, of them after a repair 1 file without end marker, 1 refused (1 unreadable file), "
        "4 left out (3 files in @eaDir, 1 .txt file)."
    )
    assert sentence in lines
    account = Description.read(catalog.file).account
    assert (account.found, account.read, account.sentence()) == (16, len(catalog), sentence)
    plain = json.loads(catalog.file.with_suffix(".json").read_text(encoding="utf-8"))
    assert plain["account"]["left_out"][0] == {"type": "KindCount", "kind": "file in @eaDir", "count": 3}
    rows = _rows(catalog)
    assert rows[0] == ["path", "reason", "outcome", "kind"]
    assert [row[2] for row in rows[1:]] == ["refused"] + 4 * ["left out"] + ["repaired"]
    assert [row[0] for row in rows if row[2] == "repaired"] == ["e/cut.jpg"]
    # A later call that finds everything prepared shows the sum again, and failures are tried again.
    (class_folders / "a" / "bad.png").unlink()
    _prepare(tmp_path)
    assert any(line.startswith("Found 15: 11 read") for line in _prepare(tmp_path)[1])


@pytest.mark.parametrize("share", [0.0, 0.09, 0.1, 1.0])
def test_max_failures_is_a_share(class_folders, tmp_path, share):
    (class_folders / "a" / "0.png").write_bytes(b"no picture")
    if share >= 0.1:
        assert len(_prepare(tmp_path, max_failures=share)[0]) == 9
    else:
        with pytest.raises(
            ValueError, match=rf"1 of 10 .* at most {100 * share:g} % may be unreadable \(--max_failures\)"
        ):
            _prepare(tmp_path, max_failures=share)


def test_a_set_of_which_nothing_can_be_read_is_refused_with_the_cause(class_folders, tmp_path):
    for file in class_folders.rglob("*.png"):
        file.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"10 of 10 photos cannot be read.*the first: .*damaged header"):
        _prepare(tmp_path, max_failures=1.0)


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_a_share_out_of_range_is_refused(value):
    with pytest.raises(ValueError, match=r"--max_failures .* is not a share"):
        Preparation("folder", max_failures=value)


def test_options_of_other_readers_are_refused():
    with pytest.raises(ValueError, match="--class_depth is for --data_name folder"):
        Preparation("cub", class_depth=1)
    with pytest.raises(ValueError, match="--class_depth 0 is out of range"):
        Preparation("folder", class_depth=0)
    with pytest.raises(ValueError, match="--box_frame 'up' is not upright or stored"):
        Preparation("folder", box_frame="up")


def _coco(folder, paths):
    contents = {
        "images": [{"id": i, "file_name": path} for i, path in enumerate(paths)],
        "categories": [{"id": i, "name": f"c{i}"} for i in range(len(paths))],
        "annotations": [{"id": i, "image_id": i, "category_id": i, "bbox": [0, 0, 9, 9]} for i in range(len(paths))],
    }
    (folder / "set.json").write_text(json.dumps(contents), encoding="utf-8")
    return {"data_name": "coco", "source": folder / "set.json", "crop_type": "cropped"}


def _csv(folder, paths):
    rows = "".join(f"c{i},{path}\n" for i, path in enumerate(paths))
    (folder / "set.csv").write_text("label,path\n" + rows, encoding="utf-8")
    return {"data_name": "csv", "source": folder / "set.csv"}


def _sop(folder, paths):
    heading = "image_id class_id super_class_id path\n"
    for split, rows in (("train", paths[:1]), ("test", paths[1:])):
        lines = "".join(f"{i} {i + 10 * len(split)} 1 {path}\n" for i, path in enumerate(rows))
        (folder / f"Ebay_{split}.txt").write_text(heading + lines, encoding="utf-8")
    return {"data_name": "sop", "source": folder}


@pytest.mark.parametrize("layout", [_csv, _coco, _sop])
@pytest.mark.parametrize("through", ["file", "folder"])
def test_no_reader_follows_a_link_out_of_the_data_folder_unless_asked(tmp_path, layout, through):
    folder, outside = tmp_path / "set", tmp_path / "outside"
    for i in range(3):
        _save(folder / "in" / f"{i}.png")
    _save(outside / "private.png")
    (folder / "link.png").symlink_to(outside / "private.png")
    (folder / "ld").symlink_to(outside)
    private = "link.png" if through == "file" else "ld/private.png"
    options = layout(folder, ["in/0.png", "in/1.png", "in/2.png", private])
    catalog, lines = _prepare(tmp_path, **options)
    assert len(catalog) == 3
    assert any("Found 4: 3 read, 0 refused, 1 left out (1 linked photo)." in line for line in lines)
    assert private in _rows(catalog)[1][0]
    assert "--follow_links" in _rows(catalog)[1][1]
    assert len(_prepare(tmp_path, **options, follow_links=True)[0]) == 4


def test_a_set_behind_links_is_refused_with_the_cause(tmp_path):
    _save(tmp_path / "outside" / "1.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "p").symlink_to(tmp_path / "outside")
    with pytest.raises(
        ValueError, match=r"lists no photos that can be read .left out: 1 linked photo: .*--follow_links"
    ):
        _prepare(tmp_path, **_csv(tmp_path / "set", ["p/1.png"]))


def test_a_data_folder_may_be_a_link_itself(class_folders, tmp_path):
    (tmp_path / "alias").symlink_to(class_folders)
    assert len(_prepare(tmp_path, source="alias")[0]) == 10


@pytest.mark.parametrize("layout", [_csv, _coco, _sop])
@pytest.mark.parametrize(("on_disk", "listed"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_listed_paths_find_their_file_in_any_spelling(tmp_path, layout, on_disk, listed):
    names = ["café/crème.png", "b.png", "c.png"]
    for name in names:
        _save(tmp_path / "set" / normalize(on_disk, name))
    catalog, _ = _prepare(tmp_path, **layout(tmp_path / "set", [normalize(listed, name) for name in names]))
    assert len(catalog) == 3
    assert normalize("NFC", names[0]) in {path.partition("#")[0] for path in catalog.paths}


def test_a_photo_without_a_box_stays_whole(tmp_path):
    picture = Image.new("RGB", (40, 20), "red")
    picture.paste("blue", (20, 0, 40, 20))
    (tmp_path / "set").mkdir()
    for i in range(3):
        picture.save(tmp_path / "set" / f"{i}.png")
    text = "label,path,x_1,y_1,x_2,y_2\na,0.png,0,0,0.5,1\nb,1.png,,,,\nc,2.png,0.5,0,1,1\n"
    (tmp_path / "set" / "t.csv").write_text(text, encoding="utf-8")
    catalog, lines = _prepare(tmp_path, data_name="csv", source=tmp_path / "set" / "t.csv", crop_type="cropped")
    colours = [np.asarray(load_image(bytes(catalog.jpeg(i))), float).mean((0, 1)).round(-1) for i in range(3)]
    assert [tuple(colour[[0, 2]]) for colour in colours] == [(250, 0), (130, 130), (0, 250)]
    assert "Note: 1 photos have no box and stay whole." in lines


def test_one_depth_for_all_photos_of_a_data_set(tmp_path):
    for name, top in (("a", 3000), ("b", 900), ("c", 500)):
        path = tmp_path / "photos" / name / "1.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(np.full((9, 9), top, np.uint16)).save(path)
    catalog, lines = _prepare(tmp_path)
    assert any("some photos hold whole numbers of 12 bits; they are scaled" in line for line in lines)
    greys = [np.asarray(load_image(bytes(catalog.jpeg(i)))).max() for i in range(3)]
    assert greys == [round(255 * top / 4095) for top in (3000, 900, 500)]
    # The catalog remembers how its photos were read, for queries, and is prepared already the next time.
    assert Catalog.open(catalog.file).reading.depth.integers == 4095
    assert _prepare(tmp_path)[1][-1].endswith("--force prepares it again.")


def test_colours_are_kept_if_asked_for_and_then_prepared_again(class_folders, tmp_path):
    first, _ = _prepare(tmp_path)
    again, lines = _prepare(tmp_path, icc=False)
    assert lines[-1].startswith("Written to")
    assert (first.digest, again.reading.convert_colours) == (again.digest, False)


def test_tiny_photos_and_single_classes_are_named(tmp_path):
    for name in ("a", "b"):
        for i in range(2):
            _save(tmp_path / "photos" / name / f"{i}.png", size=(7, 30) if (name, i) == ("b", 1) else (9, 9))
    _, lines = _prepare(tmp_path)
    assert "Note: 1 photos have a side of less than 8 pixels, such as b/1.png; check whether they are photos." in lines
    assert any(line.startswith("Note: there is one training class only, a:") for line in lines)
    assert any(
        "one test class only, b: every query finds its class, so R@1 is 100 % by construction" in x for x in lines
    )


def test_a_kind_is_counted_in_the_right_number():
    counts = [KindCount("box outside its photo", 2), KindCount(".heic file", 1), KindCount("crowd annotation", 3)]
    assert list(map(str, counts)) == ["2 boxes outside its photo", "1 .heic file", "3 crowd annotations"]
    many = Account(left_out=tuple(KindCount(f".{i} file", 1) for i in range(20)))
    assert many.sentence().endswith(", 1 .7 file, 12 others).")


def test_names_of_a_hostile_disk_are_printable():
    entry = Exclusion("a\x1b[2J\n\udcff.jpg", "\x1b file", "why")
    assert entry.path.isprintable()
    assert entry.kind.isprintable()
    entry.path.encode("utf-8")
