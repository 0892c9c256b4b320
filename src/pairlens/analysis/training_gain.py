"""Gain of one training: the saved model against the same model before training, with an interval over test classes."""

from dataclasses import dataclass

import numpy as np

from pairlens.core.settings import with_settings
from pairlens.core.table import decimal
from pairlens.evaluation.evaluate import Metric, Report, percent
from pairlens.evaluation.intervals import class_bootstrap
from pairlens.evaluation.retrieval_set import RetrievalSet
from pairlens.experiments.build import make_learner
from pairlens.experiments.run_folder import OpenRun, Outcome
from pairlens.losses import Triplet
from pairlens.losses.protocols import obstacle_of

# Two measurements of one model agree this well, also on two machines.
TOLERANCE = 5e-3


@dataclass(frozen=True)
class Gain:
    """How a metric changed by training.

    Attributes:
        metric: its name.
        before: of the model before training, from 0 to 1.
        after: of the saved model.
        low: lower end of the 95 % interval of the difference over the test classes (bootstrap).
        high: upper end of the same interval.
        paired: whether both models were measured on the same resamples of the classes. Otherwise the interval is the
            widest one that the intervals of both measurements allow.
    """

    metric: str
    before: float
    after: float
    low: float
    high: float
    paired: bool


def unpaired_gain(outcome: Outcome, metric: str) -> Gain:
    """Return the gain with the widest interval that the stored intervals of both measurements allow."""
    before = _find(outcome.untrained, metric)
    after = _find(outcome.report, metric)
    # The true difference is in this interval if both values are in theirs.
    return Gain(metric, before.value, after.value, after.low - before.high, after.high - before.low, False)


def _find(report: Report, name: str) -> Metric:
    return next(metric for metric in report.metrics if metric.name == name)


def paired_gain(opened: OpenRun, metric: str) -> Gain | None:
    """Return the gain, for which the model before training is built and measured again.

    Args:
        opened: the run.
        metric: R@k, P@k, R-Precision or MAP@R.

    Returns:
        The gain, or None if the model before training cannot be built again, or gives other values than those stored.
    """
    experiment = opened.experiment
    outcome = opened.outcome
    # The weights of the model are drawn before those of the loss, so a loss whose code is not at hand can be left out.
    if obstacle_of(experiment.loss):
        experiment = with_settings(experiment, {"loss": Triplet(), "references": experiment.source})
    try:
        learner = make_learner(with_settings(experiment, {"device": "cpu"}), opened.splits.train.classes)
    except (ValueError, OSError):
        # The pretrained weights of the run are no longer here.
        return None
    splits = opened.splits
    embedded = RetrievalSet.embed(learner.model.eval(), splits.test, splits.gallery, workers=experiment.batches.workers)
    before = embedded.measure(experiment.evaluation.recalls).class_sums()
    after = opened.run_folder.read_embeddings().measure(experiment.evaluation.recalls).class_sums()
    # Other weights or other photos than those of the run would give a difference that is not the gain of the training.
    value_before = before.sums[metric].sum() / before.counts.sum()
    is_same_model = abs(value_before - outcome.untrained[metric]) <= TOLERANCE
    if not is_same_model or not np.array_equal(before.counts, after.counts):
        return None
    low, high = class_bootstrap((after.sums[metric] - before.sums[metric])[None], before.counts)
    return Gain(metric, outcome.untrained[metric], outcome.report[metric], float(low[0]), float(high[0]), True)


def gain_headline(gain: Gain, loss: str, classes: int) -> str:
    """Return in one sentence whether training helped, without the full stop."""
    metric = f"{gain.metric} on {classes} unseen classes"
    before, after = percent(gain.before), percent(gain.after)
    # Three cases: worse, better by less than the classes vary, and clearly better.
    if gain.after <= gain.before:
        return f"Training with {loss} does not improve the model: {metric} is {after} %, before training {before} %"
    if gain.low <= 0:
        return f"Whether training with {loss} helps is uncertain: {metric} is {after} %, before training {before} %"
    return f"Training with {loss} raises {metric} from {before} % to {after} %"


def gain_words(gain: Gain, seed: int) -> str:
    """Return how certain the gain is, and what it does not show."""
    difference = decimal(100 * (gain.after - gain.before), signed=True)
    ends = f"{decimal(100 * gain.low, signed=True)} to {decimal(100 * gain.high, signed=True)}"
    how = "paired" if gain.paired else "not paired, because the model before training cannot be built again here"
    return (
        f"The difference is {difference} points, with a 95 % interval over the test classes of {ends} (bootstrap, {how}). "
        f"This is one run, with seed {seed}: it does not show how much the result varies from one training to the next. "
        "Use pairlens compare for several seeds and a verdict."
    )
