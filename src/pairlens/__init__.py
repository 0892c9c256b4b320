"""Pairlens: deep metric learning for image retrieval, with the pairwise loss as its subject.

>>> import torch
>>> import pairlens as pl
>>> labels = torch.tensor([0, 0, 1, 1])
>>> embeddings = torch.eye(4, requires_grad=True)
>>> pl.Criterion(pl.losses.Triplet())(embeddings, labels)
tensor(0.1000, grad_fn=<...>)
"""

import warnings

from pairlens import losses
from pairlens.analysis.audit import audit
from pairlens.analysis.explain import explain
from pairlens.cli.launch import process_group
from pairlens.comparison.compare import compare
from pairlens.comparison.results import Results
from pairlens.comparison.study import Arm, Benchmark, Study
from pairlens.core.pairs import Pairs
from pairlens.data.augmentation import on_pictures
from pairlens.data.catalog import Catalog
from pairlens.data.prepare import Preparation, prepare
from pairlens.data.sampler import PKSampler
from pairlens.evaluation.embeddings import Embeddings, embed
from pairlens.evaluation.evaluate import Metric, Report, evaluate
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run import Run, resume_run, run
from pairlens.losses import miners
from pairlens.losses.protocols import wrap
from pairlens.model.embedder import Embedder
from pairlens.neighbors.exact import Neighbors, nearest
from pairlens.retrieval.gallery import Gallery
from pairlens.training.criterion import Criterion
from pairlens.training.fit import Epoch, Step, fit
from pairlens.training.gather import gather_with_gradient
from pairlens.training.learner import Learner, Objective
from pairlens.training.optimizers import OptimizerConfig, PerStep
from pairlens.training.references import CrossBatchMemory, InBatch, Proxies

__all__ = [
    "Arm",
    "Benchmark",
    "Catalog",
    "Criterion",
    "CrossBatchMemory",
    "Embedder",
    "Embeddings",
    "Epoch",
    "Experiment",
    "Gallery",
    "InBatch",
    "Learner",
    "Metric",
    "Neighbors",
    "Objective",
    "OptimizerConfig",
    "PKSampler",
    "Pairs",
    "PerStep",
    "Preparation",
    "Proxies",
    "Report",
    "Results",
    "Run",
    "Step",
    "Study",
    "audit",
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
    "wrap",
]

# The names of version 0.1, which warn for one version.
_OLD_NAMES = {"Batch": InBatch, "Memory": CrossBatchMemory}


def __getattr__(name: str) -> type[InBatch | CrossBatchMemory]:
    if name not in _OLD_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    new = _OLD_NAMES[name]
    warnings.warn(f"pl.{name} is now called pl.{new.__name__}; use that name", DeprecationWarning, stacklevel=2)
    return new
