"""Pairlens: deep metric learning for image retrieval, with the pairwise loss as its subject.

>>> import torch
>>> import pairlens as pl
>>> labels = torch.tensor([0, 0, 1, 1])
>>> embeddings = torch.eye(4, requires_grad=True)
>>> pl.Criterion(pl.losses.Triplet())(embeddings, labels)
tensor(0.1000, grad_fn=<...>)
"""

# First of all: `python -m pairlens` must not take a library from the current folder.
from pairlens._module_path import protect_module_path

protect_module_path()

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
    from pairlens.cli.launch import process_group
    from pairlens.collection.collection import Collection
    from pairlens.collection.filters import between, under
    from pairlens.collection.item import Region
    from pairlens.comparison.compare import compare
    from pairlens.comparison.results import Results
    from pairlens.comparison.study import Arm, Benchmark, Study
    from pairlens.core.pairs import Pairs
    from pairlens.data.augmentation import on_pictures
    from pairlens.data.catalog import Catalog
    from pairlens.data.data_config import DataConfig
    from pairlens.data.loader import BatchConfig
    from pairlens.data.prepare import Preparation, prepare
    from pairlens.data.sampler import PKSampler
    from pairlens.evaluation.embeddings import Embeddings, embed
    from pairlens.evaluation.evaluate import Metric, Report, evaluate
    from pairlens.evaluation.metric_definitions import ClassMetric, MetricDefinition, Retrieved
    from pairlens.evaluation.pair_scores import PairScores
    from pairlens.experiments.experiment import EvaluationConfig, Experiment, RunConfig
    from pairlens.experiments.run import Run, resume_run, run
    from pairlens.losses import miners
    from pairlens.losses.third_party import wrap, wrap_pairs
    from pairlens.model.architecture import Architecture
    from pairlens.model.embedder import Embedder
    from pairlens.neighbors.exact import Neighbors, nearest
    from pairlens.retrieval.gallery import Gallery
    from pairlens.training.criterion import Criterion
    from pairlens.training.fit import Epoch, Step, fit
    from pairlens.training.gather import gather_with_gradient
    from pairlens.training.learner import Learner, Objective
    from pairlens.training.optimizers import OptimizerConfig, PerStep
    from pairlens.training.references import CrossBatchMemory, InBatch, Proxies, ReferenceConfig

__all__ = [
    "Architecture",
    "Arm",
    "BatchConfig",
    "Benchmark",
    "Catalog",
    "ClassMetric",
    "Collection",
    "Criterion",
    "CrossBatchMemory",
    "DataConfig",
    "Embedder",
    "Embeddings",
    "Epoch",
    "EvaluationConfig",
    "Experiment",
    "Gallery",
    "InBatch",
    "Learner",
    "Metric",
    "MetricDefinition",
    "Neighbors",
    "Objective",
    "OptimizerConfig",
    "PKSampler",
    "PairScores",
    "Pairs",
    "PerStep",
    "Preparation",
    "Proxies",
    "ReferenceConfig",
    "Region",
    "Report",
    "Results",
    "Retrieved",
    "Run",
    "RunConfig",
    "Step",
    "Study",
    "audit",
    "between",
    "compare",
    "embed",
    "evaluate",
    "explain",
    "fit",
    "gather_with_gradient",
    "losses",
    "miners",
    "nearest",
    "on_pictures",
    "prepare",
    "process_group",
    "resume_run",
    "run",
    "under",
    "wrap",
    "wrap_pairs",
]

# Where each name is defined.
_HOMES = {
    "Architecture": "pairlens.model.architecture",
    "Arm": "pairlens.comparison.study",
    "BatchConfig": "pairlens.data.loader",
    "Benchmark": "pairlens.comparison.study",
    "Catalog": "pairlens.data.catalog",
    "ClassMetric": "pairlens.evaluation.metric_definitions",
    "Collection": "pairlens.collection.collection",
    "Criterion": "pairlens.training.criterion",
    "CrossBatchMemory": "pairlens.training.references",
    "DataConfig": "pairlens.data.data_config",
    "Embedder": "pairlens.model.embedder",
    "Embeddings": "pairlens.evaluation.embeddings",
    "Epoch": "pairlens.training.fit",
    "EvaluationConfig": "pairlens.experiments.experiment",
    "Experiment": "pairlens.experiments.experiment",
    "Gallery": "pairlens.retrieval.gallery",
    "InBatch": "pairlens.training.references",
    "Learner": "pairlens.training.learner",
    "Metric": "pairlens.evaluation.evaluate",
    "MetricDefinition": "pairlens.evaluation.metric_definitions",
    "Neighbors": "pairlens.neighbors.exact",
    "Objective": "pairlens.training.learner",
    "OptimizerConfig": "pairlens.training.optimizers",
    "PKSampler": "pairlens.data.sampler",
    "PairScores": "pairlens.evaluation.pair_scores",
    "Pairs": "pairlens.core.pairs",
    "PerStep": "pairlens.training.optimizers",
    "Preparation": "pairlens.data.prepare",
    "Proxies": "pairlens.training.references",
    "ReferenceConfig": "pairlens.training.references",
    "Region": "pairlens.collection.item",
    "Report": "pairlens.evaluation.evaluate",
    "Results": "pairlens.comparison.results",
    "Retrieved": "pairlens.evaluation.metric_definitions",
    "Run": "pairlens.experiments.run",
    "RunConfig": "pairlens.experiments.experiment",
    "Step": "pairlens.training.fit",
    "Study": "pairlens.comparison.study",
    "audit": "pairlens.analysis.audit",
    "between": "pairlens.collection.filters",
    "compare": "pairlens.comparison.compare",
    "embed": "pairlens.evaluation.embeddings",
    "evaluate": "pairlens.evaluation.evaluate",
    "explain": "pairlens.analysis.explain",
    "fit": "pairlens.training.fit",
    "gather_with_gradient": "pairlens.training.gather",
    "nearest": "pairlens.neighbors.exact",
    "on_pictures": "pairlens.data.augmentation",
    "prepare": "pairlens.data.prepare",
    "process_group": "pairlens.cli.launch",
    "resume_run": "pairlens.experiments.run",
    "run": "pairlens.experiments.run",
    "under": "pairlens.collection.filters",
    "wrap": "pairlens.losses.third_party",
    "wrap_pairs": "pairlens.losses.third_party",
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
