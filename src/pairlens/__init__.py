"""Pairlens: deep metric learning for image retrieval, with the pairwise loss as its subject.

>>> import torch
>>> import pairlens as pl
>>> labels = torch.tensor([0, 0, 1, 1])
>>> embeddings = torch.eye(4, requires_grad=True)
>>> pl.Criterion(pl.losses.Triplet())(embeddings, labels)
tensor(0.1000, grad_fn=<...>)
"""

import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

# The names are imported when they are first used, because `import pairlens` is part of every command, also of those that
# only print a help text. Type checkers and editors read these lines instead; a test holds them equal to the table below.
if TYPE_CHECKING:
    from pairlens import losses
    from pairlens.analysis.audit import audit
    from pairlens.analysis.explain import explain
    from pairlens.comparison.compare import compare
    from pairlens.comparison.results import Results
    from pairlens.comparison.study import Arm, Benchmark, Study
    from pairlens.core.pairs import Pairs
    from pairlens.data.catalog import Catalog
    from pairlens.data.prepare import Preparation, prepare
    from pairlens.data.sampler import PKSampler
    from pairlens.evaluation.embeddings import Embeddings, embed
    from pairlens.evaluation.evaluate import Metric, Report, evaluate
    from pairlens.evaluation.metric_definitions import ClassMetric, MetricDefinition, Retrieved
    from pairlens.evaluation.pair_scores import PairScores
    from pairlens.experiments.experiment import Experiment
    from pairlens.experiments.run import Run, resume_run, run
    from pairlens.losses import miners
    from pairlens.losses.protocols import wrap
    from pairlens.model.embedder import Embedder
    from pairlens.neighbors.exact import Neighbors, nearest
    from pairlens.retrieval.gallery import Gallery
    from pairlens.training.criterion import Criterion
    from pairlens.training.references import CrossBatchMemory, InBatch, Proxies

__all__ = [
    "Arm",
    "Benchmark",
    "Catalog",
    "ClassMetric",
    "Criterion",
    "CrossBatchMemory",
    "Embedder",
    "Embeddings",
    "Experiment",
    "Gallery",
    "InBatch",
    "Metric",
    "MetricDefinition",
    "Neighbors",
    "PKSampler",
    "PairScores",
    "Pairs",
    "Preparation",
    "Proxies",
    "Report",
    "Results",
    "Retrieved",
    "Run",
    "Study",
    "audit",
    "compare",
    "embed",
    "evaluate",
    "explain",
    "losses",
    "miners",
    "nearest",
    "prepare",
    "resume_run",
    "run",
    "wrap",
]

# Where each name is defined.
_HOMES = {
    "Arm": "pairlens.comparison.study",
    "Benchmark": "pairlens.comparison.study",
    "Catalog": "pairlens.data.catalog",
    "ClassMetric": "pairlens.evaluation.metric_definitions",
    "Criterion": "pairlens.training.criterion",
    "CrossBatchMemory": "pairlens.training.references",
    "Embedder": "pairlens.model.embedder",
    "Embeddings": "pairlens.evaluation.embeddings",
    "Experiment": "pairlens.experiments.experiment",
    "Gallery": "pairlens.retrieval.gallery",
    "InBatch": "pairlens.training.references",
    "Metric": "pairlens.evaluation.evaluate",
    "MetricDefinition": "pairlens.evaluation.metric_definitions",
    "Neighbors": "pairlens.neighbors.exact",
    "PKSampler": "pairlens.data.sampler",
    "PairScores": "pairlens.evaluation.pair_scores",
    "Pairs": "pairlens.core.pairs",
    "Preparation": "pairlens.data.prepare",
    "Proxies": "pairlens.training.references",
    "Report": "pairlens.evaluation.evaluate",
    "Results": "pairlens.comparison.results",
    "Retrieved": "pairlens.evaluation.metric_definitions",
    "Run": "pairlens.experiments.run",
    "Study": "pairlens.comparison.study",
    "audit": "pairlens.analysis.audit",
    "compare": "pairlens.comparison.compare",
    "embed": "pairlens.evaluation.embeddings",
    "evaluate": "pairlens.evaluation.evaluate",
    "explain": "pairlens.analysis.explain",
    "nearest": "pairlens.neighbors.exact",
    "prepare": "pairlens.data.prepare",
    "resume_run": "pairlens.experiments.run",
    "run": "pairlens.experiments.run",
    "wrap": "pairlens.losses.protocols",
}
# The names of version 0.1, which warn for one version.
_OLD_NAMES = {"Batch": "InBatch", "Memory": "CrossBatchMemory"}
_MODULES = {"losses": "pairlens.losses", "miners": "pairlens.losses.miners"}

# Type checkers must not see this function: with it, they would accept every name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import and return a public name when it is first used."""
        if name in _MODULES:
            return import_module(_MODULES[name])
        if name in _OLD_NAMES:
            new = _OLD_NAMES[name]
            warnings.warn(f"pl.{name} is now called pl.{new}; use that name", DeprecationWarning, stacklevel=2)
            return getattr(import_module(_HOMES[new]), new)
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])
        value = getattr(import_module(_HOMES[name]), name)
        # Python asks this function no more for a name that the module has.
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """Return the names of the module, those that are not imported yet included."""
    return sorted({*globals(), *__all__})
