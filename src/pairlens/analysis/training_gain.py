"""What training changed in one run: the kept model against the same model untrained, with an interval over test classes."""

from dataclasses import dataclass, replace

import numpy as np

from pairlens.evaluation.embeddings import Embeddings, embed
from pairlens.evaluation.evaluate import Metric, Report, percent
from pairlens.evaluation.intervals import class_bootstrap
from pairlens.evaluation.per_query import measure_queries
from pairlens.experiments.build import make_learner
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run_folder import Outcome, RunFolder
from pairlens.experiments.splits import open_catalog, split_catalog
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


def paired_gain(place: RunFolder, experiment: Experiment, metric: str) -> Gain | None:
    """Return the gain, the untrained model being made and measured again; None if it is not the one recorded.

    Args:
        place: the run.
        experiment: its record, with the place where its data set lies now.
        metric: R@k, P@k, R-Precision or MAP@R.
    """
    outcome = place.read_outcome()
    if isinstance(experiment.loss, Wrapped):
        return None
    parts = split_catalog(open_catalog(experiment), experiment)
    try:
        learner = make_learner(replace(experiment, device="cpu"), parts.train.classes)
    except (ValueError, OSError):
        # The weights that it started from are no longer here.
        return None
    model = learner.model.eval()
    sets = [embed(model, part, workers=experiment.workers) for part in (parts.test, parts.gallery) if part is not None]
    kept = [Embeddings.load(f) for f in ((place.queries, place.gallery) if len(sets) == 2 else (place.gallery,))]
    before, counts = _sums(sets, experiment, metric)
    after, again = _sums(kept, experiment, metric)
    same = abs(before.sum() / counts.sum() - outcome.untrained[metric]) <= SAME
    if not same or not np.array_equal(counts, again):
        return None
    low, high = class_bootstrap((after - before)[None], counts)
    return Gain(metric, outcome.untrained[metric], outcome.report[metric], float(low[0]), float(high[0]), True)


def _sums(sets: list[Embeddings], experiment: Experiment, metric: str) -> tuple[np.ndarray, np.ndarray]:
    queries, pool = sets[0], () if len(sets) == 1 else (sets[1].vectors, sets[1].labels)
    found = measure_queries(queries.vectors, queries.labels, *pool, recalls=experiment.recalls)
    _, number = queries.labels[found.queries].unique(return_inverse=True)
    return np.bincount(number.numpy(), found.values[metric].double().numpy()), np.bincount(number.numpy())


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
