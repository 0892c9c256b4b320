import csv
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from pairlens.comparison import figures as figures
from pairlens.comparison import statistics
from pairlens.comparison.results import (
    BenchmarkResult,
    Difference,
    LossResult,
    Measured,
    Results,
    read_results,
    write_results,
)
from pairlens.comparison.statistics import PairedRuns, measure
from pairlens.comparison.study import Arm
from pairlens.comparison.study_file import read_study, write_study
from pairlens.comparison.study_plan import FAILED_FILE, Plan
from pairlens.comparison.tables import latex, markdown, values_table, write_tables
from pairlens.comparison.verdicts import headline, headline_of_all, pair_verdict, verdict
from pairlens.evaluation.embeddings import Embeddings
from pairlens.evaluation.intervals import bonferroni, t_interval
from pairlens.evaluation.per_query import ClassSums
from support.naive import statistics as naive


@pytest.fixture(scope="module")
def results(compared):
    return measure(compared)


def made(values, apart=(), untrained=0.1, missing=0, failed=(), backbone=None):
    """Return a result made by hand, from the values of each loss and seed and the distinguishable pairs."""
    losses = tuple(
        LossResult(
            name=name,
            loss=name,
            settings="",
            metrics=(Measured("MAP@R", t_interval(found), min(found), max(found)),),
            curve=(t_interval([untrained] * len(found)), t_interval(found)),
            mean_s_p=None,
            mean_s_n=None,
            seconds=t_interval([10.0] * len(found)),
            seeds=tuple(range(len(found))),
            runs=(),
            failed=failed if name == "c" else (),
        )
        for name, found in values.items()
    )
    pairs = [(a, b) for i, a in enumerate(losses) for b in losses[i + 1 :]]
    differences = tuple(
        Difference("MAP@R", a.name, b.name, t_interval([0.1, 0.1]), 0.05, 0.2, (a.name, b.name) in apart)
        for a, b in pairs
    )
    seeds = max(len(found) for found in values.values())
    before = t_interval([untrained] * seeds)
    result = BenchmarkResult("bars", "bars", 4, 24, "MAP@R", 0.95, before, losses, differences, missing)
    if backbone is None:
        return result
    return replace(result, baseline=t_interval([backbone] * seeds), baseline_name="pretrained backbone")


THREE = {"a": (0.5, 0.52), "b": (0.4, 0.41), "c": (0.3, 0.31)}


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (made(THREE, {("a", "b"), ("a", "c")}), "a is better than every other loss: b and c."),
        (made(THREE, {("a", "c")}), "a is better than c; not distinguishable from b."),
        (made(THREE), "With these 2 seeds and 4 test classes, a is not distinguishable from any other loss."),
        (made({"a": (0.5,), "b": (0.4,)}), "One seed does not show the effect of chance"),
        (made({"a": (0.5,)}), "no other loss"),
        (made(THREE, untrained=0.6), "No loss improves on the model before training, which has 60.0 %."),
        (
            made({"a": (0.5, 0.1), "b": (0.0, 0.0)}, untrained=0.2),
            "not distinguishable from the model before training, which has 20.0 %.",
        ),
        (made(THREE), "The model before training has 10.0 %."),
        (made(THREE, backbone=0.2), "The pretrained backbone has 20.0 %, the model before training has 10.0 %."),
        (made(THREE, backbone=0.6), "No loss improves on the pretrained backbone, which has 60.0 %."),
        (made(THREE, untrained=0.6, backbone=0.55), "No loss improves on the model before training, which has 60.0 %."),
        (made(THREE, backbone=0.509), "a is not distinguishable from the pretrained backbone, which has 50.9 %."),
        (made(THREE, missing=1), "1 run is not finished yet"),
        (made(THREE, missing=2), "2 runs are not finished yet"),
        (made(THREE, failed=("nan", "nan")), "2 runs are left out, because the loss became infinite or NaN."),
        (made(THREE), "Highest mean MAP@R on bars: a with 51.0 % (95 % interval over 2 seeds: 38.3 to 63.7)."),
    ],
)
def test_the_verdict_claims_what_the_intervals_support(result, sentence):
    assert sentence in verdict(result)


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (made(THREE, {("a", "b"), ("a", "c")}), "On bars, a retrieves best: better than all other losses"),
        (
            made(THREE, {("a", "c")}),
            "On bars, a has the highest MAP@R, 51.0 %: better than c, not distinguishable from b",
        ),
        (made(THREE), "but with 2 seeds it is not distinguishable from any other loss"),
        (made(THREE, {("a", "c")}, untrained=0.6), "On bars, no loss improves on the model before training"),
        (made(THREE, backbone=0.6), "On bars, no loss improves on the pretrained backbone"),
        (made({"a": (0.5,), "b": (0.4,)}), "but one seed is not enough to tell whether it is better"),
        (made(THREE, missing=2), "So far, on bars, a has"),
    ],
)
def test_the_headline_is_the_verdict_in_one_sentence(result, sentence):
    assert sentence in headline(result)


