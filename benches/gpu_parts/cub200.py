"""Part "cub": triplet and circle loss on CUB-200-2011 beside the untrained backbone, and how long the GPU waits."""

import io
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gpu_parts.context import PartContext, synchronize
from pairlens.core.settings import with_settings
from pairlens.data.annotations import Photo
from pairlens.data.catalog import Catalog
from pairlens.data.catalog_writer import write_catalog
from pairlens.data.loader import TestBatches, TrainingBatches
from pairlens.data.sampler import ClassBatches
from pairlens.evaluation.embeddings import embed
from pairlens.evaluation.evaluate import Report, evaluate
from pairlens.experiments.build import make_learner
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run import run
from pairlens.experiments.splits import open_splits
from pairlens.losses import Circle, Triplet
from pairlens.model.embedder import Embedder
from pairlens.training.training_step import training_step

# The part that a run takes beside its epochs: opening the data, building the model, writing its files.
SECONDS_BESIDE = 3.0
# Epochs are planned with this factor in hand, because a run that is cut off shows nothing.
SAFETY = 1.25
SHOWN = ("R@1", "R@2", "R@4", "R@8", "R-Precision", "MAP@R")


@dataclass(frozen=True)
class Sizes:
    """What is trained: pixels, photos a batch, loading threads, seeds, the most epochs, and steps to time loading with."""

    image_size: int
    batch_size: int
    workers: int
    seeds: tuple[int, ...]
    most_epochs: int
    timed_steps: int


FULL = Sizes(image_size=160, batch_size=64, workers=14, seeds=(0, 1, 2), most_epochs=12, timed_steps=60)
DRY = Sizes(image_size=32, batch_size=8, workers=1, seeds=(0,), most_epochs=1, timed_steps=2)
LOSSES = {"triplet": Triplet(), "circle": Circle()}


def measure(context: PartContext) -> None:
    """Measure the backbone as it comes and the waiting, plan the epochs, then train the losses seed by seed in turn."""
    sizes = DRY if context.dry_run else FULL
    with tempfile.TemporaryDirectory() as folder:
        experiment = cub_experiment(data_folder(context, Path(folder)), sizes, context.device)
        parts = open_splits(experiment)
        context.measure_once(
            "backbone as it comes", lambda: shown(_measure_backbone(experiment, parts.test, context.device))
        )
        loading = context.measure_once(
            "loading", lambda: measure_loading(experiment, parts.train, sizes, context.device)
        )
        embedding = context.measure_once("embedding", lambda: seconds_to_embed(experiment, parts.test, context.device))
        steps = len(ClassBatches(parts.train.labels, sizes.batch_size, experiment.batches.per_class))
        epoch = steps * loading["seconds a step"] + embedding
        plan = context.measure_once("plan", lambda: _plan(context, epoch, embedding, sizes))
        _train_all(context, with_settings(experiment, {"num_epochs": plan["epochs"]}), sizes, Path(folder))


def _plan(context: PartContext, epoch: float, embedding: float, sizes: Sizes) -> dict[str, Any]:
    runs = len(LOSSES) * len(sizes.seeds)
    epochs = plan_epochs(context.seconds_left, epoch, embedding, runs, sizes.most_epochs)
    return {"epochs": epochs, "expected seconds an epoch": epoch, **vars(sizes)}


def cub_experiment(data_path: Path, sizes: Sizes, device: torch.device) -> Experiment:
    return with_settings(
        Experiment(),
        {
            "data_path": data_path,
            "data_name": "cub",
            "crop_type": "cropped",
            "backbone": "efficientnet_lite0",
            "descriptors": "SG",
            "dim": 512,
            "image_size": sizes.image_size,
            "batch_size": sizes.batch_size,
            "workers": sizes.workers,
            "device": device.type,
            "compile": "no",
            "log_analysis": False,
        },
    )


def data_folder(context: PartContext, folder: Path) -> Path:
    """Return the folder of the prepared data sets; a dry run writes a small set of noise under the same name."""
    if not context.dry_run:
        if context.data_path is None:
            raise ValueError("--data_path is missing; give the folder with the prepared cub/cropped.arrow")
        return context.data_path
    # A run that is resumed looks for its photos where it was started.
    folder = context.work or folder
    file = folder / "cub" / "cropped.arrow"
    if file.exists():
        return folder
    file.parent.mkdir(parents=True)
    rows = [
        (Photo(f"{label}/{shot}.jpg", f"class {label}", "train" if label < 4 else "test"), _noise(label, shot))
        for label in range(8)
        for shot in range(6)
    ]
    write_catalog(file, "cub", rows, 36)
    return folder


