"""How much faster heads train behind a frozen backbone than with it: `benches/frozen.py`.

One run each of the same settings, circle loss on the drawn cars: photos per second of the training steps of fine-tuning, in
which every photo is decoded and passes through the network, and of the steps on stored features; without evaluations and
without the one pass that stores the features. Both take turns. The rate is photos per second of CPU time of one thread, in
the median step, because other work on the machine slows down a clock. Writes benches/results/frozen.json.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
import tyro
from provenance import RESULTS, about, write_result

from pairlens.core.settings import with_settings
from pairlens.experiments.build import make_learner, training_batches
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.frozen_backbone import FrozenBackbone, store_features
from pairlens.experiments.splits import open_splits
from pairlens.losses import Circle
from pairlens.training.fit import Step, fit

FILE = RESULTS / "frozen.json"


@dataclass(frozen=True)
class Options:
    """Options: folder of the data sets, backbone, size of the photos, photos of a batch, timed steps of fine-tuning."""

    data_path: Path = Path("data")
    backbone: str = "efficientnet_lite2"
    size: int = 224
    batch: int = 32
    steps: int = 3


def settings(options: Options) -> Experiment:
    """Return the settings that both runs share."""
    values = {
        "loss": Circle(),
        "data_name": "minicars",
        "data_path": options.data_path,
        "device": "cpu",
        "stride": "none",
        "dim": 512,
        # Photos are decoded within the step that needs them, which counts their time.
        "workers": 0,
    }
    shape = {"backbone": options.backbone, "image_size": options.size, "batch_size": options.batch}
    return with_settings(Experiment(), values | shape)


def seconds_of_steps(experiment: Experiment, frozen: bool) -> Iterator[float]:
    """Yield the seconds of each training step, batch included."""
    splits = open_splits(experiment, draw=True)
    learner = make_learner(experiment, splits.train.classes)
    photos = training_batches(experiment, splits.train)
    if frozen:
        photos = FrozenBackbone(experiment, learner.model, splits.train).batches(photos)
        # Read once by a run, before its first step.
        next(iter(photos.epoch(1)))
    started = time.process_time()
    for record in fit(learner, photos, experiment.objective, epochs=1 << 20):
        if isinstance(record, Step):
            yield time.process_time() - started
        started = time.process_time()


def main(options: Options) -> None:
    """Measure, print and store."""
    torch.set_num_threads(1)
    tuned = settings(options)
    open_splits(tuned, draw=True)
    cached = with_settings(tuned, {"freeze": "backbone"})
    # Before anything is timed: the one pass of the backbone.
    store_features(cached)
    slow, fast = seconds_of_steps(tuned, frozen=False), seconds_of_steps(cached, frozen=True)
    fine_tuned, frozen = [], []
    for number in range(options.steps + 1):
        seconds = next(slow)
        # The first steps warm up.
        if number:
            fine_tuned.append(seconds)
        frozen += [next(fast) for _ in range(100)]
    rates = {"fine_tuning": options.batch / median(fine_tuned), "frozen": options.batch / median(frozen)}
    result = {
        "about": about("timm"),
        "backbone": options.backbone,
        "image_size": options.size,
        "batch_size": options.batch,
        "photos_per_second": rates,
        "ratio": rates["frozen"] / rates["fine_tuning"],
    }
    print(result)
    write_result(FILE, result)


if __name__ == "__main__":
    main(tyro.cli(Options))
