"""Settings that are fitted to the data set and the machine unless they were given, so that a first run does not fail."""

import math
from dataclasses import replace

from torch import Tensor

from pairlens.core.distributed import broadcast_text, world_size
from pairlens.core.settings import with_settings
from pairlens.data.catalog import Catalog
from pairlens.data.loader import BatchConfig
from pairlens.experiments.experiment import Experiment
from pairlens.model.offline_backbone import installed_offline_backbone
from pairlens.model.weights_hub import has_imagenet_weights

MIN_CLASSES = 2
MIN_PER_CLASS = 2


def fit_batches(experiment: Experiment, train: Catalog, given: frozenset[str] = frozenset()) -> tuple[Experiment, str]:
    """Return the experiment with batches that the training photos can fill, and a line about them ("" if nothing changed).

    Batch size and photos per class count as given if they differ from their defaults, or are named in `given`. A batch size
    that was given is never changed, and batches that fit already are not changed either.

    Args:
        experiment: the settings.
        train: the training photos.
        given: the names of the options that the user gave.

    Raises:
        ValueError: if there is only one training class.
    """
    batches, defaults = experiment.batches, BatchConfig()
    classes = train.classes
    if classes < MIN_CLASSES:
        raise ValueError(
            f"{train.file} has only one training class, but a loss compares photos of two or more; prepare a data set with "
            "more classes"
        )
    if "batch_size" in given or batches.size != defaults.size or _fits(batches, classes, world_size()):
        return experiment, ""
    per_class = batches.per_class
    if "per_class" not in given and per_class == defaults.per_class:
        per_class = max(MIN_PER_CLASS, min(per_class, _largest_class(train.labels)))
    groups = _most_classes(batches.size, per_class, classes, world_size())
    if groups < MIN_CLASSES:
        return experiment, ""
    fitted = replace(batches, size=groups * per_class, per_class=per_class)
    few = f"the data set has only {classes} training classes"
    reason = few if batches.size // batches.per_class > classes else f"{world_size()} ranks share a batch"
    return replace(experiment, batches=fitted), f"{fitted.size} photos of {groups} classes, because {reason}"


def _fits(batches: BatchConfig, classes: int, ranks: int) -> bool:
    groups, rest = divmod(batches.size, batches.per_class)
    return MIN_CLASSES <= groups <= classes and rest == 0 and batches.size % ranks == 0


def _largest_class(labels: Tensor) -> int:
    return int(labels.unique(return_counts=True)[1].max())


def _most_classes(size: int, per_class: int, classes: int, ranks: int) -> int:
    """Return how many classes a batch can have, so that each of the ranks gets as many photos; 0 if that is impossible."""
    # The number of classes must be a multiple of this, for the number of photos to be one of the number of ranks.
    step = math.lcm(per_class, ranks) // per_class
    return min(classes, size // per_class) // step * step


def fit_backbone(experiment: Experiment, given: frozenset[str]) -> tuple[Experiment, str]:
    """Return the experiment with a backbone whose ImageNet weights can be had, and a line about it ("" if nothing changed).

    Only the default backbone is replaced, and only if the user did not name it.

    Args:
        experiment: the settings.
        given: the names of the options that the user gave.
    """
    default = Experiment().model.backbone
    is_named = bool({"backbone", "backbone_type"} & given) or experiment.model.backbone != default
    offline = installed_offline_backbone()
    if is_named or experiment.weights != "imagenet" or offline is None:
        return experiment, ""
    # Ranks on several machines may reach different networks, but all of them train one model.
    if broadcast_text("here" if has_imagenet_weights(default) else "") == "here":
        return experiment, ""
    line = (
        f"{offline} with the weights of its package, because the hub with those of {default} cannot be reached; "
        f"--backbone {default} insists on it"
    )
    return with_settings(experiment, {"backbone": offline}), line
