import sys

import pytest

from pairlens.data.prepare import Preparation, prepare
from pairlens.data.readers import reader_names

READERS = """
from pairlens.data.annotations import Annotations, Photo

def pets(source, options):
    name = source.name if options.size == 16 else "other"
    splits = {"a": "train", "b": "train", "c": "test"}
    return [{"path": f"{c}/{i}.png", "label": c + name, "split": splits[c]} for c in "abc" for i in (0, 1)]

def listing(source, options):
    return Annotations("listing", source, (Photo("a/0.png", "a", "train"), Photo("b/0.png", "b", "test")))

def nothing(source, options):
    return None

text = "not a function"
"""
POINTS = """[pairlens.readers]
pets = some_readers:pets
listing = some_readers:listing
nothing = some_readers:nothing
text = some_readers:text
broken = some_broken_readers:read
absent = some_absent_readers:read
csv = some_broken_readers:read
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package with readers; the code of one of its modules fails."""
    folder = tmp_path / "site"
    (folder / "some_readers-1.0.dist-info").mkdir(parents=True)
    (folder / "some_readers-1.0.dist-info" / "METADATA").write_text(
        "Name: some_readers\nVersion: 1.0\n", encoding="utf-8"
    )
    (folder / "some_readers-1.0.dist-info" / "entry_points.txt").write_text(POINTS, encoding="utf-8")
    (folder / "some_readers.py").write_text(READERS, encoding="utf-8")
    (folder / "some_broken_readers.py").write_text("raise RuntimeError('no licence')", encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    yield folder
    sys.modules.pop("some_readers", None)


def _prepare(tmp_path, data_name, **options):
    settings = {"data_path": tmp_path / "data", "source": tmp_path / "photos", "size": 16, **options}
    return prepare(Preparation(data_name, **settings), lambda line: None)


def test_a_reader_of_a_package_is_listed_without_being_loaded(package):
    assert set(reader_names()) >= {"car", "csv", "pets", "broken"}
    assert reader_names().count("csv") == 1
    Preparation("pets")
    assert "some_readers" not in sys.modules


def test_a_reader_that_returns_records(package, class_folders, tmp_path):
    catalog = _prepare(tmp_path, "pets")
    assert catalog.file == tmp_path / "data" / "pets" / "uncropped.arrow"
    assert (len(catalog), catalog.class_names[0], catalog.paths[0]) == (6, "aphotos", "a/0.png")


def test_a_reader_that_returns_annotations_takes_part_in_every_option(package, class_folders, tmp_path):
    assert _prepare(tmp_path, "listing", name="mine").splits == ("train", "test")
    with pytest.raises(ValueError, match="--crop_type cropped needs bounding boxes"):
        _prepare(tmp_path, "listing", crop_type="cropped")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken", r"'broken' \(some_broken_readers:read\) cannot be loaded \(RuntimeError: no licence\)"),
        ("absent", "'absent' .* cannot be loaded .*ModuleNotFoundError"),
        ("text", "'text' .* is not a function of a source and options"),
        ("nothing", "'nothing' .* returns a NoneType; it must return"),
    ],
)
def test_a_reader_that_cannot_be_used_is_an_error_in_one_sentence(package, class_folders, tmp_path, name, reason):
    with pytest.raises(ValueError, match=reason):
        _prepare(tmp_path, name)


def test_an_unknown_reader_is_refused_with_the_names_of_all(package):
    with pytest.raises(ValueError, match=r"--data_name 'pet' is not a reader; did you mean pets"):
        Preparation("pet")
