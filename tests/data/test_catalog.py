import json
import os
import pickle
import time

import pytest
import torch

from pairlens.data.annotations import Photo
from pairlens.data.catalog import Catalog
from pairlens.data.catalog_file import CatalogFile
from pairlens.data.catalog_writer import write_catalog

ROWS = [
    (Photo("z/1.jpg", "z", "train"), b"one"),
    (Photo("y/2.jpg", "y", "train"), b"two"),
    (Photo("z/3.jpg", "z", "train"), b"three"),
    (Photo("x/4.jpg", "x", "query"), b"four"),
    (Photo("w/5.jpg", "w", "query"), b"five"),
    (Photo("w/6.jpg", "w", "gallery"), b"six"),
    (Photo("x/7.jpg", "x", "gallery"), b""),
]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "isc" / "uncropped.arrow"


@pytest.fixture
def catalog(file):
    return write_catalog(file, "isc", ROWS, size=32)


def test_written_rows_are_read_back(catalog):
    assert (catalog.name, catalog.crop, catalog.size, len(catalog), catalog.classes) == ("isc", "uncropped", 32, 7, 4)
    assert catalog.labels.tolist() == [0, 1, 0, 2, 3, 3, 2]
    assert catalog.labels.dtype == torch.int64
    assert catalog.class_names == ("z", "y", "x", "w")
    assert catalog.paths == tuple(photo.path for photo, _ in ROWS)
    assert catalog.splits == tuple(photo.split for photo, _ in ROWS)
    assert [bytes(catalog.jpeg(i)) for i in range(7)] == [jpeg for _, jpeg in ROWS]


