"""The recipe: the settings of a paper, and what the recipes of several papers have in common."""

from dataclasses import dataclass
from typing import Any

from pairlens.core.settings import with_settings
from pairlens.experiments.experiment import Experiment
from pairlens.losses import miners


@dataclass(frozen=True)
class Recipe:
    """The settings of a paper.

    Attributes:
        name: loss and data set, in snake case.
        source: where the settings come from.
        experiment: the settings.
        differs: how the experiment differs from the source.
    """

    name: str
    source: str
    experiment: Experiment
    differs: str


INCEPTION = "its backbone is BN-Inception, here ResNet-50"
STEPS = "learning rates decay at 60 % and 80 % of the epochs"
ROTH = "Roth et al., ICML 2020, arXiv 2002.08473, and its code"
ROTH_DIFFERS = "the learning rate of the benchmark decays at other epochs; here " + STEPS
REALITY = "Musgrave et al., ECCV 2020, arXiv 2003.08505: the tuned values of its repository"
REALITY_DIFFERS = INCEPTION + "; it concatenates four models of four folds, here one; RMSprop 1e-6 is unconfirmed"


def make_recipe(name: str, source: str, differs: str, *settings: dict[str, Any]) -> Recipe:
    """Return a recipe; later settings override earlier ones."""
    # Most papers train a plain backbone with mean pooling and without an auxiliary loss, unlike CGD.
    merged: dict[str, Any] = {"auxiliary": 0.0, "descriptors": "S", "stride": "none", "augment": "random_resized_crop"}
    for part in settings:
        merged |= part
    return Recipe(name, source, with_settings(Experiment(), merged), differs)


def roth_settings(loss: Any) -> dict[str, Any]:
    """Return the settings of the benchmark of Roth et al. for a loss."""
    batch = {"batch_size": 112, "per_class": 2, "dim": 128, "num_epochs": 150}
    return {"loss": loss, "data_name": "cub", **batch, "learning_rate": 1e-5, "weight_decay": 4e-4}


def reality_settings(loss: Any) -> dict[str, Any]:
    """Return the settings of the benchmark of Musgrave et al. for a loss."""
    batch = {"batch_size": 32, "per_class": 4, "dim": 128, "num_epochs": 100, "freeze_bn": "all"}
    return {"loss": loss, "data_name": "cub", **batch, "optimizer": "rmsprop", "learning_rate": 1e-6}


CUB = {"data_name": "cub", "dim": 512}
SOP = {"data_name": "sop", "dim": 512, "recalls": (1, 10, 100, 1000)}
DISTANCE_WEIGHTED = {"miner": miners.DistanceWeighted()}
FIVE = {"batch_size": 80, "per_class": 5}
BOUNDARY = {"proxy_learning_rate": 0.1, **DISTANCE_WEIGHTED}
