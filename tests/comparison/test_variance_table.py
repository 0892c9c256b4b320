import json

import numpy as np
import pytest

from pairlens.comparison.tuning import Trial
from pairlens.comparison.variance_components import variance_rows
from pairlens.comparison.variance_table import (
    complete_design,
    differing_factors,
    grids_of,
    nested_design,
    variance_tables,
)
from support.naive import study_findings as naive
from support.study_results import benchmark_result, plan_of

FOUR = {
    f"{crop}, {auxiliary}": {"crop_type": crop, "auxiliary": auxiliary}
    for crop in ("uncropped", "cropped")
    for auxiliary in (0.0, 1.0)
}


def test_each_benchmark_is_divided_among_loss_and_seed_without_the_control(tmp_path):
    grid = np.random.default_rng(0).normal(0.2, 0.05, size=(4, 3))
    values = {f"loss {row}": found.tolist() for row, found in enumerate(grid)} | {"none": [0.9, 0.1, 0.5]}
    tables = variance_tables(plan_of(tmp_path, {"birds": {}}), [benchmark_result("birds", values)])
    assert [(t.name, t.metric, t.design) for t in tables] == [
        ("birds", metric, "4 losses × 3 seeds") for metric in ("MAP@R", "R@1")
    ]
    expected = [max(v, 0) ** 0.5 for v in naive.two_way(grid.tolist())]
    assert [row.deviation.value for row in tables[0].rows] == pytest.approx(expected)
    assert [row.deviation.value for row in tables[1].rows] == pytest.approx([2 * v for v in expected])
    assert sum(row.share.value for row in tables[0].rows) == pytest.approx(1)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"a": (0.1,), "b": (0.2,)}, "one seed"),
        ({"a": (0.1, 0.2), "none": (0.1, 0.2)}, "two losses"),
        ({"none": (0.1, 0.2)}, "two losses"),
    ],
)
def test_what_cannot_be_divided_is_said(tmp_path, values, reason):
    table = variance_tables(plan_of(tmp_path, {"birds": {}}), [benchmark_result("birds", values)])[0]
    assert table.rows == ()
    assert reason in table.reason


def test_missing_runs_leave_the_complete_design_with_the_most_runs(tmp_path):
    values = {"a": {0: 0.1, 1: 0.2, 2: 0.3}, "b": {0: 0.2, 1: 0.2, 2: 0.5}, "c": {1: 0.4}}
    (table, _) = variance_tables(plan_of(tmp_path, {"birds": {}}), [benchmark_result("birds", values)])
    assert (table.design, table.left_out) == ("2 losses × 3 seeds", 1)
    assert complete_design({"a": {0: 0.1}, "b": {1: 0.1}}) == (["a"], [0])


def test_settings_that_form_a_grid_are_factors_of_their_own(tmp_path):
    plan = plan_of(tmp_path, FOUR)
    assert differing_factors(plan.study.fields) == {"crop_type": [0, 0, 1, 1], "auxiliary": [0, 1, 0, 1]}
    together = plan_of(tmp_path, {"a": {"num_epochs": 3, "image_size": 64}, "b": {"num_epochs": 5, "image_size": 96}})
    assert list(differing_factors(together.study.fields).values()) == [[0, 1]]
    # Where the photos lie changes no result.
    moved = plan_of(tmp_path, {"a": {"data_path": tmp_path}, "b": {"device": "cpu"}})
    assert differing_factors(moved.study.fields) == {}


@pytest.mark.parametrize(
    ("levels", "grids"),
    [
        ([(0, 0), (0, 1), (1, 0), (1, 1)], [(0, 1, 2, 3)]),
        # Three of four combinations are two overlapping pairs.
        ([(0, 0), (0, 1), (1, 0)], [(0, 1), (0, 2)]),
        ([(0, 0), (1, 1)], []),
        ([(0,), (1,), (2,)], [(0, 1, 2)]),
        ([(0, 0), (0, 0)], []),
        ([], []),
    ],
)
def test_grids_are_the_largest_sets_with_every_combination(levels, grids):
    factors = {str(number): list(column) for number, column in enumerate(zip(*levels, strict=True))}
    assert grids_of(factors) == grids


def test_a_benchmark_beside_a_grid_does_not_hide_it(tmp_path):
    rng, five = (
        np.random.default_rng(5),
        {**FOUR, "cars": {"crop_type": "uncropped", "auxiliary": 0.0, "data_name": "shop"}},
    )
    results = [
        benchmark_result(name, {f"loss {n}": rng.normal(0.3, 0.01, seeds).tolist() for n in range(3)})
        for name, seeds in zip(five, (4, 4, 4, 4, 2), strict=True)
    ]
    tables = [t for t in variance_tables(plan_of(tmp_path, five), results) if t.metric == "MAP@R"][5:]
    assert [(t.name, t.design.partition(":")[0], t.left_out) for t in tables] == [
        ("all benchmarks", "3 losses × 2 seeds × 5 benchmarks", 24),
        ("benchmarks that differ in crop_type and auxiliary", "3 losses × 4 seeds × 4 benchmarks", 0),
        ("benchmarks that differ in data_name", "3 losses × 2 seeds × 2 benchmarks", 6),
    ]


