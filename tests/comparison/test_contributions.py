from dataclasses import replace

import pytest

from pairlens.comparison.contributions import contributions_of
from pairlens.comparison.results import PostResult
from pairlens.evaluation.intervals import t_interval
from support.study_results import benchmark_result, plan_of

TWO = {"alone": {"auxiliary": 0.0}, "both": {"auxiliary": 1.0}}
ALONE = {"triplet": (0.30, 0.32, 0.31), "circle": (0.26, 0.24, 0.25), "none": (0.20, 0.22, 0.18)}
BOTH = {"triplet": (0.35, 0.36, 0.37), "circle": (0.29, 0.30, 0.31), "none": (0.29, 0.33, 0.31)}


def found_in(plan, results):
    return {
        (one.benchmark, one.part, one.compared.partition(" - ")[0]): one.points
        for one in contributions_of(plan, results)
    }


def test_every_part_is_a_paired_difference(tmp_path):
    results = [benchmark_result("alone", ALONE, baseline=0.19), benchmark_result("both", BOTH, baseline=0.19)]
    found = found_in(plan_of(tmp_path, TWO), results)
    assert {key: pytest.approx(100 * interval.mean) for key, interval in found.items()} == {
        ("alone", "backbone", "pretrained backbone"): 19,
        ("alone", "new layers, without any loss", "none"): 1,
        ("alone", "pairwise loss", "triplet (best)"): 11,
        ("alone", "pairwise loss", "mean of 2 losses"): 8,
        ("both", "backbone", "pretrained backbone"): 19,
        ("both", "auxiliary loss", "none"): 11,
        ("both", "auxiliary loss, beside a pairwise loss", "mean of 2 losses"): 5,
        ("both", "pairwise loss", "triplet (best)"): 5,
        ("both", "pairwise loss", "mean of 2 losses"): 2,
    }
    assert found["both", "auxiliary loss", "none"].values == pytest.approx((0.09, 0.11, 0.13))
    assert found["alone", "pairwise loss", "mean of 2 losses"].values == pytest.approx((0.08, 0.06, 0.10))


def test_what_has_no_control_is_left_out(tmp_path):
    without = {name: found for name, found in ALONE.items() if name != "none"}
    found = found_in(plan_of(tmp_path, {"alone": {"auxiliary": 0.0}}), [benchmark_result("alone", without)])
    assert found == {}
    # Benchmarks that differ in more than the auxiliary loss are not compared.
    apart = {"alone": {"auxiliary": 0.0}, "both": {"auxiliary": 1.0, "crop_type": "cropped"}}
    results = [benchmark_result("alone", ALONE), benchmark_result("both", BOTH)]
    assert {part for _, part, _ in found_in(plan_of(tmp_path, apart), results)} == {"pairwise loss"}


def test_missing_runs_pair_the_seeds_that_both_have(tmp_path):
    values = {"triplet": {0: 0.2, 1: 0.4}, "circle": {1: 0.2, 2: 0.5}, "none": {1: 0.1, 2: 0.1}}
    found = found_in(plan_of(tmp_path, {"alone": {}}), [benchmark_result("alone", values)])
    assert found["alone", "pairwise loss", "circle (best)"].values == pytest.approx((0.1, 0.4))
    assert found["alone", "pairwise loss", "mean of 2 losses"].values == pytest.approx((0.2,))
    assert found["alone", "pairwise loss", "mean of 2 losses"].low is None


def test_post_processing_adds_to_the_backbone_and_to_the_losses(tmp_path):
    gain = {"pretrained backbone": (0.01, 0.01, 0.01), "triplet": (0.02, 0.03, 0.04), "circle": (0.0, 0.01, 0.02)}
    post = tuple(PostResult(name, (), t_interval(found), -0.01, 0.03) for name, found in gain.items())
    result = replace(benchmark_result("alone", ALONE, baseline=0.19), post_name="whiten", post=post)
    found = [one for one in contributions_of(plan_of(tmp_path, {"alone": {}}), [result]) if one.part == "whiten"]
    assert [one.compared for one in found] == [
        "pretrained backbone, whiten - pretrained backbone",
        "mean of 2 losses, whiten - the same as trained",
    ]
    assert (found[0].class_low, found[0].class_high) == (-0.01, 0.03)
    assert found[1].points.values == pytest.approx((0.01, 0.02, 0.03))