def _noise(label: int, shot: int) -> bytes:
    """Return a JPEG of 36 px: noise around the grey level of its class."""
    pixels = np.random.default_rng((label, shot)).integers(20 * label, 20 * label + 100, (36, 36, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def _measure_backbone(experiment: Experiment, test: Catalog, device: torch.device) -> Report:
    """Evaluate the mean of the last map of the pretrained backbone with its own strides: no projection, no training."""
    model = (
        Embedder(backbone=experiment.model.backbone, stride="none", image_size=experiment.model.image_size)
        .to(device)
        .eval()
    )
    batches = TestBatches(
        test, experiment.model.image_size, workers=experiment.batches.workers, pin=device.type == "cuda"
    )
    with torch.inference_mode():
        parts = [
            model.backbone(model.normalize(batch.photos.to(device, non_blocking=True))).mean(dim=(2, 3)).float()
            for batch in batches
        ]
    return evaluate(torch.cat(parts).clone(), test.labels)


def measure_loading(experiment: Experiment, train: Catalog, sizes: Sizes, device: torch.device) -> dict[str, float]:
    """Return the seconds a step with photos from the loader and from memory: the difference is how long the GPU waits."""
    learner = make_learner(experiment, train.classes)
    objective = experiment.objective
    learner.model.train()
    learner.model.freeze_batchnorm(objective.freeze_bn)
    sampler = ClassBatches(train.labels, sizes.batch_size, experiment.batches.per_class)
    loader = TrainingBatches(train, sampler, sizes.image_size, workers=sizes.workers, pin=device.type == "cuda")

    def take(batches: Iterator[tuple[Tensor, Tensor, Tensor]]) -> float:
        """Return the seconds a step of as many steps as are timed; the step before them is not counted."""
        start, count = 0.0, 0
        for photos, labels, _ in itertools.islice(batches, sizes.timed_steps + 1):
            pixels, classes = (tensor.to(device, non_blocking=True) for tensor in (photos, labels))
            training_step(learner, objective, pixels, classes, probe=False)
            if count == 0:
                synchronize(device)
                start = time.perf_counter()
            count += 1
        synchronize(device)
        return (time.perf_counter() - start) / max(1, count - 1)

    epochs = itertools.chain.from_iterable(loader.epoch(number) for number in itertools.count(1))
    first = next(epochs)
    with_loader = take(epochs)
    from_memory = take(itertools.repeat(first))
    return {
        "seconds a step": with_loader,
        "seconds a step from memory": from_memory,
        "share of time the GPU waits": max(0.0, 1 - from_memory / with_loader),
        "photos a second": sizes.batch_size / with_loader,
    }


def seconds_to_embed(experiment: Experiment, test: Catalog, device: torch.device) -> float:
    model = make_learner(experiment, 0).model
    start = time.perf_counter()
    vectors = embed(model, test, workers=experiment.batches.workers).vectors
    evaluate(vectors, test.labels)
    synchronize(device)
    return time.perf_counter() - start


def plan_epochs(left: float, epoch: float, evaluation: float, runs: int, most: int) -> int:
    """Return how many epochs each run can have in the seconds that are left, at least one.

    >>> plan_epochs(left=100, epoch=2, evaluation=1, runs=6, most=20)
    4
    """
    seconds = left / (SAFETY * runs) - SECONDS_BESIDE - evaluation
    return max(1, min(most, int(seconds / epoch)))


def _train_all(context: PartContext, experiment: Experiment, sizes: Sizes, folder: Path) -> None:
    """Train every loss with every seed, seed by seed, and store each run, then mean and deviation over the seeds."""
    reports: dict[str, list[dict[str, float]]] = {}
    for seed, name in itertools.product(sizes.seeds, LOSSES):
        settings = with_settings(experiment, {"loss": LOSSES[name], "seed": seed})
        row = context.measure_once(f"{name}, seed {seed}", lambda: _train(settings, folder / f"{name}{seed}"))  # noqa: B023
        reports.setdefault(name, []).append(row["report"])
        # The losses of one seed start from the same weights, so the baselines are counted once a seed.
        for baseline, report in row["baselines"].items() if name == next(iter(LOSSES)) else ():
            reports.setdefault(baseline, []).append(report)
            context.save(f"{baseline}, over seeds", _over_seeds(reports[baseline]))
        context.save(f"{name}, over seeds", _over_seeds(reports[name]))


def _train(experiment: Experiment, folder: Path) -> dict[str, Any]:
    start = time.perf_counter()
    outcome = run(experiment, folder).outcome
    return {
        "report": shown(outcome.report),
        "baselines": {name: shown(report) for name, report in outcome.baselines},
        "seconds": time.perf_counter() - start,
    }


def shown(report: Report) -> dict[str, float]:
    return {name: report[name] for name in SHOWN}


def _over_seeds(reports: list[dict[str, float]]) -> dict[str, Any]:
    """Return mean and standard deviation of each metric, and over how many runs."""
    found: dict[str, Any] = {"runs": len(reports)}
    for name in SHOWN:
        values = [report[name] for report in reports]
        found[name] = [statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0]
    return found