def test_over_benchmarks_the_effect_of_a_setting_is_found(tmp_path):
    rng = np.random.default_rng(1)
    loss = rng.normal(0, 0.02, size=8)
    # The crop moves every run by ±3 points, the auxiliary loss by nothing.
    results = [
        benchmark_result(
            name,
            {
                f"loss {n}": (
                    0.3 + effect + (0.03 if options["crop_type"] == "cropped" else -0.03) + rng.normal(0, 0.003, 4)
                ).tolist()
                for n, effect in enumerate(loss)
            },
        )
        for name, options in FOUR.items()
    ]
    table = next(t for t in variance_tables(plan_of(tmp_path, FOUR), results) if t.name.startswith("benchmarks"))
    assert table.design.startswith("8 losses × 4 seeds × 4 benchmarks: uncropped, 0.0;")
    found = {row.source: row for row in table.rows}
    assert found["crop_type"].deviation.value == pytest.approx(0.03, abs=0.001)
    assert found["crop_type"].deviation.low < 0.03 < found["crop_type"].deviation.high
    assert found["auxiliary"].deviation.value < 0.001
    assert found["loss"].deviation.value == pytest.approx(loss.std(ddof=1), abs=0.001)
    assert found["seed"].deviation.value == pytest.approx(0.003, abs=0.0006)
    assert sum(row.share.value for row in table.rows) == pytest.approx(1)


def test_seeds_that_benchmarks_do_not_share_are_said(tmp_path):
    two = {"a": {"auxiliary": 0.0}, "b": {"auxiliary": 1.0}}
    values = [{"x": {0: 0.1, 1: 0.2}, "y": {0: 0.3, 1: 0.1}}, {"x": {7: 0.1, 8: 0.2}, "y": {7: 0.3, 8: 0.1}}]
    results = [benchmark_result(name, found) for name, found in zip(two, values, strict=True)]
    table = next(t for t in variance_tables(plan_of(tmp_path, two), results) if t.name.startswith("benchmarks"))
    assert (table.rows, table.left_out) == ((), 8)
    assert table.reason


def trials(rng, losses, count, folds, deviations):
    loss, setting, rest = deviations
    of_fold = rng.normal(size=folds)
    return [
        [
            Trial(n, {}, tuple(of_loss + rng.normal(0, setting) + of_fold + rng.normal(0, rest, folds)), 0.0)
            for n in range(count)
        ]
        for of_loss in rng.normal(0, loss, losses)
    ]


def test_the_variance_of_settings_is_unbiased():
    """400 tunings of 6 losses with 5 settings on 3 folds; a value is a mean over the folds."""
    rng, found = np.random.default_rng(2), []
    for _ in range(400):
        squares, sources = nested_design(trials(rng, 6, 5, 3, (2.0, 1.0, 0.9)))
        found.append([parts[0].estimate(squares) for parts in sources.values()])
    assert np.mean(found, axis=0) == pytest.approx([4.0, 1.0, 0.81 / 3], rel=0.1)


def test_losses_with_fewer_settings_count_less():
    rng = np.random.default_rng(3)
    found = []
    for _ in range(400):
        some = [one[:count] for one, count in zip(trials(rng, 4, 8, 2, (1.0, 2.0, 0.1)), (8, 2, 4, 8), strict=True)]
        squares, sources = nested_design(some)
        found.append([parts[0].estimate(squares) for parts in sources.values()])
    assert np.mean(found, axis=0)[:2] == pytest.approx([1.0, 4.0], rel=0.15)


def test_stored_trials_become_a_table(tmp_path):
    plan = plan_of(tmp_path, {"birds": {}}, tune=5)
    rng = np.random.default_rng(4)
    for arm, found in zip(plan.study.arms, trials(rng, 3, 6, 2, (0.1, 0.05, 0.01)), strict=True):
        folder = plan.tuning_folder(plan.study.fields[0], arm)
        folder.mkdir(parents=True)
        plain = [{"number": t.number, "params": {}, "folds": t.folds, "value": sum(t.folds) / 2} for t in found]
        (folder / "trials.json").write_text(json.dumps({"trials": plain}), encoding="utf-8")
    tables = variance_tables(plan, [benchmark_result("birds", {"triplet": (0.1, 0.2), "circle": (0.2, 0.3)})])
    table = tables[-1]
    # The control has settings too, but it is no loss; a sixth trial is of a larger study.
    assert (table.name, table.design) == ("tuning of birds", "2 losses × 5 settings × 2 folds of the training classes")
    assert [row.source for row in table.rows] == ["loss", "setting of the loss", "setting, different for each fold"]
    assert variance_rows(*nested_design([[Trial(0, {}, (0.1, 0.1), 0.1)] * 2] * 2))[0].deviation.value == 0
