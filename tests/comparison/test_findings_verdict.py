import json
from dataclasses import replace

import pytest

from pairlens.comparison.findings import (
    Contribution,
    Estimate,
    Findings,
    Prediction,
    RankAgreement,
    VarianceRow,
    VarianceTable,
)
from pairlens.comparison.findings_tables import findings_tables
from pairlens.comparison.findings_verdict import findings_sentences
from pairlens.comparison.results import Results, read_results, write_results
from pairlens.comparison.tables import markdown
from pairlens.evaluation.intervals import t_interval
from support.study_results import benchmark_result

LOSS = VarianceRow("loss", Estimate(0.02, 0.01, 0.05), Estimate(0.8, 0.5, 0.9))
SEED = VarianceRow("seed", Estimate(0.0, 0.0, 0.01), Estimate(0.2, 0.1, 0.5), is_negative=True)
AGREEMENT = RankAgreement("birds", "cars", "MAP@R", ("a", "b", "c"), Estimate(0.5, -0.1, 0.9), Estimate(0.4), 0.97)
FOLDS = Prediction("birds", "MAP@R on folds", "training photos", Estimate(0.7, 0.3, 0.9), None, 30, 6)
GAP = Prediction("birds", "s_p - s_n", "test classes", Estimate(0.9, 0.8, 0.95), Estimate(0.2, -0.1, 0.5), 30, 6)
FINDINGS = Findings(
    (
        VarianceTable("birds", "MAP@R", "6 losses × 5 seeds", (LOSS, SEED), 3),
        VarianceTable("birds", "R@1", "", (), 0, "one seed"),
    ),
    (AGREEMENT,),
    (GAP, FOLDS),
    (
        Contribution("birds", "backbone", "pretrained backbone", t_interval([0.2, 0.2]), is_level=True),
        Contribution(
            "birds", "whiten", "pretrained backbone, whiten - it", t_interval([0.01, 0.01]), False, 0.005, 0.015
        ),
        Contribution("birds", "pairwise loss", "triplet (best) - none", t_interval([0.02, 0.021, 0.019])),
        Contribution("birds", "auxiliary loss", "none - none on alone", t_interval([0.1, -0.1])),
    ),
)


@pytest.mark.parametrize(
    "sentence",
    [
        "birds: the pretrained backbone as it comes has 20.0 % MAP@R.",
        "whiten, pretrained backbone, whiten: +1.0;",
        "pairwise loss, triplet (best): +2.0 (+1.8 to +2.2);",
        "auxiliary loss, none: 0.0 (-127.1 to +127.1, not distinguishable from 0).",
        "Variance of MAP@R, birds: loss 80 % (50 to 90); seed 20 % (10 to 50).",
        "on birds, and on cars, has Spearman's correlation +0.50 (95 % interval -0.10 to +0.90), so it is not shown that",
        "of 1 measurements with the result of a run is +0.70, of MAP@R on folds, over 30 runs of 6 losses",
    ],
)
def test_the_sentences_claim_what_the_intervals_support(sentence):
    assert sentence in " ".join(findings_sentences(FINDINGS, "MAP@R"))


def test_few_losses_and_many_benchmarks_have_sentences_of_their_own():
    few = replace(AGREEMENT, spearman=Estimate(0.5))
    assert "too few losses for an interval" in findings_sentences(Findings(agreements=(few,)), "MAP@R")[0]
    many = Findings(agreements=(AGREEMENT,) * 6 + (few,) * 4)
    assert findings_sentences(many, "MAP@R") == [
        "Spearman's correlation of the losses' order on two benchmarks is +0.50 to +0.50 (10 pairs)."
    ]
    two = replace(FOLDS, over_runs=Estimate(0.9), losses=2)
    assert findings_sentences(Findings(predictions=(two,)), "MAP@R") == [
        "On birds, 2 losses are too few to say which measurement predicts a run."
    ]
    unsure = replace(FOLDS, over_runs=Estimate(-0.2, -0.6, 0.3))
    assert "so it may predict nothing" in findings_sentences(Findings(predictions=(unsure, GAP)), "MAP@R")[0]
    assert "no measurement could" in findings_sentences(Findings(predictions=(GAP,)), "MAP@R")[0]
    assert findings_sentences(Findings(), "MAP@R") == []


def test_tables_hold_every_finding():
    contributions, variance, agreement, predictions = findings_tables(FINDINGS, "MAP@R")
    assert [row[-1] for row in contributions.rows[:3]] == [
        "20.0 (equal for all seeds)",
        "+1.0 (equal for all seeds, over classes [+0.5, +1.5])",
        "+2.0 [+1.8, +2.2]",
    ]
    assert [row[1:4] for row in variance.rows] == [
        ("loss", "2.00 [1.00, 5.00]", "80 % [50 %, 90 %]"),
        ("seed*", "0.00 [0.00, 1.00]", "20 % [10 %, 50 %]"),
        ("not known: one seed", "", ""),
    ]
    assert variance.rows[0][4] == "6 losses × 5 seeds, 3 more runs left out"
    assert "below 0" in variance.notes[-1]
    assert agreement.rows == [("birds; cars", "3", "+0.50 [-0.10, +0.90]", "+0.40", "0.97")]
    # Predictors come first, also where what is none has a stronger correlation.
    assert [row[0] for row in predictions.rows] == ["MAP@R on folds", "s_p - s_n"]
    assert predictions.rows[1][1] == "test classes: no predictor"
    assert predictions.rows[0][3] == "constant"
    assert findings_tables(Findings(), "MAP@R") == []


def test_findings_are_stored_and_files_without_them_stay_readable(tmp_path):
    results = Results((benchmark_result("birds", {"a": (0.1, 0.2), "b": (0.2, 0.3)}),), FINDINGS)
    file = write_results(results, tmp_path)
    assert read_results(tmp_path) == results
    assert "## Where the variance comes from" in markdown(results)
    stored = json.loads(file.read_text(encoding="utf-8"))
    assert stored.pop("version") == 2
    del stored["findings"]
    file.write_text(json.dumps(stored), encoding="utf-8")
    assert read_results(tmp_path) == replace(results, findings=Findings())
    file.write_text(json.dumps({**stored, "version": 3}), encoding="utf-8")
    with pytest.raises(ValueError, match="has version 3, but this Pairlens reads 1 to 2"):
        read_results(tmp_path)
