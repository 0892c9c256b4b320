"""Gain of one training: the saved model against the better baseline, with an interval over test classes."""

from dataclasses import dataclass

import numpy as np

from pairlens.core.settings import with_settings
from pairlens.core.table import decimal
from pairlens.evaluation.evaluate import percent
from pairlens.evaluation.intervals import class_bootstrap
from pairlens.evaluation.per_query import ClassSums
from pairlens.experiments.baseline import MeasuredBaseline
from pairlens.experiments.build import make_learner
from pairlens.experiments.evaluate_run import embed_test
from pairlens.experiments.outcome import BEFORE_TRAINING, Outcome, baseline_noun
from pairlens.experiments.run_folder import OpenRun
from pairlens.experiments.run_sums import read_run_sums
from pairlens.losses import Triplet
from pairlens.losses.protocols import obstacle_of

# Two measurements of one model agree this well, also on two machines.
TOLERANCE = 5e-3


@dataclass(frozen=True)
class Gain:
    """How much higher a metric is than that of the better baseline.

    The baselines are the backbone as it comes and the model before training, with its random projections.

    Attributes:
        metric: its name.
        before: of the better baseline, from 0 to 1.
        after: of the saved model.
        low: lower end of the 95 % interval of the difference over the test classes (bootstrap).
        high: upper end of the same interval.
        paired: whether both models were measured on the same resamples of the classes. Otherwise the interval is the
            widest one that the intervals of both measurements allow.
        baseline: name of the better baseline.
    """

    metric: str
    before: float
    after: float
    low: float
    high: float
    paired: bool
    baseline: str = BEFORE_TRAINING


def unpaired_gain(outcome: Outcome, metric: str) -> Gain:
    """Return the gain with the widest interval that the stored intervals of both measurements allow."""
    name, report = outcome.better_baseline(metric)
    before = report.metric(metric)
    after = outcome.report.metric(metric)
    # The true difference is in this interval if both values are in theirs.
    return Gain(metric, before.value, after.value, after.low - before.high, after.high - before.low, False, name)


def paired_gain(opened: OpenRun, metric: str) -> Gain | None:
    """Return the gain, for which both models are measured query by query.

    The run holds the values of its backbone; the model before training is built and measured again.

    Args:
        opened: the run.
        metric: R@k, P@k, R-Precision or MAP@R.

    Returns:
        The gain, or None if the values of the better baseline are missing, or are not those of the outcome.

    Raises:
        ValueError: if a stored file of the run is damaged.
    """
    outcome = opened.outcome
    name, report = outcome.better_baseline(metric)
    before = _measure_before_training(opened) if name == BEFORE_TRAINING else _read_baseline(opened)
    if before is None:
        return None
    stored = read_run_sums(opened.run_folder.class_sums, outcome.report)
    if stored is None:
        # Runs of earlier versions do not store their sums.
        after = opened.run_folder.read_embeddings().measure(opened.experiment.evaluation.recalls).class_sums()
    else:
        after = stored[1]
    # Other weights or other photos than those of the run would give a difference that is not the gain of the training.
    value_before = before.sums[metric].sum() / before.counts.sum()
    is_same_model = abs(value_before - report[metric]) <= TOLERANCE
    if not is_same_model or not np.array_equal(before.counts, after.counts):
        return None
    low, high = class_bootstrap((after.sums[metric] - before.sums[metric])[None], before.counts)
    return Gain(metric, report[metric], outcome.report[metric], float(low[0]), float(high[0]), True, name)


def _read_baseline(opened: OpenRun) -> ClassSums | None:
    file = opened.run_folder.baseline
    return MeasuredBaseline.load(file).by_class if file.is_file() else None


def _measure_before_training(opened: OpenRun) -> ClassSums | None:
    experiment = opened.experiment
    # The weights of the model are drawn before those of the loss, so a loss whose code is not at hand can be left out.
    if obstacle_of(experiment.loss):
        experiment = with_settings(experiment, {"loss": Triplet(), "references": experiment.source})
    try:
        train = opened.splits.train
        learner = make_learner(with_settings(experiment, {"device": "cpu"}), train.classes, train.channels)
    except (ValueError, OSError):
        # The pretrained weights of the run are no longer here.
        return None
    return embed_test(opened, learner.model.eval()).measure(experiment.evaluation.recalls).class_sums()


def gain_headline(gain: Gain, loss: str, classes: str) -> str:
    """Return in one sentence whether training helped, without the full stop.

    Args:
        gain: the metric before and after training.
        loss: the name of the loss.
        classes: the tested classes, such as "48 unseen classes".
    """
    metric = f"{gain.metric} on {classes}"
    before, after = percent(gain.before), percent(gain.after)
    # Three cases: worse, better by less than the classes vary, and clearly better.
    if gain.after <= gain.before:
        return (
            f"Training with {loss} does not improve on the {baseline_noun(gain.baseline)}: {metric} is {after} %, "
            f"{gain.baseline} {before} %"
        )
    if gain.low <= 0:
        return f"Whether training with {loss} helps is uncertain: {metric} is {after} %, {gain.baseline} {before} %"
    return f"Training with {loss} raises {metric} from {before} % ({gain.baseline}) to {after} %"


def gain_words(gain: Gain, seed: int) -> str:
    """Return how certain the gain is, and what it does not show."""
    difference = decimal(100 * (gain.after - gain.before), signed=True)
    ends = f"{decimal(100 * gain.low, signed=True)} to {decimal(100 * gain.high, signed=True)}"
    how = "paired" if gain.paired else f"not paired, because {_not_paired(gain.baseline)}"
    return (
        f"The difference to the {baseline_noun(gain.baseline)} is {difference} points, with a 95 % interval over the test "
        f"classes of {ends} (bootstrap, {how}). This is one run, with seed {seed}: it does not show how much the result "
        "varies from one training to the next. Use pairlens compare for several seeds and a verdict."
    )


def _not_paired(baseline: str) -> str:
    if baseline == BEFORE_TRAINING:
        return "the model before training cannot be built again here"
    return "the values of each class are missing here"