def test_rows_of_many_record_batches_keep_their_order(file):
    rows = [(Photo(f"{i}.jpg", f"{i // 5:03}", "train"), str(i).encode()) for i in range(1000)]
    catalog = write_catalog(file, "many", rows, size=8)
    for i in (0, 255, 256, 511, 512, 999):
        assert bytes(catalog.jpeg(i)) == str(i).encode()
    assert catalog.labels.tolist() == [i // 5 for i in range(1000)]


def test_the_json_describes_the_contents(catalog):
    plain = json.loads(catalog.file.with_suffix(".json").read_text(encoding="utf-8"))
    assert [(s["split"], s["classes"], s["images"]) for s in plain["splits"]] == [
        ("train", 2, 3),
        ("query", 2, 2),
        ("gallery", 2, 2),
    ]
    assert plain["digest"] == catalog.digest
    assert (plain["name"], plain["size"], plain["crop"], plain["failures"]) == ("isc", 32, "uncropped", 0)
    assert str(catalog.file.parent.parent) not in json.dumps(plain)


def test_the_digest_depends_on_the_contents_only(tmp_path, catalog):
    again = write_catalog(tmp_path / "b" / "uncropped.arrow", "other", ROWS, size=32)
    changed = write_catalog(tmp_path / "c" / "uncropped.arrow", "isc", [*ROWS[:-1], (ROWS[-1][0], b"!")], size=32)
    assert again.digest == catalog.digest != changed.digest


def test_a_selection_keeps_labels_and_bytes(catalog):
    gallery = catalog.select("gallery")
    assert gallery.labels.tolist() == [3, 2]
    assert gallery.paths == ("w/6.jpg", "x/7.jpg")
    assert bytes(gallery.jpeg(0)) == b"six"
    assert (gallery.classes, gallery.class_names[3]) == (2, "w")
    assert catalog.select("query", "gallery").select("query").paths == ("x/4.jpg", "w/5.jpg")
    assert len(catalog.select("test")) == 0
    with pytest.raises(ValueError, match="'tset' is not a split"):
        catalog.select("tset")


def test_kept_classes_are_renumbered(catalog):
    kept = catalog.keep_classes([3, 0])
    assert kept.labels.tolist() == [0, 0, 1, 1]
    assert kept.class_names == ("z", "w")
    assert kept.splits == ("train", "train", "query", "gallery")
    assert kept.keep_classes([1]).class_names == ("w",)
    assert bytes(kept.jpeg(3)) == b"six"
    with pytest.raises(ValueError, match="no photo of label 2 "):
        kept.keep_classes([2])


def test_bytes_are_read_in_place(catalog):
    jpeg = catalog.jpeg(2)
    assert isinstance(jpeg, memoryview)
    assert jpeg.readonly


def test_a_pickle_holds_no_pictures(file):
    catalog = write_catalog(file, "big", [(Photo("a.jpg", "a", "train"), bytes(10**6))], size=8)
    bytes(catalog.jpeg(0)), catalog.paths
    pickled = pickle.dumps(catalog.select("train"))
    assert len(pickled) < 5000
    assert len(pickle.loads(pickled).jpeg(0)) == 10**6


def test_a_pickled_view_reads_its_own_photos(catalog):
    view = catalog.select("query", "gallery").keep_classes([3])
    again = pickle.loads(pickle.dumps(view))
    assert [bytes(again.jpeg(i)) for i in range(2)] == [b"five", b"six"]
    assert (again.labels.tolist(), again.paths) == ([0, 0], ("w/5.jpg", "w/6.jpg"))


def test_a_worker_does_not_read_another_data_set(catalog):
    pickled = pickle.dumps(catalog)
    write_catalog(catalog.file, "isc", ROWS[:3], size=32)
    with pytest.raises(ValueError, match="prepared again while it was in use"):
        pickle.loads(pickled).jpeg(0)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("cub/uncropped", "pairlens prepare --data_name cub --data_path {}"),
        ("car/cropped", "pairlens prepare --data_name car --data_path {} --crop_type cropped"),
        ("mine/uncropped", "pairlens prepare --data_name folder --data_path {} --name mine --source FOLDER_OF_PHOTOS"),
        ("a b/cropped", "--name 'a b' --source FOLDER_OF_PHOTOS --crop_type cropped"),
        ("csv/uncropped", "pairlens prepare --data_name csv --data_path {} --source TABLE"),
    ],
)
def test_a_missing_file_names_the_command(tmp_path, name, command):
    with pytest.raises(FileNotFoundError) as error:
        Catalog.open(tmp_path / f"{name}.arrow")
    assert str(error.value).endswith(command.format(tmp_path))


def test_a_file_cut_short_is_an_error(catalog):
    os.truncate(catalog.file, catalog.file.stat().st_size - 100)
    with pytest.raises(ValueError, match=r"bytes, but its JSON says .* prepare it again with: pairlens .* --force"):
        Catalog.open(catalog.file)


def test_a_file_of_another_kind_is_an_error(catalog):
    length = catalog.file.stat().st_size
    catalog.file.write_bytes(bytes(length))
    with pytest.raises(ValueError, match="is not a catalog of Pairlens"):
        Catalog.open(catalog.file)
    catalog.file.with_suffix(".json").write_text('{"type": "Report"}', encoding="utf-8")
    with pytest.raises(ValueError, match="does not describe a prepared data set"):
        Catalog.open(catalog.file)


def _interrupted(error):
    yield from ROWS[:2]
    raise error


@pytest.mark.parametrize("error", [ValueError("too many failures"), KeyboardInterrupt(), OSError("disk full")])
def test_an_interrupted_write_leaves_no_file(file, error):
    with pytest.raises(type(error)):
        write_catalog(file, "isc", _interrupted(error), size=32)
    assert list(file.parent.iterdir()) == []
    assert len(write_catalog(file, "isc", ROWS, size=32)) == 7


def test_an_interrupted_write_keeps_the_previous_files(catalog):
    with pytest.raises(KeyboardInterrupt):
        write_catalog(catalog.file, "isc", _interrupted(KeyboardInterrupt()), size=32)
    assert len(Catalog.open(catalog.file)) == 7