def test_the_headline_of_several_benchmarks():
    one, two = made(THREE, {("a", "b"), ("a", "c")}), replace(made({"b": (0.5,), "a": (0.1,)}), name="shop")
    assert headline_of_all([one, one]) == "a has the highest MAP@R on all 2 benchmarks"
    assert headline_of_all([one, two]) == "No loss has the highest MAP@R everywhere: a on bars; b on shop"
    none = made(THREE, untrained=0.9)
    assert headline_of_all([one, none]) == "No loss has the highest MAP@R everywhere: a on bars; no loss on bars"
    many = headline_of_all([one, two, one, none])
    assert many == "No loss has the highest MAP@R on all 4 benchmarks: a on 2, b on 1, no loss on 1"
    nowhere = "On none of the 2 benchmarks does any loss improve on"
    assert headline_of_all([none, none]) == f"{nowhere} the model before training"
    above = made(THREE, backbone=0.9)
    assert headline_of_all([none, above]) == f"{nowhere} the model before training or the pretrained backbone"


def test_the_verdict_of_a_pair():
    field = made(THREE, {("a", "c")})
    assert pair_verdict(field, "c", "a") == "a is better than c on bars by 10.0 points of MAP@R."
    assert "not distinguishable" in pair_verdict(field, "a", "b")
    with pytest.raises(KeyError, match="not compared"):
        pair_verdict(field, "a", "z")


def test_results_hold_what_the_runs_hold(results, compared):
    (field,) = results.fields
    plan = Plan(read_study(compared), compared)
    assert {loss.name for loss in field.losses} == {"triplet", "circle 10"}
    assert (field.classes, field.queries, field.missing) == (4, 24, 0)
    for loss in field.losses:
        arm = next(a for a in plan.study.arms if a.name == loss.name)
        outcomes = [plan.run_folder(plan.study.fields[0], arm, seed).read_outcome() for seed in range(3)]
        for metric in loss.metrics:
            assert metric.over_seeds.values == tuple(o.report[metric.name] for o in outcomes)
        assert [p.values[1] for p in loss.curve] == [row.report["MAP@R"] for row in outcomes[1].rows]
        assert field.untrained.values == tuple(o.untrained["MAP@R"] for o in outcomes)
        assert field.baseline.values == tuple(o.baseline.report["MAP@R"] for o in outcomes)
        assert [compared / run for run in loss.runs] == [
            plan.run_folder(plan.study.fields[0], arm, s).path for s in range(3)
        ]
    means = [loss.metric("MAP@R").over_seeds.mean for loss in field.losses]
    assert means == sorted(means, reverse=True)


def test_class_sums_and_their_interval_agree_with_plain_loops(results, compared):
    (field,) = results.fields
    loss = field.losses[0]
    by_class = {}
    for run in loss.runs:
        e = Embeddings.load(compared / run / "gallery.safetensors")
        similarity = e.vectors @ e.vectors.T
        for q, label in enumerate(e.labels.tolist()):
            order = sorted((i for i in range(len(e.labels)) if i != q), key=lambda i: (-float(similarity[q, i]), i))
            by_class.setdefault(label, []).append(float(int(e.labels[order[0]]) == label))
    low, high = naive.class_bootstrap(list(by_class.values()), 4000, 0.95)
    found = loss.metric("R@1")
    assert found.over_seeds.mean == pytest.approx(np.mean([v for values in by_class.values() for v in values]))
    assert (found.class_low, found.class_high) == pytest.approx((low, high), abs=0.06)


