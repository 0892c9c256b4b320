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
from pairlens.comparison.compare import compare
from pairlens.comparison.results import Results
from pairlens.comparison.study import Arm, Benchmark, Study
from pairlens.core.pairs import Pairs
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
from pairlens.training.references import CrossBatchMemory, InBatch, Proxies

__all__ = [
    "Arm",
    "Benchmark",
    "Catalog",
    "Criterion",
    "CrossBatchMemory",
    "Embedder",
    "Embeddings",
    "Experiment",
    "Gallery",
    "InBatch",
    "Metric",
    "Neighbors",
    "PKSampler",
    "Pairs",
    "Preparation",
    "Proxies",
    "Report",
    "Results",
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

# The names of version 0.1, which warn for one version.
_OLD_NAMES = {"Batch": InBatch, "Memory": CrossBatchMemory}


def __getattr__(name: str) -> type[InBatch | CrossBatchMemory]:
    if name not in _OLD_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    new = _OLD_NAMES[name]
    warnings.warn(f"pl.{name} is now called pl.{new.__name__}; use that name", DeprecationWarning, stacklevel=2)
    return new
