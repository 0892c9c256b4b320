"""The calibration of a collection, and the verdicts of its searches."""

import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from pairlens.collection import collection_model
from pairlens.collection.calibrated_verdict import Opinion
from pairlens.collection.collection import Collection
from pairlens.collection.stored_calibration import DOCUMENT
from support.tiny_collections import clustered, new_collection, photo_folder, tiny_backbone, tiny_run

CLASSES, SHOTS = 60, 8
# Half of the classes are held by the collection, and the others are strange.
VECTORS, NUMBERS = clustered(CLASSES, SHOTS, spread=0.9)
HELD = NUMBERS < CLASSES // 2


def import_clusters(folder, labels=True):
    file = folder / "vectors.parquet"
    names = [f"class {number:02}" for number in NUMBERS[HELD]]
    columns = {"path": [f"{n}.jpg" for n in range(HELD.sum())], "vector": list(VECTORS[HELD])}
    parquet.write_table(pa.table({**columns, **({"label": names} if labels else {})}), file)
    collection = Collection.create(folder / "shop", "none")
    collection.import_vectors(file)
    return collection


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    with import_clusters(tmp_path_factory.mktemp("calibrated")) as collection:
        collection.calibrate(rates=(0.1, 0.05, 0.001))
        yield collection


def queries(strange, count=200, seed=1):
    """Further photos of the held or of the strange classes."""
    centres = VECTORS[strange != HELD]
    chosen = np.random.default_rng(seed).integers(0, len(centres), count)
    noise = np.random.default_rng(seed + 1).normal(size=(count, VECTORS.shape[1])) * 0.3 / VECTORS.shape[1] ** 0.5
    found = centres[chosen] + noise
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def accepted(collection, vectors, **named):
    return np.mean([collection.search(vector, **named).verdict == "match" for vector in vectors])


def test_held_classes_match_and_strange_ones_do_not(calibrated):
    held, strange = accepted(calibrated, queries(False), rate=0.05), accepted(calibrated, queries(True), rate=0.05)
    threshold = calibrated.calibration().threshold(0.05)
    # Six standard errors of a share of 30 classes around the stated interval.
    assert strange <= threshold.high + 0.05
    assert held > strange + 0.3


def test_a_result_says_how_sure_it_is(calibrated):
    result = calibrated.search(queries(False)[0], k=5)
    threshold = calibrated.calibration().threshold(0.05)
    # By default the largest rate that is at most 0.05.
    assert (result.rate, result.interval, result.reason) == (0.05, (threshold.low, threshold.high), "")
    assert 0 <= result.probability <= 1
    assert result[0].probability == result.probability
    for match in result:
        assert (match.probability is None) == (match.label != result[0].label)
    assert calibrated.search(queries(False)[0], rate=0.1).rate == 0.1
    with pytest.raises(ValueError, match=r"has no false accept rate 0\.2"):
        calibrated.search(1, rate=0.2)
    with pytest.raises(ValueError, match="needs at least 5,000 photos"):
        calibrated.search(1, rate=0.001)


def test_the_number_of_results_changes_no_verdict(calibrated):
    for vector in queries(False, 10):
        results = [calibrated.search(vector, k=k, group=group) for k in (1, 10, 100) for group in (False, True)]
        assert len({(result.verdict, result.probability) for result in results}) == 1


def test_a_filter_makes_nothing_more_certain(calibrated):
    """With one class left all neighbours agree, which says nothing about a strange query."""
    for strange in (True, False):
        for vector in queries(strange, 40):
            whole = calibrated.search(vector, k=3)
            other = next(label for label in calibrated.labels() if label != whole[0].label)
            same = calibrated.search(vector, where={"label": whole[0].label})
            assert (same.verdict, same.probability) == (whole.verdict, whole.probability)
            assert all(match.probability == whole.probability for match in same)
            elsewhere = calibrated.search(vector, where={"label": other})
            assert (elsewhere.verdict, elsewhere.probability) == ("no match", None)
            assert calibrated.search(vector, where={"label": "nothing"}).verdict == "no match"


def test_mixtures_have_no_verdict(calibrated):
    for query, unlike in (([1, 2], ()), (1, 40)):
        result = calibrated.search(query, unlike=unlike)
        assert (result.verdict, result.probability) == ("not calibrated", None)
        assert "mixture" in result.reason


