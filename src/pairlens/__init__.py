"""Pairlens: deep metric learning for image retrieval, with the pairwise loss as its subject.

>>> import torch
>>> import pairlens as pl
>>> labels = torch.tensor([0, 0, 1, 1])
>>> embeddings = torch.eye(4, requires_grad=True)
>>> pl.Criterion(pl.losses.Triplet())(embeddings, labels)
tensor(0.1000, grad_fn=<...>)
"""

from pairlens import losses
from pairlens.core.pairs import Pairs
from pairlens.data.catalog import Catalog
from pairlens.data.prepare import Preparation, prepare
from pairlens.evaluation.embeddings import Embeddings, embed
from pairlens.evaluation.evaluate import Metric, Report, evaluate
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run import Run, resume_run, run
from pairlens.losses.third_party import wrap, wrap_pairs
from pairlens.model.embedder import Embedder
from pairlens.neighbors.exact import Neighbors, nearest
from pairlens.retrieval.gallery import Gallery
from pairlens.training.criterion import Criterion
from pairlens.training.references import Batch, Memory, Proxies

__all__ = [
    "Batch",
    "Catalog",
    "Criterion",
    "Embedder",
    "Embeddings",
    "Experiment",
    "Gallery",
    "Memory",
    "Metric",
    "Neighbors",
    "Pairs",
    "Preparation",
    "Proxies",
    "Report",
    "Run",
    "embed",
    "evaluate",
    "losses",
    "nearest",
    "prepare",
    "resume_run",
    "run",
    "wrap",
    "wrap_pairs",
]