def test_differences_are_paired_over_seeds(results):
    (field,) = results.fields
    (found,) = field.differences
    first, second = (loss.metric("MAP@R").over_seeds.values for loss in field.losses)
    assert found.over_seeds.values == pytest.approx([a - b for a, b in zip(first, second, strict=True)])
    assert found.over_seeds.mean >= 0
    assert found.distinguishable == (found.over_seeds.low > 0 and found.class_low > 0)


def test_a_clear_difference_is_distinguishable_and_none_is_not(compared, tmp_path):
    study = read_study(compared)
    plan = Plan(study, tmp_path)
    for number, arm in enumerate(study.arms):
        for seed in range(3):
            there = Plan(study, compared).run_folder(study.fields[0], arm, seed).path
            here = plan.run_folder(study.fields[0], arm, seed).path
            here.parent.mkdir(parents=True, exist_ok=True)
            here.mkdir()
            for name in ("config.json", "outcome.json", "gallery.safetensors"):
                (here / name).write_bytes((there / name).read_bytes())
            if number == 0:
                make_perfect(here, seed)
    write_study(study, tmp_path)
    (field,) = measure(tmp_path).fields
    assert field.losses[0].name == "triplet"
    assert field.differences[0].distinguishable
    same = replace(study, arms=(study.arms[1], Arm("twin", "circle:gamma=10")))
    for seed in range(3):
        plan.run_folder(study.fields[0], study.arms[1], seed)
        twin = Plan(same, tmp_path).run_folder(study.fields[0], same.arms[1], seed).path
        twin.mkdir(parents=True)
        for file in plan.run_folder(study.fields[0], study.arms[1], seed).path.iterdir():
            (twin / file.name).write_bytes(file.read_bytes())
    write_study(same, tmp_path)
    (field,) = measure(tmp_path).fields
    assert not field.differences[0].distinguishable
    assert field.differences[0].over_seeds.mean == 0


