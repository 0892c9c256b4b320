"""How much faster heads train behind a frozen backbone than with it: `benches/frozen.py`.

One run each of the same settings, circle loss on the drawn cars: photos per second of the training steps of fine-tuning, in
which every photo is decoded and passes through the network, and of the steps on stored features; without evaluations. The
pass that stores the features is measured too. Both take turns, and the fastest step of each kind counts, because other work
on the machine slows down the others. Writes benches/results/frozen.json.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import tyro
from provenance import RESULTS, about, write_result

from pairlens.core.settings import with_settings
from pairlens.experiments.build import make_learner, training_batches
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.frozen_backbone import FrozenBackbone
from pairlens.experiments.splits import open_splits
from pairlens.losses import Circle
from pairlens.training.fit import Step, fit

FILE = RESULTS / "frozen.json"


@dataclass(frozen=True)
class Options:
    """Options: the backbone, the size of the photos, the photos of a batch, and how many steps of fine-tuning are timed."""

    backbone: str = "efficientnet_lite2"
    size: int = 224
    batch: int = 64
    steps: int = 6


def settings(options: Options, folder: Path) -> Experiment:
    """Return the settings that both runs share."""
    values = {
        "loss": Circle(),
        "data_name": "minicars",
        "data_path": folder,
        "device": "cpu",
        "stride": "none",
        "dim": 512,
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
    started = time.perf_counter()
    for record in fit(learner, photos, experiment.objective, epochs=1 << 20):
        if isinstance(record, Step):
            yield time.perf_counter() - started
        started = time.perf_counter()


def store(experiment: Experiment) -> float:
    """Store the features of the training photos and return the photos per second of that pass."""
    train = open_splits(experiment).train
    learner = make_learner(experiment, train.classes)
    started = time.perf_counter()
    FrozenBackbone(experiment, learner.model, train).views()
    return len(train) / (time.perf_counter() - started)


def main(options: Options) -> None:
    """Measure, print and store."""
    with TemporaryDirectory() as folder:
        tuned = settings(options, Path(folder))
        open_splits(tuned, draw=True)
        cached = with_settings(tuned, {"freeze": "backbone"})
        passed = store(cached)
        slow, fast = seconds_of_steps(tuned, frozen=False), seconds_of_steps(cached, frozen=True)
        fine_tuned, frozen = [], []
        for number in range(options.steps + 1):
            seconds = next(slow)
            # The first steps warm up.
            if number:
                fine_tuned.append(seconds)
            frozen += [next(fast) for _ in range(200)]
        fast.close()
        slow.close()
    rates = {
        "fine_tuning": options.batch / min(fine_tuned),
        "frozen": options.batch / min(frozen),
        "frozen_median": options.batch / sorted(frozen)[len(frozen) // 2],
        "pass": passed,
    }
    result = {
        "about": about("timm"),
        "backbone": options.backbone,
        "image_size": options.size,
        "photos_per_second": rates,
        "ratio": rates["frozen"] / rates["fine_tuning"],
        "ratio_of_medians": rates["frozen_median"] * sorted(fine_tuned)[len(fine_tuned) // 2] / options.batch,
    }
    print(result)
    write_result(FILE, result)


if __name__ == "__main__":
    main(tyro.cli(Options))
