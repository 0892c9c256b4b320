from collections import Counter

import pytest

from conftest import drawn
from pairlens.data.annotations import Photo, file_of
from pairlens.data.catalog_writer import write_catalog
from pairlens.experiments.splits import seen_classes, split_catalog
from support.experiments import changed


def _catalog(folder, sides, boxes=1):
    """Write a data set; `sides` gives the number of photos of each class on each side, as in {"train": {"a": 6}}."""
    photos = [
        Photo(f"{name}/{side}{i}.jpg", name, side, (box, 0, box + 4, 4), box if boxes > 1 else None)
        for side, sizes in sides.items()
        for name, size in sizes.items()
        for i in range(size)
        for box in range(boxes)
    ]
    rows = [(photo, drawn(label % 8, label, 36)) for label, photo in enumerate(photos)]
    return write_catalog(folder / "some" / "uncropped.arrow", "some", rows, 36)


def _sizes(catalog):
    return dict(Counter(catalog.class_names[label] for label in catalog.labels.tolist()))


SEEN = {"train": dict.fromkeys("abcde", 10), "test": dict.fromkeys("abcde", 4)}


@pytest.mark.parametrize(
    ("test", "expected"), [({"x": 2}, "none"), ({"x": 2, "a": 2}, "some"), ({"a": 2, "b": 3}, "all")]
)
def test_classes_are_compared_by_name(tmp_path, tiny, test, expected):
    catalog = _catalog(tmp_path, {"train": {"b": 3, "a": 3}, "test": test})
    splits = split_catalog(catalog, tiny)
    assert splits.seen_classes == expected
    assert splits.train.labels.unique().tolist() == [0, 1]
    # A view numbers its classes again, and label 0 is then another class.
    one = splits.train.keep_classes([1])
    assert seen_classes(one, splits.train.keep_classes([0])) == "none"
    assert seen_classes(one, splits.train) == "some"


def test_the_classes_of_queries_are_those_that_count(tmp_path, tiny):
    splits = split_catalog(
        _catalog(tmp_path, {"train": {"a": 2}, "query": {"b": 2}, "gallery": {"a": 2, "b": 2}}), tiny
    )
    assert splits.seen_classes == "none"


def test_validation_holds_out_photos_if_test_classes_are_seen(tmp_path, tiny):
    sides = {"train": {"a": 10, "b": 20, "few": 3, "four": 4}, "test": {"a": 2, "x": 2}}
    splits = split_catalog(_catalog(tmp_path, sides), changed(tiny, select="validation"))
    assert _sizes(splits.validation) == {"a": 2, "b": 4, "four": 2}
    assert _sizes(splits.train) == {"a": 8, "b": 16, "few": 3, "four": 2}
    assert splits.train.labels.unique().tolist() == [0, 1, 2, 3]
    assert not set(splits.train.paths) & set(splits.validation.paths)
    assert seen_classes(splits.train, splits.validation) == "all"
    again = split_catalog(_catalog(tmp_path, sides), changed(tiny, select="validation", seed=1))
    assert set(again.validation.paths) != set(splits.validation.paths)


def test_folds_hold_out_photos_if_test_classes_are_seen(tmp_path, tiny):
    catalog = _catalog(tmp_path, {**SEEN, "train": {"a": 9, "b": 12, "few": 7}})
    folds = [split_catalog(catalog, changed(tiny, folds=4, fold=fold)) for fold in range(4)]
    assert [_sizes(one.test) for one in folds] == [{"a": 2, "b": 3}] * 4
    tested = [path for one in folds for path in one.test.paths]
    assert len(tested) == len(set(tested)) == 20
    assert all(set(one.train.paths).isdisjoint(one.test.paths) for one in folds)
    assert all(_sizes(one.train) == {"a": 7, "b": 9, "few": 7} for one in folds)
    assert {one.seen_classes for one in folds} == {"all"}
    assert not any(path.startswith("test") for path in tested)


@pytest.mark.parametrize("options", [{"select": "validation"}, {"folds": 2, "fold": 1}])
def test_boxes_of_a_file_are_held_out_together(tmp_path, tiny, options):
    splits = split_catalog(_catalog(tmp_path, SEEN, boxes=3), changed(tiny, **options))
    held_out = splits.test if "folds" in options else splits.validation
    files = Counter(map(file_of, held_out.paths))
    assert set(files.values()) == {3}
    assert not set(files) & set(map(file_of, splits.train.paths))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"select": "validation"}, "no training class has 4 photos"),
        ({"folds": 2}, "has 4 photos, which 2 folds need"),
    ],
)
def test_too_few_photos_to_hold_out_are_an_error(tmp_path, tiny, options, reason):
    catalog = _catalog(tmp_path, {"train": {"a": 3, "b": 3}, "test": {"a": 2}})
    with pytest.raises(ValueError, match=reason):
        split_catalog(catalog, changed(tiny, **options))


def test_unseen_classes_hold_out_whole_classes_as_before(tmp_path, tiny):
    catalog = _catalog(tmp_path, {"train": dict.fromkeys("abcdef", 5), "test": dict.fromkeys("xy", 2)})
    splits = split_catalog(catalog, changed(tiny, select="validation"))
    assert _sizes(splits.validation) == {"c": 5} or set(_sizes(splits.validation).values()) == {5}
    assert seen_classes(splits.train, splits.validation) == "none"
    fold = split_catalog(catalog, changed(tiny, folds=3, fold=1))
    assert (fold.train.classes, fold.test.classes, fold.seen_classes) == (4, 2, "none")