def test_old_temporary_files_of_a_killed_writer_are_removed(file):
    file.parent.mkdir()
    old, young = (file.with_name(f".{file.name}.{name}.part") for name in ("1-old", "2-young"))
    old.touch(), young.touch()
    os.utime(old, (time.time() - 7200,) * 2)
    write_catalog(file, "isc", ROWS, size=32)
    assert (old.exists(), young.exists()) == (False, True)


def test_a_class_on_both_sides_keeps_its_label_and_training_classes_come_first(file):
    photos = [Photo(f"{split}{c}.jpg", c, split) for split, names in (("train", "bc"), ("test", "ab")) for c in names]
    catalog = write_catalog(file, "isc", [(photo, b"x") for photo in photos], 8)
    assert catalog.labels.tolist() == [0, 1, 2, 0]
    assert catalog.select("train").labels.unique().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "there is no photo to write"),
        ([ROWS[3], ROWS[0]], "follows photos of another split"),
    ],
)
def test_rows_that_make_no_catalog_are_an_error(file, rows, reason):
    with pytest.raises(ValueError, match=reason):
        write_catalog(file, "isc", rows, size=32)
    assert list(file.parent.iterdir()) == []


def test_a_file_that_is_only_touched_is_unchanged_and_read_once(catalog, monkeypatch):
    view = catalog.select("query", "gallery")
    os.utime(catalog.file, (1, 1))
    read = []
    digest = CatalogFile.digest
    monkeypatch.setattr(CatalogFile, "digest", lambda opened: read.append(1) or digest(opened))
    for one in (catalog, view, view.keep_classes([3]), catalog):
        one.check_unchanged()
    assert read == [1]
    again = catalog.file.read_bytes()
    catalog.file.write_bytes(again)
    view.check_unchanged()
    assert read == [1, 1]


def overwritten(file, start, length, value=b"\xff"):
    with file.open("r+b") as opened:
        opened.seek(start)
        opened.write(value * length)


@pytest.mark.parametrize("part", ["a photo", "a path", "everything"])
def test_a_file_whose_bytes_change_is_named(catalog, part):
    contents = catalog.file.read_bytes()
    start, length = {
        "a photo": (contents.index(b"threefour") + 1, 2),
        "a path": (contents.index(b"z/1.jpg"), 1),
        "everything": (0, len(contents)),
    }[part]
    overwritten(catalog.file, start, length, b"Q")
    with pytest.raises(ValueError, match="was changed while it was in use; restore it, or start again"):
        catalog.check_unchanged()
    catalog.file.write_bytes(contents)
    catalog.check_unchanged()


@pytest.mark.parametrize("value", [b"\0", b"\x7f", b"\xff"])
def test_a_changed_file_is_never_read_beyond_its_end_also_where_nobody_notices_the_change(catalog, value):
    """Every offset, length and photo of the file is overwritten, and the time of the change is set back."""
    stamp = catalog.file.stat()
    overwritten(catalog.file, 0, stamp.st_size, value)
    os.utime(catalog.file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert [bytes(catalog.jpeg(i)) for i in range(7)] == [value * len(jpeg) for _, jpeg in ROWS]
    assert catalog.paths == tuple(photo.path for photo, _ in ROWS)
    assert catalog.select("gallery").splits == ("gallery", "gallery")


def test_a_photo_of_a_file_that_was_cut_is_short_and_no_signal(catalog):
    os.truncate(catalog.file, 100)
    assert bytes(catalog.jpeg(2)) == b""
    with pytest.raises(ValueError, match="was changed while it was in use"):
        catalog.check_unchanged()


def test_photos_are_read_where_there_is_no_pread(catalog, monkeypatch):
    monkeypatch.delattr(os, "pread")
    assert [bytes(catalog.jpeg(i)) for i in (6, 0, 5, 1)] == [b"", b"one", b"six", b"two"]
