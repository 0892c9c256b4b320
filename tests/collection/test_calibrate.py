"""Calibrations hold for new classes, do not depend on the order of what they are given, and refuse what is too little."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pairlens.collection import calibration_folds
from pairlens.collection.calibrate import calibrate, check_rates, reliability_bins
from pairlens.collection.calibration import Calibration
from pairlens.collection.calibration_folds import (
    MatchModel,
    false_accept_rate,
    fit_match_model,
    probability_of,
)
from pairlens.collection.known_and_strange import divided
from pairlens.collection.match_features import UNLABELLED
from pairlens.evaluation.class_divisions import LabelledVectors, Queries
from pairlens.evaluation.open_set import true_accepts
from support.gaussian_classes import gaussian_classes

SPLITS = 8


@pytest.fixture(scope="module")
def few_repetitions():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration_folds, "REPETITIONS", 8)
        yield


@pytest.fixture(scope="module")
def calibration(few_repetitions):
    return calibrate(*gaussian_classes(24, 10, seed=1), "model 1", rates=(0.01, 0.05), seed=3)


def check_on_new_classes(seed):
    """Return the threshold for 0.05, the measured rate on new classes, the accepts, and those of the cosine."""
    vectors, labels = gaussian_classes(72, 16, seed)
    new = labels >= 36
    calibration = calibrate(vectors[~new], labels[~new], "a model", rates=(0.05,), seed=seed)
    rng = np.random.default_rng(seed)
    known, strange = np.array_split(rng.permutation(36), 2)
    queries = divided(LabelledVectors.of(vectors[new], labels[new] - 36), known, strange, True, rng)
    judged = calibration.judge(queries.features)
    threshold = calibration.threshold(0.05)
    rate = false_accept_rate(queries, judged.score > threshold.score)
    accepts, raw = (true_accepts(queries, of, [rate])[0] for of in (judged.score, queries.features[:, 0]))
    bins = reliability_bins(judged.probability, queries.is_right, queries.weights())
    return threshold, rate, accepts, raw, sum(one.weight * abs(one.probability - one.right) for one in bins)


def test_rate_interval_and_probability_hold_for_new_classes(few_repetitions):
    checks = [check_on_new_classes(seed) for seed in range(SPLITS)]
    rates = np.array([rate for _, rate, *_ in checks])
    assert 0.6 * 0.05 < rates.mean() < 1.5 * 0.05
    covered = [threshold.low <= rate <= threshold.high for threshold, rate, *_ in checks]
    assert sum(covered) >= SPLITS - 1
    # An interval that contains everything would hold as well.
    assert all(threshold.high < 0.3 for threshold, *_ in checks)
    accepts, raw, errors = (np.mean([check[i] for check in checks]) for i in (2, 3, 4))
    assert accepts > raw
    assert errors < 0.08


def test_the_order_of_the_items_and_the_names_of_the_classes_change_nothing(calibration):
    vectors, labels = gaussian_classes(24, 10, seed=1)
    order = np.random.default_rng(0).permutation(len(labels))
    other = calibrate(vectors[order], (1000 - 3 * labels)[order], "model 1", rates=[0.05, 0.01], seed=3)
    assert other == calibration
    assert calibrate(vectors, labels, "model 1", rates=(0.05,), seed=4).model != calibration.model


def test_what_a_calibration_says_about_itself(calibration):
    assert calibration.fingerprint == "model 1"
    assert (calibration.size.classes, calibration.size.photos, calibration.size.known_classes) == (24, 240, 12)
    # Every photo is strange in half of the divisions.
    assert calibration.size.strange_queries == 240 * calibration.size.divisions // 2
    (threshold,) = calibration.thresholds
    assert 0.03 < threshold.measured < 0.055
    assert threshold.low < 0.05 < threshold.high
    assert 0 < threshold.true_accepts < 1
    assert sum(one.weight for one in calibration.reliability) == pytest.approx(1)
    assert 0 < calibration.expected_calibration_error < 0.1


def test_a_rate_with_too_few_photos_is_left_out_with_its_reason(calibration):
    (missing,) = calibration.unsupported
    assert missing.rate == 0.01
    assert missing.reason == "it needs at least 500 photos, so that 5 lie above its threshold; these are 240"
    with pytest.raises(ValueError, match=r"no threshold for the false accept rate 0.01: it needs at least 500"):
        calibration.threshold(0.01)
    with pytest.raises(ValueError, match=r"has no false accept rate 0.2; it has 0.05"):
        calibration.threshold(0.2)


def test_verdicts_follow_the_threshold_and_probabilities_the_score(calibration):
    features = np.tile(calibration.model.mean, (3, 1))
    features[:, 0] += [-5, 0, 5]
    judged = calibration.judge(features)
    np.testing.assert_allclose(judged.probability, 1 / (1 + np.exp(-judged.score)))
    limit = calibration.threshold(0.05).score
    expected = tuple("match" if score > limit else "no match" for score in judged.score)
    assert calibration.verdicts(judged, 0.05) == expected
    assert set(expected) == {"match", "no match"}


def test_features_of_another_kind_are_refused(calibration):
    with pytest.raises(ValueError, match="features have 3 columns, but the calibration reads 7"):
        calibration.judge(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="features: query 1"):
        calibration.judge([[0.0] * 7, [np.nan] * 7])


def test_without_labels_only_the_cosines_are_read(few_repetitions):
    vectors, labels = gaussian_classes(20, 6, seed=2)
    unlabelled = calibrate(vectors, labels, "a model", rates=(0.05,), labelled=False)
    assert not unlabelled.labelled
    assert len(unlabelled.model.coefficients) == len(UNLABELLED)
    assert unlabelled.judge(np.zeros((4, len(UNLABELLED)))).score.shape == (4,)


def test_the_plain_form_goes_through_json(calibration):
    stored = json.loads(json.dumps(calibration.to_plain()))
    assert stored["version"] == 1
    assert Calibration.from_plain(stored) == calibration


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("version",), 2, "has version 2, but this Pairlens reads 1 to 1"),
        (("fingerprint",), 5, "fingerprint holds 5"),
        (("model", "coefficients"), [1.0], "must have the same length"),
        (("model", "intercept"), float("nan"), "must be finite"),
        (("model", "intercept"), "big", "intercept holds 'big'"),
        (("model", "scale"), [0.0] * 7, "scales of a match model must be above 0"),
        (("labelled",), 1, "labelled holds 1"),
        (("thresholds",), [], "at least one threshold"),
        (("thresholds", 0, "score"), float("inf"), "must be a finite score"),
        (("thresholds", 0, "high"), 0.001, "shares in this order"),
        (("thresholds", 0, "rate"), 1.5, "must lie between 0 and 1"),
        (("size", "classes"), 0, "must be above 0"),
        (("reliability", 0, "right"), float("nan"), "must be shares"),
        (("surprise",), 1, "unknown key 'surprise'"),
    ],
)
def test_a_plain_form_that_was_changed_is_refused(calibration, place, value, words):
    stored = json.loads(json.dumps(calibration.to_plain()))
    holder = stored
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    with pytest.raises(ValueError, match=words):
        Calibration.from_plain(stored)


@pytest.mark.parametrize("data", [None, [], "text", {}, {"model": 3}])
def test_what_is_no_plain_form_is_refused(data):
    with pytest.raises(ValueError, match="the calibration"):
        Calibration.from_plain(data)


def test_a_calibration_with_coefficients_of_other_features_is_refused(calibration):
    model = MatchModel((0.0,), (1.0,), (1.0,), 0.0)
    with pytest.raises(ValueError, match="needs 7 coefficients, not 1"):
        replace(calibration, model=model)


def test_too_few_classes_are_refused_with_their_number():
    vectors, labels = gaussian_classes(30, 5, seed=0)
    # 12 classes keep 4 photos or more, the others have 3.
    keep = np.ones(len(labels), dtype=bool)
    keep[[5 * one + photo for one in range(12, 30) for photo in (0, 1)]] = False
    with pytest.raises(ValueError, match="at least 20 classes with 4 photos, these are 12"):
        calibrate(vectors[keep], labels[keep], "a model")


def test_too_few_photos_for_every_rate_are_refused_with_their_number():
    vectors, labels = gaussian_classes(20, 4, seed=0)
    with pytest.raises(ValueError, match=r"0.05 is not possible: it needs at least 100 photos.*; these are 80"):
        calibrate(vectors, labels, "a model", rates=(0.05, 0.01))


def test_a_rate_of_one_in_a_thousand_is_refused_below_5000_photos(calibration):
    vectors, labels = gaussian_classes(24, 10, seed=1)
    words = r"0.001 is not possible: it needs at least 5,000 photos, so that 5 lie above its threshold; these are 240"
    with pytest.raises(ValueError, match=words):
        calibrate(vectors, labels, "a model", rates=(0.001,))


def test_a_rate_of_one_in_a_thousand_holds_from_5000_photos_on(monkeypatch):
    monkeypatch.setattr(calibration_folds, "REPETITIONS", 8)
    vectors, labels = gaussian_classes(300, 34, seed=6)
    new = labels >= 150
    found = calibrate(vectors[~new], labels[~new], "a model", rates=(0.001,))
    assert found.size.photos == 5100
    threshold = found.threshold(0.001)
    rng = np.random.default_rng(0)
    rates, accepts = [], []
    for _ in range(4):
        known, strange = np.array_split(rng.permutation(150), 2)
        queries = divided(LabelledVectors.of(vectors[new], labels[new] - 150), known, strange, True, rng)
        accepted = found.judge(queries.features).score > threshold.score
        rates.append(false_accept_rate(queries, accepted))
        accepts.append(accepted[~queries.is_strange].mean())
    assert np.mean(rates) <= 0.003
    assert max(rates) <= threshold.high < 0.02
    assert np.mean(accepts) > 0.1


def test_a_vector_that_is_not_finite_and_labels_of_another_number_are_refused():
    vectors, labels = gaussian_classes(20, 5, seed=0)
    broken = vectors.copy()
    broken[7, 2] = np.nan
    with pytest.raises(ValueError, match="vectors: item 7"):
        calibrate(broken, labels, "a model")
    with pytest.raises(ValueError, match="100 embeddings have 99 labels"):
        calibrate(vectors, labels[1:], "a model")
    with pytest.raises(ValueError, match="labels must be integers"):
        calibrate(vectors, labels + 0.5, "a model")


@pytest.mark.parametrize("rates", [(), (0.0,), (0.6,), (float("nan"),), ("many",), 0.05])
def test_rates_out_of_range_are_refused(rates):
    with pytest.raises(ValueError, match="false accept rates above 0"):
        check_rates(rates)


def test_lists_give_the_same_calibration_as_arrays(calibration):
    vectors, labels = gaussian_classes(24, 10, seed=1)
    assert calibrate(vectors.tolist(), labels.tolist(), "model 1", rates=(0.01, 0.05), seed=3) == calibration


def test_random_vectors_have_probabilities_but_few_accepts(few_repetitions):
    rng = np.random.default_rng(0)
    found = calibrate(rng.normal(size=(160, 8)), np.arange(20).repeat(8), "noise", rates=(0.05,))
    assert found.thresholds[0].true_accepts < 0.1
    assert found.expected_calibration_error < 0.08


def test_of_many_photos_whole_classes_are_drawn(few_repetitions, monkeypatch):
    monkeypatch.setattr("pairlens.collection.calibrate.MOST_PHOTOS", 150)
    monkeypatch.setattr("pairlens.collection.calibrate.MOST_PHOTOS_OF_A_CLASS", 6)
    found = calibrate(*gaussian_classes(40, 12, seed=0), "a model", rates=(0.05,))
    assert (found.size.classes, found.size.photos) == (25, 150)


def test_without_a_right_match_the_probability_is_small_and_constant():
    rng = np.random.default_rng(0)
    queries = Queries(rng.normal(size=(8, 2)), np.arange(8), np.zeros(8, bool), np.arange(8) > 3)
    model = fit_match_model(queries)
    assert model.coefficients == (0.0, 0.0)
    assert (probability_of(model.score(queries.features)) < 0.1).all()


def test_reliability_bins_are_means_of_their_queries():
    rng = np.random.default_rng(0)
    probability, right, weights = rng.random(200), rng.random(200) < 0.5, rng.random(200)
    probability[0] = 1.0
    for one, number in zip(reliability_bins(probability, right, weights), range(10), strict=True):
        inside = [i for i, p in enumerate(probability) if min(int(10 * p), 9) == number]
        weight = sum(weights[i] for i in inside)
        assert one.weight == pytest.approx(weight / weights.sum())
        assert one.probability == pytest.approx(sum(weights[i] * probability[i] for i in inside) / weight)
        assert one.right == pytest.approx(sum(weights[i] for i in inside if right[i]) / weight)
