"""Text form of metrics in commands, files and tables: `mrr`, `map_at_10`, and `module:name` for a metric from outside."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairlens.core.import_rules import import_named
from pairlens.core.records import require
from pairlens.evaluation.metric_definitions import (
    ClassMetric,
    MetricChoice,
    MetricDefinition,
    further_metrics,
    not_stored,
)


def is_from_outside(choice: MetricChoice) -> bool:
    """Return whether a metric is named as module:name, so that its module would have to be imported."""
    return isinstance(choice, str) and ":" in choice


def check_choices(choices: Sequence[MetricChoice], recalls: Sequence[int]) -> None:
    """Raise ValueError for an unknown metric or one that is named twice; nothing is imported."""
    further_metrics([choice for choice in choices if not is_from_outside(choice)], recalls)


def import_metrics(choices: Sequence[MetricChoice]) -> tuple[MetricChoice, ...]:
    """Return the metrics with the definition in the place of each module:name, whose module is imported.

    Call this only for names that the user has typed, never for names that a stored run holds.

    Raises:
        ValueError: if there is no such module or name, or if it is no metric.

    >>> import_metrics(["mrr", "pairlens.evaluation.metrics:reciprocal_rank"])[1].name
    'reciprocal_rank'
    """
    return tuple(_imported(choice) if isinstance(choice, str) and ":" in choice else choice for choice in choices)


def stored_metrics(
    stored: Sequence[MetricChoice], given: Sequence[MetricChoice] | None, run_folder: Path
) -> tuple[MetricChoice, ...]:
    """Return the metrics with which a stored run goes on: those that the user has given, or else those of the run.

    Args:
        stored: the metrics that the run names.
        given: the metrics that the user has given; None if the user has given none.
        run_folder: the folder of the run, for the error message.

    Raises:
        ValueError: if the run has a metric whose function is not stored, and none were given.
    """
    if given is not None:
        return import_metrics(given)
    missing = [choice for choice in stored if is_from_outside(choice) or _lacks_function(choice)]
    names = [choice if isinstance(choice, str) else choice.name for choice in missing]
    require(
        not missing,
        f"{run_folder} measures {', '.join(names)}; the code of such a metric is not stored, and what a stored file names "
        "is not imported, so give all metrics of the run again: --metrics on the command line, metrics=[...] in Python",
    )
    return tuple(stored)


def metric_text(choice: MetricChoice) -> str:
    """Return the text of a metric: as `--metrics` reads it, or the name of a definition."""
    return choice if isinstance(choice, str) else choice.name


def _lacks_function(choice: MetricChoice) -> bool:
    return not isinstance(choice, str) and choice.function is not_stored


def _imported(text: str) -> MetricDefinition | ClassMetric:
    name = text.partition(":")[2]
    try:
        target: Any = import_named(text, name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"the metric {text} cannot be found ({error}); give module:name with the module on the Python path"
        ) from error
    if isinstance(target, MetricDefinition | ClassMetric):
        return target
    require(
        callable(target),
        f"{text} is no metric; it must be a MetricDefinition, a ClassMetric, or a function of the retrieved items that "
        "returns one number per query",
    )
    # A plain function gets the R nearest items of each query.
    return MetricDefinition(getattr(target, "__name__", name), target)