def make_perfect(folder, seed):
    """Replace the embeddings of a run by almost perfect ones, a little different for each seed."""
    e = Embeddings.load(folder / "gallery.safetensors")
    vectors = torch.eye(16)[e.labels] + 0.01 * torch.randn(
        len(e.labels), 16, generator=torch.Generator().manual_seed(seed)
    )
    replace(e, vectors=torch.nn.functional.normalize(vectors)).save(folder / "gallery.safetensors")
    outcome = json.loads((folder / "outcome.json").read_text(encoding="utf-8"))
    (metric,) = (m for m in outcome["rows"][-1]["report"]["metrics"] if m["name"] == "MAP@R")
    metric["value"] = 1 - seed / 1000
    (folder / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")


def test_results_are_read_back_from_json(results, tmp_path):
    write_results(results, tmp_path)
    assert read_results(tmp_path) == results
    with pytest.raises(ValueError, match="not the folder of a comparison"):
        read_results(tmp_path / "x")
    (tmp_path / "results.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="damaged"):
        read_results(tmp_path)


def test_missing_runs_are_counted_and_failed_runs_are_named(compared, tmp_path):
    study = read_study(compared)
    write_study(study, tmp_path)
    with pytest.raises(ValueError, match="no run is finished"):
        measure(tmp_path)
    plan = Plan(study, tmp_path)
    for arm, seeds in zip(study.arms, ((0, 1), (1,)), strict=True):
        for seed in seeds:
            run_folder = plan.run_folder(study.fields[0], arm, seed).path
            run_folder.mkdir(parents=True)
            for file in Plan(study, compared).run_folder(study.fields[0], arm, seed).path.iterdir():
                (run_folder / file.name).write_bytes(file.read_bytes())
    failed = plan.run_folder(study.fields[0], study.arms[1], 0).path
    failed.mkdir()
    (failed / FAILED_FILE).write_text("the loss became nan\n", encoding="utf-8")
    (field,) = measure(tmp_path).fields
    assert field.missing == 2
    circle = next(loss for loss in field.losses if loss.name == "circle 10")
    assert (circle.seeds, circle.failed) == ((1,), ("the loss became nan",))
    assert len(field.differences[0].over_seeds.values) == 1
    assert not field.differences[0].distinguishable


def test_tables_hold_every_loss_and_every_number(results, tmp_path):
    files = write_tables(results, tmp_path)
    text = markdown(results)
    field = results.fields[0]
    assert {file.name for file in files} == {"comparison.md", "comparison.tex", "comparison.csv", "differences.csv"}
    for loss in field.losses:
        found = loss.metric("R@1").over_seeds
        assert f"{100 * found.mean:.1f} ± {100 * (found.mean - found.low):.1f}" in text
    of_losses = text.partition("## The study as a whole")[0]
    lines = [line for line in of_losses.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    tex = latex(results)
    # The header, one row per loss, and the two baselines.
    assert tex.count(r"\\") == 3 + len(field.losses)
    assert "%" not in tex.replace(r"\%", "")
    with (tmp_path / "comparison.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(values_table(results).rows)
    kept = [r for r in rows if r["epoch"] == "kept" and r["metric"] == "R@1" and r["loss"] == field.losses[0].name]
    assert [float(r["value"]) for r in kept] == list(field.losses[0].metric("R@1").over_seeds.values)


def test_names_cannot_break_a_table():
    field = made({"a|b_%": (0.5, 0.52), "b": (0.4, 0.41)})
    assert r"a\|b_%" in markdown(Results((field,)))
    assert r"a|b\_\%" in latex(Results((field,)))


def test_every_figure_has_a_caption_and_a_text_alternative(results, tmp_path):
    drawn = figures.draw_comparison(results, tmp_path)
    assert [picture.file.name for _, picture in drawn] == [
        f"bars-{name}.svg" for name in ("ranks", "differences", "curves", "costs")
    ]
    for name, picture in drawn:
        assert name == "bars"
        assert picture.file.read_text(encoding="utf-8").lstrip().startswith("<?xml")
        assert "triplet" in picture.file.read_text(encoding="utf-8")
        assert picture.alt
        assert picture.caption


def test_ranks_are_those_of_plain_counting(monkeypatch, tmp_path):
    values = {"a": (0.5, 0.2, 0.9), "b": (0.4, 0.6, 0.9), "c": (0.3, 0.1, 0.1)}
    axes = Figure().subplots()
    figures._draw_ranks(axes, made(values))
    drawn = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 3]
    assert [list(d) for d in drawn] == naive.ranks(list(values.values()))


def test_32_lines_have_different_looks():
    assert len({figures.look(n) for n in range(32)}) == 32


class Run:
    """A stand-in for a finished run: its seed, its metric, and the sums of its classes."""

    def __init__(self, seed, value, sums):
        self.seed = seed
        self.row = SimpleNamespace(report={"MAP@R": value})
        self.by_class = ClassSums({"MAP@R": np.array(sums)}, np.ones(len(sums), int))


def test_runs_are_paired_by_their_seeds():
    runs = {
        "a": [Run(0, 0.5, [3, 1]), Run(1, 0.7, [4, 2]), Run(2, 0.9, [9, 9])],
        "b": [Run(1, 0.4, [1, 1]), Run(0, 0.1, [1, 0])],
    }
    pair = PairedRuns.of("a", "b", runs)
    assert pair.differences("MAP@R") == pytest.approx([0.4, 0.3])
    assert pair.class_sums("MAP@R").tolist() == [2.5, 1.0]
    assert PairedRuns.of("a", "c", {**runs, "c": [Run(7, 0.4, [1, 1])]}).runs == []


def test_the_matrix_of_differences_has_three_looks_with_a_legend(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, file, salt: drawn.append(figure))
    figures.draw_differences(made(THREE, {("a", "b"), ("a", "c")}), tmp_path / "x.svg")
    (axes,) = drawn[0].axes
    (image,) = axes.images
    assert np.isfinite(image.get_array().filled(np.nan)).sum() == 2
    undecided = [p for p in axes.patches if not p.get_hatch()]
    diagonal = [p for p in axes.patches if p.get_hatch()]
    assert [p.get_xy() for p in undecided] == [(1.5, 0.5)]
    assert [p.get_xy() for p in diagonal] == [(-0.5, -0.5), (0.5, 0.5), (1.5, 1.5)]
    labels = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert [label.split(" (")[0] for label in labels[:3]] == ["distinguishable", "not distinguishable", "the same loss"]


def test_one_seed_is_counted_in_the_singular():
    axes = Figure().subplots()
    figures._draw_ranks(axes, made({"a": (0.5,), "b": (0.4,)}))
    assert axes.get_xlabel() == "rank by MAP@R among 2 losses, 1 seed"


def finished(values, sums):
    """Runs made by hand from {seed: value}; every run has the same sums of its classes."""
    return [Run(seed, value, sums) for seed, value in values.items()]


def differences(runs):
    """The differences of losses given as {name: runs}."""
    by_arm = {Arm(name, name): of_loss for name, of_loss in runs.items()}
    ranked = sorted(by_arm, key=lambda arm: -np.mean([run.row.report["MAP@R"] for run in by_arm[arm]]))
    return statistics._differences(ranked, by_arm, "MAP@R", 0.95)


def test_a_difference_names_the_better_loss_of_the_seeds_that_both_have():
    # "fragile" has the higher mean, because its hard seeds failed; on the seeds that both have it is worse.
    runs = {
        "fragile": finished({0: 0.62, 1: 0.621, 2: 0.622}, [1.0, 2.0, 1.5]),
        "steady": finished({0: 0.65, 1: 0.651, 2: 0.652, 3: 0.5, 4: 0.5}, [2.0, 3.0, 2.5]),
    }
    (found,) = differences(runs)
    assert (found.first, found.second, found.distinguishable) == ("steady", "fragile", True)
    assert found.over_seeds.mean == pytest.approx(0.03)
    assert found.class_low == found.class_high == pytest.approx(1.0)
    result = made({"fragile": (0.62, 0.622), "steady": (0.59, 0.591)})
    result = replace(result, differences=(replace(found, metric="MAP@R"),))
    assert "On the seeds that both have finished, steady is better than fragile." in verdict(result)
    assert "fragile is better" not in verdict(result)
    assert headline(result).endswith("but steady is better on the seeds that both have finished")
    assert pair_verdict(result, "fragile", "steady") == "steady is better than fragile on bars by 3.0 points of MAP@R."


def test_queries_of_one_class_distinguish_no_losses():
    runs = {"a": finished({0: 0.9, 1: 0.91}, [9.0]), "b": finished({0: 0.1, 1: 0.11}, [1.0])}
    (found,) = differences(runs)
    assert found.over_seeds.low > 0
    assert not found.distinguishable
    result = replace(made({"a": (0.9, 0.91), "b": (0.1, 0.11)}), classes=1)
    assert "All queries are of one class" in verdict(result)


def test_baselines_are_paired_by_seed_and_not_by_position():
    # The best loss has failed with seed 1; seed 1 of the baseline belongs to no gain.
    losses = made({"a": (0.30, 0.50), "b": (0.1, 0.1, 0.1)}, backbone=0.2)
    best = replace(losses.losses[0], seeds=(2, 3))
    other = replace(losses.losses[1], seeds=(1, 2, 3))
    result = replace(losses, losses=(best, other), baseline=t_interval([0.49, 0.29, 0.49]))
    # 0.30 - 0.29 and 0.50 - 0.49, which are equal gains.
    assert "is not distinguishable from the pretrained backbone" not in verdict(result)
    shifted = replace(result, baseline=t_interval([0.29, 0.49, 0.29]))
    assert "a is not distinguishable from the pretrained backbone" in verdict(shifted)


def test_the_truly_best_loss_is_called_worse_in_at_most_a_twentieth_of_all_studies():
    """With the level of the verdict, the best loss is seldom rejected, however many others there are."""
    rng, studies, seeds, losses = np.random.default_rng(0), 2000, 5, 10
    level = bonferroni(losses - 1)
    # Loss 0 is the best by nothing at all, which is the hardest case; seeds share a part of their noise.
    values = rng.normal(size=(studies, losses, seeds)) + rng.normal(size=(studies, 1, seeds))
    winner = values.mean(axis=2).argmax(axis=1)
    rejected = 0
    for study, of_study in enumerate(values):
        interval = t_interval(of_study[winner[study]] - of_study[0], level)
        rejected += bool(winner[study] and interval.low > 0)
    assert rejected / studies <= 0.05