def test_items_without_labels_in_a_labelled_collection(calibrated):
    best = calibrated.search(queries(False)[0], k=1)[0]
    calibrated.relabel(best.id, None)
    try:
        result = calibrated.search(queries(False)[0], k=1)
        assert result.verdict == "not calibrated"
        assert "the nearest photos have none" in result.reason
    finally:
        calibrated.relabel(best.id, best.label)


def test_a_new_label_is_known_after_a_while(calibrated, monkeypatch):
    from pairlens.collection import calibrated_verdict

    calibrated.search(1)
    best = calibrated.search(queries(False)[3], k=1)[0]
    calibrated.relabel(best.id, "new")
    try:
        assert "have none" in calibrated.search(queries(False)[3]).reason
        monkeypatch.setattr(calibrated_verdict, "SECONDS_BETWEEN_MEANS", 0.0)
        assert calibrated.search(queries(False)[3]).verdict != "not calibrated"
    finally:
        calibrated.relabel(best.id, best.label)


def test_a_collection_without_labels_is_calibrated_by_nothing(tmp_path):
    with import_clusters(tmp_path, labels=False) as shop:
        with pytest.raises(ValueError, match="it has no labels"):
            shop.calibrate()
        assert shop.search(1).reason.startswith("the collection is not calibrated")


def test_opinions_of_unlabelled_calibrations_end_at_a_filter():
    opinion = Opinion("match", 0.9, 0.05, (0.01, 0.1), "", {1: 0.9})
    assert opinion.under_filter([]).verdict == "not calibrated"
    assert Opinion().under_filter([]) == Opinion()


def test_too_few_classes_are_said_with_their_number(tmp_path):
    with new_collection(tmp_path / "shop") as shop:
        with pytest.raises(ValueError, match="it has no labels"):
            shop.calibrate()
        shop.add(photo_folder(tmp_path / "photos", "abc", 4))
        with pytest.raises(ValueError, match="at least 20 classes with 4 photos, these are 3"):
            shop.calibrate()
    with Collection.create(tmp_path / "empty", "none") as empty, pytest.raises(ValueError, match="no photos yet"):
        empty.calibrate()


def test_another_model_ends_it(tmp_path):
    with import_clusters(tmp_path) as shop:
        shop.calibrate(rates=(0.1,))
        assert shop.calibration() is not None
        plain = json.loads(shop.store.document(DOCUMENT))
        assert plain["fingerprint"] == shop.active.fingerprint
        shop.store.write_document(DOCUMENT, json.dumps({**plain, "fingerprint": "another"}).encode())
        assert shop.calibration() is None
        assert shop.search(1).verdict == "not calibrated"


@pytest.mark.parametrize("contents", [b"", b"{", b"[]", b"{}", b"[" * 100_000, b"\xff", b'{"VERSION": 99}'])
def test_a_damaged_calibration_is_one_sentence(tmp_path, contents):
    with import_clusters(tmp_path) as shop:
        shop.store.write_document(DOCUMENT, contents)
        with pytest.raises(ValueError, match="the calibration is damaged or of a newer version"):
            shop.calibration()
        # Photos are found all the same, also with a filter.
        for where in (None, {"label": "class 01"}):
            result = shop.search(1, k=2, where=where)
            assert (len(result), result.verdict) == (2, "not calibrated")
            assert "calibrate the collection again" in result.reason
        shop.calibrate(rates=(0.1,))
        assert shop.search(1).verdict != "not calibrated"


def test_labels_that_the_model_was_trained_on_do_not_count(tmp_path, monkeypatch):
    with import_clusters(tmp_path) as shop:
        seen = frozenset(f"class {number:02}" for number in range(5))
        monkeypatch.setattr("pairlens.collection.stored_calibration.trained_classes", lambda *_: seen)
        assert shop.calibrate(rates=(0.1,)).size.classes == CLASSES // 2 - 5
        every = frozenset(label for label in shop.labels() if label)
        monkeypatch.setattr("pairlens.collection.stored_calibration.trained_classes", lambda *_: every)
        with pytest.raises(ValueError, match="30 labels are classes that the model was trained on"):
            shop.calibrate()


def test_the_classes_of_a_run_are_kept_with_its_model(tmp_path, monkeypatch):
    model = collection_model.replace(tiny_run(), trained_on=("a", "b"))
    with new_collection(tmp_path / "shop", model) as shop:
        assert collection_model.trained_classes(shop.store, model.fingerprint) == {"a", "b"}
    with new_collection(tmp_path / "other", tiny_backbone()) as shop:
        assert collection_model.trained_classes(shop.store, tiny_backbone().fingerprint) == frozenset()
