"""Part "backbones": EfficientNet-Lite2, and a ResNet-50 from scratch, on CUB-200-2011 for as long as the minutes carry.

Each backbone is trained with circle and with triplet loss. The epochs of a run follow from its share of the time that is
left; its figures are stored after every epoch, so a run that is cut off shows the last epoch that it has finished. With a
folder of work the runs have checkpoints there, and the next call resumes them.
"""

import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_parts import cub200
from gpu_parts.context import PartContext
from pairlens.core.settings import with_settings
from pairlens.data.sampler import ClassBatches
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.outcome import EpochRow
from pairlens.experiments.run import resume_run, run
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.splits import open_splits
from pairlens.losses import Circle, Triplet
from pairlens.losses.loss_text import AnyLoss
from pairlens.model.weights_hub import TIMM_NAMES
from pairlens.model.weights_package import is_package_installed

# A checkpoint more often than this would be written for longer than it saves.
CHECKPOINT_MINUTES = 1.0
MOST_EPOCHS = {"imagenet": 20, "none": 100}
WEIGHTS = {"imagenet": "from ImageNet", "none": "from scratch"}


@dataclass(frozen=True)
class Setting:
    """A row of the table: a backbone, where its weights are from, and the learning rate.

    Attributes:
        backbone: its name.
        weights: imagenet or none.
        rate: the learning rate; a network from scratch needs a larger one.
    """

    backbone: str
    weights: str
    rate: float


FULL = (Setting("efficientnet_lite2", "imagenet", 1e-4), Setting("resnet50", "none", 1e-3))
DRY = (Setting("test_resnet", "none", 1e-3),)
LOSSES: dict[str, AnyLoss] = {"circle": Circle(), "triplet": Triplet()}


def measure(context: PartContext) -> None:
    """Train every backbone with every loss; each run gets an equal share of the time that is left when it starts."""
    cells = list(itertools.product(DRY if context.dry_run else FULL, LOSSES))
    with tempfile.TemporaryDirectory() as temporary:
        work = context.work or Path(temporary) / "runs"
        data = cub200.data_folder(context, Path(temporary))
        for number, (setting, loss) in enumerate(cells):
            share = context.seconds_left / (len(cells) - number)
            name = f"{setting.backbone}, {WEIGHTS[setting.weights]}, {loss}"
            if setting.weights == "imagenet" and not is_package_installed(TIMM_NAMES[setting.backbone]):
                context.save(name, f"skipped: the package with the weights of {setting.backbone} is not installed")
            elif _is_finished(context.earlier.get(name)):
                print(f"{context.name}: {name}: measured before", flush=True)
            else:
                experiment = _experiment(context, data, setting, LOSSES[loss])
                _train(context, name, experiment, work / f"{setting.backbone}_{loss}", share)


def _is_finished(row: Any) -> bool:
    return isinstance(row, dict) and row["epoch"] == row["epochs"]


def _experiment(context: PartContext, data: Path, setting: Setting, loss: AnyLoss) -> Experiment:
    sizes = cub200.DRY if context.dry_run else cub200.FULL
    changed = {
        "loss": loss,
        "backbone": setting.backbone,
        "weights": setting.weights,
        "learning_rate": setting.rate,
        "checkpoint_minutes": CHECKPOINT_MINUTES,
    }
    return with_settings(cub200.cub_experiment(data, sizes, context.device), changed)


def _train(context: PartContext, name: str, experiment: Experiment, folder: Path, share: float) -> None:
    """Train one run, or resume the one in the folder, and store its last epoch after each."""
    if folder.is_dir():
        epochs = RunFolder(folder).experiment().run.epochs
        outcome = resume_run(folder, watch=_storing(context, name, epochs)).outcome
        # A run that had finished has no epoch left that could be stored.
        context.save(name, _row(outcome.rows[-1], epochs))
        return
    epochs = _plan_epochs(context, name, experiment, share)
    if epochs:
        run(with_settings(experiment, {"num_epochs": epochs}), folder, _storing(context, name, epochs))


def _plan_epochs(context: PartContext, name: str, experiment: Experiment, share: float) -> int:
    """Return how many epochs fit into the share of a run; 0 if none does, which is stored."""
    sizes = cub200.DRY if context.dry_run else cub200.FULL
    start = time.perf_counter()
    splits = open_splits(experiment)
    loading = cub200.measure_loading(experiment, splits.train, sizes, context.device)
    embedding = cub200.seconds_to_embed(experiment, splits.test, context.device)
    steps = len(ClassBatches(splits.train.labels, sizes.batch_size, experiment.batches.per_class))
    epoch = steps * loading["seconds a step"] + embedding
    left = share - (time.perf_counter() - start)
    if left < epoch + embedding and not context.dry_run:
        context.save(name, f"not reached: an epoch takes {epoch:.0f} s, and {left:.0f} s are left for it")
        return 0
    most = 1 if context.dry_run else MOST_EPOCHS[experiment.weights]
    return cub200.plan_epochs(left, epoch, embedding, 1, most)


def _storing(context: PartContext, name: str, epochs: int) -> Callable[[object], None]:
    def store(event: object) -> None:
        if isinstance(event, EpochRow):
            context.save(name, _row(event, epochs))

    return store


def _row(epoch: EpochRow, epochs: int) -> dict[str, Any]:
    """Return the figures of an epoch; a row whose epoch is below its epochs is of a run that was cut off."""
    return {**cub200.shown(epoch.report), "epoch": epoch.epoch, "epochs": epochs, "seconds an epoch": epoch.seconds}
