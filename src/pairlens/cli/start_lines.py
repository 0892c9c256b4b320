"""The lines that describe a training when it starts: model, data, loss, and what the user should know about them."""

from collections.abc import Iterator

from pairlens.data.augmentation import working_size
from pairlens.evaluation.evaluate import counted_classes
from pairlens.experiments.build import architecture
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run import Started
from pairlens.experiments.splits import Splits, seen_classes
from pairlens.model.cost import profile


def start_lines(started: Started) -> Iterator[str]:
    """Yield the lines that describe a training."""
    experiment, splits = started.experiment, started.splits
    model = experiment.model
    costs = profile(architecture(experiment, splits.train.classes, splits.train.channels))
    gallery = "" if splits.gallery is None else f", gallery of {len(splits.gallery)}"
    train, test = splits.train, splits.test
    yield f"model   {model.backbone} {model.descriptors} {model.dim}-d: {costs}"
    yield f"data    {train.file}: training on {len(train)} photos of {train.classes} classes{_held_out(splits)}"
    searched = test if splits.gallery is None else splits.gallery
    tested = counted_classes(test.classes, splits.seen_classes, one_class=searched.classes == 1)
    yield f"        testing on {len(test)} photos of {tested}{gallery}"
    if train.unread_columns:
        yield f"note    columns of {train.file} that are not read: {', '.join(train.unread_columns)}"
    if started.batches:
        yield f"batch   {started.batches}"
    yield f"loss    {experiment.loss} on {_references(experiment)}"
    yield from _notes(experiment, splits)


def _held_out(splits: Splits) -> str:
    if splits.validation is None:
        return ""
    by_photos = seen_classes(splits.train, splits.validation) != "none"
    held_out = f"{len(splits.validation)} photos" if by_photos else f"{splits.validation.classes} classes"
    return f", {held_out} held out for validation"


def _references(experiment: Experiment) -> str:
    memory = f"a memory of {experiment.references.memory_size}"
    names = {"batch": "the batch", "memory": memory, "proxies": "proxies"}
    miner = "" if experiment.miner is None else f", pairs chosen by {experiment.miner}"
    return names[experiment.source] + miner


def _notes(experiment: Experiment, splits: Splits) -> Iterator[str]:
    """Yield a line for each setting that works, but not as well as another one would."""
    if splits.train.channels:
        return
    image_size = experiment.model.image_size
    if working_size(image_size) > splits.train.size:
        yield (
            f"note    --image_size {image_size} enlarges photos stored at {splits.train.size} px; prepare them with "
            f"--size {working_size(image_size)}"
        )
    freeze_bn = experiment.objective.freeze_bn
    if experiment.weights == "none" and freeze_bn != "none":
        yield (
            f"note    --weights none with --freeze_bn {freeze_bn}: BatchNorm keeps its initial statistics; from scratch "
            "--freeze_bn none learns better"
        )
