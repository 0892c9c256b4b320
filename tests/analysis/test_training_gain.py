from dataclasses import replace

from pairlens.analysis.training_gain import Gain, gain_headline, gain_words, paired_gain, unpaired_gain
from pairlens.experiments.run_folder import RunFolder
from support.experiments import changed


def test_the_verdict_of_a_run():
    gain = Gain("MAP@R", 0.1, 0.3, 0.15, 0.25, True)
    raised = "Training with circle raises MAP@R on 4 unseen classes from 10.0 % to 30.0 %"
    assert gain_headline(gain, "circle", 4) == raised
    assert "is uncertain" in gain_headline(replace(gain, low=-0.01), "circle", 4)
    assert "does not improve the model" in gain_headline(replace(gain, after=0.1), "circle", 4)
    words = gain_words(gain, 7)
    assert "+20.0 points, with a 95 % interval over the test classes of +15.0 to +25.0 (bootstrap, paired)" in words
    assert "one run, with seed 7: it does not show how much the result varies" in words
    assert "cannot be built again" in gain_words(replace(gain, paired=False), 7)


def test_a_difference_that_rounds_to_zero_has_no_sign():
    words = gain_words(Gain("MAP@R", 0.3, 0.2999, -0.0003, 0.01, True), 0)
    assert "-0.0" not in words
    assert "is 0.0 points" in words


def test_the_gain_is_paired_with_the_model_as_it_was_before_training(compared):
    opened = RunFolder(compared / "runs/bars/circle-10/seed0").open()
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
