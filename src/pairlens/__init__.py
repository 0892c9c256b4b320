"""Pairlens: deep metric learning for image retrieval, with the pairwise loss as its subject.

>>> import torch
>>> import pairlens as pl
>>> labels = torch.tensor([0, 0, 1, 1])
>>> embeddings = torch.eye(4, requires_grad=True)
>>> pl.Criterion(pl.losses.Triplet())(embeddings, labels)
tensor(0.1000, grad_fn=<...>)
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

# The names are imported when they are first used, because `import pairlens` is part of every command, also of those that
# only print a help text. Type checkers and editors read these lines instead; a test holds them equal to the table below.
if TYPE_CHECKING:
    from pairlens import losses
    from pairlens.core.pairs import Pairs
    from pairlens.data.catalog import Catalog
    from pairlens.data.prepare import Preparation, prepare
    from pairlens.evaluation.embeddings import Embeddings, embed
    from pairlens.evaluation.evaluate import Metric, Report, evaluate
    from pairlens.experiments.experiment import Experiment
    from pairlens.experiments.run import Run, resume_run, run
    from pairlens.losses.protocols import wrap
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
]

# Where each name is defined.
_HOMES = {
    "Batch": "pairlens.training.references",
    "Catalog": "pairlens.data.catalog",
    "Criterion": "pairlens.training.criterion",
    "Embedder": "pairlens.model.embedder",
    "Embeddings": "pairlens.evaluation.embeddings",
    "Experiment": "pairlens.experiments.experiment",
    "Gallery": "pairlens.retrieval.gallery",
    "Memory": "pairlens.training.references",
    "Metric": "pairlens.evaluation.evaluate",
    "Neighbors": "pairlens.neighbors.exact",
    "Pairs": "pairlens.core.pairs",
    "Preparation": "pairlens.data.prepare",
    "Proxies": "pairlens.training.references",
    "Report": "pairlens.evaluation.evaluate",
    "Run": "pairlens.experiments.run",
    "embed": "pairlens.evaluation.embeddings",
    "evaluate": "pairlens.evaluation.evaluate",
    "nearest": "pairlens.neighbors.exact",
    "prepare": "pairlens.data.prepare",
    "resume_run": "pairlens.experiments.run",
    "run": "pairlens.experiments.run",
    "wrap": "pairlens.losses.protocols",
}

# Type checkers must not see this function: with it, they would accept every name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import and return a public name when it is first used."""
        if name == "losses":
            return import_module("pairlens.losses")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])
        value = getattr(import_module(_HOMES[name]), name)
        # Python asks this function no more for a name that the module has.
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """Return the names of the module, those that are not imported yet included."""
    return sorted({*globals(), *__all__})
