import shutil
from dataclasses import replace

from pairlens.analysis.training_gain import Gain, gain_headline, gain_words, paired_gain, unpaired_gain
from pairlens.evaluation.intervals import class_bootstrap
from pairlens.experiments.baseline import MeasuredBaseline
from pairlens.experiments.run_folder import RunFolder
from support.experiments import changed


def test_the_verdict_of_a_run():
    gain = Gain("MAP@R", 0.1, 0.3, 0.15, 0.25, True)
    raised = "Training with circle raises MAP@R on 4 unseen classes from 10.0 % (before training) to 30.0 %"
    assert gain_headline(gain, "circle", "4 unseen classes") == raised
    assert "is uncertain" in gain_headline(replace(gain, low=-0.01), "circle", "4 unseen classes")
    not_better = gain_headline(replace(gain, after=0.1, baseline="pretrained backbone"), "circle", "4 unseen classes")
    assert not_better.startswith("Training with circle does not improve on the pretrained backbone: MAP@R on 4 unseen")
    assert not_better.endswith("is 10.0 %, pretrained backbone 10.0 %")
    words = gain_words(gain, 7)
    assert words.startswith(
        "The difference to the model before training is +20.0 points, with a 95 % interval over the"
    )
    assert "test classes of +15.0 to +25.0 (bootstrap, paired)" in words
    assert "one run, with seed 7: it does not show how much the result varies" in words
    assert "cannot be built again" in gain_words(replace(gain, paired=False), 7)


def test_a_difference_that_rounds_to_zero_has_no_sign():
    words = gain_words(Gain("MAP@R", 0.3, 0.2999, -0.0003, 0.01, True), 0)
    assert "-0.0" not in words
    assert "is 0.0 points" in words


def test_the_gain_is_paired_with_the_model_as_it_was_before_training(compared):
    opened = RunFolder(compared / "runs/bars/circle-10/seed0").open()
    opened = replace(opened, outcome=replace(opened.outcome, baseline=None))
    outcome = opened.outcome
    gain = paired_gain(opened, "MAP@R")
    assert gain is not None
    assert (gain.before, gain.after) == (outcome.untrained["MAP@R"], outcome.report["MAP@R"])
    assert gain.low <= gain.after - gain.before <= gain.high
    wide = unpaired_gain(outcome, "MAP@R")
    assert wide.low <= gain.low + 1e-9
    assert wide.high >= gain.high - 1e-9
    for settings in ({"seed": 5}, {"weights": "nowhere.pth"}):
        other = replace(opened, experiment=changed(opened.experiment, **settings))
        assert paired_gain(other, "MAP@R") is None


def test_the_gain_is_paired_with_the_stored_values_of_a_better_backbone(compared, tmp_path):
    run = shutil.copytree(compared / "runs/bars/circle-10/seed0", tmp_path / "run")
    opened = RunFolder(run).open()
    before = replace(opened.outcome.rows[0], report=lowered(opened.outcome.untrained))
    opened = replace(opened, outcome=replace(opened.outcome, rows=(before, *opened.outcome.rows[1:])))
    baseline = opened.outcome.baseline
    gain = paired_gain(opened, "MAP@R")
    assert gain is not None
    assert gain.paired
    assert (gain.baseline, gain.before) == ("random backbone", baseline.report["MAP@R"])
    after = opened.run_folder.read_embeddings().measure(opened.experiment.evaluation.recalls).class_sums()
    sums = MeasuredBaseline.load(opened.run_folder.baseline).by_class.sums["MAP@R"]
    low, high = class_bootstrap((after.sums["MAP@R"] - sums)[None], after.counts)
    assert (gain.low, gain.high) == (low[0], high[0])
    opened.run_folder.baseline.unlink()
    assert paired_gain(opened, "MAP@R") is None
    wide = unpaired_gain(opened.outcome, "MAP@R")
    assert wide.baseline == "random backbone"
    assert "not paired, because the values of each class are missing here" in gain_words(wide, 0)


def lowered(report):
    """A report in which every metric is 0, so that the other baseline is the better one."""
    return replace(report, metrics=tuple(replace(metric, value=0.0) for metric in report.metrics))
