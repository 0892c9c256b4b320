"""Gain of one training: the saved model against the same model before training, with an interval over test classes."""

from dataclasses import dataclass, replace

import numpy as np

from pairlens.core.table import decimal
from pairlens.evaluation.embeddings import Embeddings, embed
from pairlens.evaluation.evaluate import Metric, Report, percent
from pairlens.evaluation.intervals import class_bootstrap
from pairlens.evaluation.per_query import measure_queries
from pairlens.experiments.build import make_learner
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run_folder import Outcome, RunFolder
from pairlens.experiments.splits import Splits, open_catalog, split_catalog
from pairlens.losses.protocols import Wrapped

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
    return Gain(metric, before.value, after.value, after.low - before.high, after.high - before.low, False)


def _find(report: Report, name: str) -> Metric:
    return next(metric for metric in report.metrics if metric.name == name)


def paired_gain(run_folder: RunFolder, experiment: Experiment, metric: str) -> Gain | None:
    """Return the gain, for which the model before training is built and measured again.

    Args:
        run_folder: the folder of the run.
        experiment: the experiment of the run, with the path where its data set is now.
        metric: R@k, P@k, R-Precision or MAP@R.

    Returns:
        The gain, or None if the model before training cannot be built again, or gives other values than those stored.
    """
    if isinstance(experiment.loss, Wrapped):
        return None
    outcome = run_folder.read_outcome()
    splits = split_catalog(open_catalog(experiment), experiment)
    embedded = _embed_before_training(experiment, splits)
    if embedded is None:
        return None
    stored = [Embeddings.load(run_folder.gallery)]
    if splits.gallery is not None:
        stored.insert(0, Embeddings.load(run_folder.queries))
    before, counts = _class_sums(embedded, experiment, metric)
    after, stored_counts = _class_sums(stored, experiment, metric)
    # Other weights or other photos than those of the run would give a difference that is not the gain of the training.
    is_same_model = abs(before.sum() / counts.sum() - outcome.untrained[metric]) <= TOLERANCE
    if not is_same_model or not np.array_equal(counts, stored_counts):
        return None
    low, high = class_bootstrap((after - before)[None], counts)
    return Gain(metric, outcome.untrained[metric], outcome.report[metric], float(low[0]), float(high[0]), True)


def _embed_before_training(experiment: Experiment, splits: Splits) -> list[Embeddings] | None:
    """Return the embeddings of the queries, and of the gallery if there is one; None if the model cannot be built."""
    try:
        learner = make_learner(replace(experiment, device="cpu"), splits.train.classes)
    except (ValueError, OSError):
        # The pretrained weights of the run are no longer here.
        return None
    model = learner.model.eval()
    parts = [splits.test] if splits.gallery is None else [splits.test, splits.gallery]
    return [embed(model, part, workers=experiment.workers) for part in parts]


def _class_sums(sets: list[Embeddings], experiment: Experiment, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the (class,) sums of a metric over the queries of each class, and the (class,) numbers of these queries."""
    queries = sets[0]
    gallery = () if len(sets) == 1 else (sets[1].vectors, sets[1].labels)
    measured = measure_queries(queries.vectors, queries.labels, *gallery, recalls=experiment.recalls)
    _, class_of_query = queries.labels[measured.queries].unique(return_inverse=True)
    classes = class_of_query.numpy()
    return np.bincount(classes, measured.values[metric].double().numpy()), np.bincount(classes)


def gain_headline(gain: Gain, loss: str, classes: int) -> str:
    """Return in one sentence whether training helped, without the full stop."""
    metric = f"{gain.metric} on {classes} unseen classes"
    before, after = percent(gain.before), percent(gain.after)
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
