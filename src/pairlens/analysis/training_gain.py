"""What training changed in one run: the kept model against the same model untrained, with an interval over test classes."""

from dataclasses import dataclass, replace

import numpy as np

from pairlens.evaluation.evaluate import Metric, Report, percent
from pairlens.evaluation.intervals import class_bootstrap
from pairlens.evaluation.retrieval_set import RetrievalSet
from pairlens.experiments.build import make_learner
from pairlens.experiments.run_folder import OpenRun, Outcome
from pairlens.losses.protocols import Wrapped

SAME = 5e-3


@dataclass(frozen=True)
class Gain:
    """How a metric changed by training.

    Attributes:
        metric: its name.
        before: of the untrained model, as a share.
        after: of the kept model.
        low: lower end of the 95 % interval of the difference when the test classes are drawn anew.
        high: its upper end.
        paired: whether both models were measured on the same draws; otherwise the interval is the widest that the two
            intervals of the metric allow.
    """

    metric: str
    before: float
    after: float
    low: float
    high: float
    paired: bool


def unpaired_gain(outcome: Outcome, metric: str) -> Gain:
    """Return what the recorded intervals allow to say of the gain: never too little."""
    before, after = (_find(report, metric) for report in (outcome.untrained, outcome.report))
    return Gain(metric, before.value, after.value, after.low - before.high, after.high - before.low, False)


def _find(report: Report, metric: str) -> Metric:
    return next(m for m in report.metrics if m.name == metric)


def paired_gain(opened: OpenRun, metric: str) -> Gain | None:
    """Return the gain, with the untrained model made and measured again; None if that gives another model than recorded.

    Args:
        opened: the run.
        metric: R@k, P@k, R-Precision or MAP@R.
    """
    experiment, parts, outcome = opened.experiment, opened.splits, opened.outcome
    if isinstance(experiment.loss, Wrapped):
        return None
    try:
        learner = make_learner(replace(experiment, device="cpu"), parts.train.classes)
    except (ValueError, OSError):
        # The weights that it started from are no longer here.
        return None
    model = learner.model.eval()
    untrained = RetrievalSet.embed(model, parts.test, parts.gallery, workers=experiment.workers)
    before = untrained.measure(experiment.recalls).class_sums()
    after = opened.run_folder.read_embeddings().measure(experiment.recalls).class_sums()
    same = abs(before.sums[metric].sum() / before.counts.sum() - outcome.untrained[metric]) <= SAME
    if not same or not np.array_equal(before.counts, after.counts):
        return None
    low, high = class_bootstrap((after.sums[metric] - before.sums[metric])[None], before.counts)
    return Gain(metric, outcome.untrained[metric], outcome.report[metric], float(low[0]), float(high[0]), True)


def gain_headline(gain: Gain, loss: str, classes: int) -> str:
    """Return in one sentence whether training helped."""
    numbers = f"{gain.metric} on {classes} unseen classes"
    before, after = percent(gain.before), percent(gain.after)
    if gain.after <= gain.before:
        return f"Training with {loss} does not beat the backbone as it came: {numbers} is {after} %, {before} % before"
    if gain.low <= 0:
        return f"Whether training with {loss} helps cannot be told: {numbers} is {after} %, {before} % before"
    return f"Training with {loss} lifts {numbers} from {before} % to {after} %"


def gain_words(gain: Gain, seed: int) -> str:
    """Return how sure that is, and of what it says nothing."""
    ends = f"{100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
    how = "paired over" if gain.paired else "at the widest (the untrained model cannot be made again here) over"
    return (
        f"The difference is {100 * (gain.after - gain.before):+.1f} points, 95 % interval {ends}, {how} the test classes "
        f"drawn anew. This is one run, of seed {seed}: it says nothing of the chance in training. pairlens compare runs "
        "several seeds and tells what is more than chance."
    )
