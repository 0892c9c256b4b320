"""Construction of the learner of an experiment: model, criterion, optimizer and schedule."""

import os
import shutil
import sysconfig
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import assert_never

import torch

from pairlens.core.distributed import rank, world_size
from pairlens.data.catalog import Catalog
from pairlens.data.loader import TrainingBatches
from pairlens.data.sampler import ClassBatches
from pairlens.experiments.experiment import Experiment
from pairlens.losses.miners import DistanceWeighted
from pairlens.losses.protocols import centers_of
from pairlens.model.embedder import Architecture, Embedder
from pairlens.model.frozen_stages import freeze_stages
from pairlens.training.criterion import Criterion
from pairlens.training.learner import Learner
from pairlens.training.optimizer_state import check_storable
from pairlens.training.optimizers import make_optimizer, make_schedule
from pairlens.training.random_state import seed_everything
from pairlens.training.references import CrossBatchMemory, InBatch, Proxies, References

# Triton compiles only for GPUs of at least this compute capability.
MIN_TRITON_CAPABILITY = (7, 0)


def make_learner(experiment: Experiment, classes: int, features: int = 0) -> Learner:
    """Build model, criterion, optimizer and schedule, initialised with the seed of the experiment.

    Args:
        experiment: the settings.
        classes: number of training classes.
        features: number of values of a vector, for a data set of given features.

    Raises:
        ValueError: if a setting cannot be met here, or a checkpoint could not store the optimizer or its schedule.
    """
    # First of all, because everything below draws random numbers.
    seed_everything(experiment.run.seed)
    device = choose_device(experiment.run.device)
    model = Embedder.from_architecture(architecture(experiment, classes, features), experiment.weights)
    model.set_micro_batch(experiment.objective.micro_batch, experiment.objective.freeze_bn)
    # Each epoch freezes them again; here a wrong number is refused before the folder of the run is made.
    freeze_stages(model.backbone, experiment.objective.freeze_stages)
    # Convolutions are faster with the channels last in memory, on CPU and GPU.
    model = model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if experiment.run.compile == "yes" or (experiment.run.compile == "auto" and can_compile(device)):
        # In place, because a compiled wrapper would add a prefix to the names of the weights. Each batch size has its own
        # kernels, because after the smaller last batch of an evaluation PyTorch would use slower kernels for any size.
        model.backbone.compile(dynamic=False)
    criterion = make_criterion(experiment, classes).to(device)
    optimizer = make_optimizer(model, criterion, experiment.optimizer)
    schedule = make_schedule(optimizer, experiment.run.epochs, experiment.optimizer)
    # Here, before the folder of the run is made.
    check_storable(optimizer, schedule)
    return Learner(model, criterion, optimizer, schedule, schedule_unit=experiment.optimizer.schedule_unit)


def architecture(experiment: Experiment, classes: int, features: int = 0) -> Architecture:
    """Return the architecture of the model of an experiment, for training classes and given features of some numbers."""
    # Without the auxiliary loss the model has no classification head.
    return replace(experiment.model, classes=classes if experiment.objective.auxiliary > 0 else 0, features=features)


def make_criterion(experiment: Experiment, classes: int) -> Criterion:
    """Return the criterion of an experiment: its loss, its source of references and its miner."""
    dim = experiment.model.dim
    miner = experiment.miner
    # Distance-weighted sampling needs the dimension of the embeddings, which the model determines.
    if isinstance(miner, DistanceWeighted):
        miner = replace(miner, dim=dim)
    match experiment.source:
        case "batch":
            references: References = InBatch()
        case "memory":
            references = CrossBatchMemory(experiment.references.memory_size, dim, experiment.references.memory_warm_up)
        case "proxies":
            references = Proxies(classes, dim, centers_of(experiment.loss))
        case _:
            assert_never(experiment.source)
    return Criterion(experiment.loss, references, miner, classes)


def training_batches(experiment: Experiment, catalog: Catalog) -> TrainingBatches:
    """Return the batches that an experiment trains on; all ranks draw the same, of which each loads its shard."""
    config = experiment.batches
    if config.sampler is None:
        sampler = ClassBatches(catalog.labels, config.size, config.per_class, experiment.run.seed)
    else:
        sampler = config.sampler(catalog.labels)
    return TrainingBatches(
        catalog,
        sampler,
        experiment.model.image_size,
        config.augment,
        config.workers,
        # From pinned memory a batch is copied to a GPU while the CPU continues.
        pin=choose_device(experiment.run.device).type == "cuda",
        rank=rank(),
        ranks=world_size(),
        seed=experiment.run.seed,
    )


def choose_device(name: str) -> torch.device:
    """Return the device that auto, cpu or cuda stands for here; raises ValueError if the GPU does not exist."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda needs a GPU, but PyTorch finds none on this machine; use --device cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    # Under torchrun each rank of a machine has the GPU of its local number.
    number = int(os.environ.get("LOCAL_RANK", 0)) if world_size() > 1 else 0
    gpus = torch.cuda.device_count()
    if number >= gpus:
        raise ValueError(
            f"this machine has no GPU for its rank {number}; start {gpus} ranks on it, or use --device cpu"
        )
    return torch.device("cuda", torch.cuda.current_device())


def can_compile(device: torch.device) -> bool:
    """Return whether torch.compile can compile for this device, which must be a GPU.

    This needs Triton, a GPU that Triton supports, and a C compiler with the header files of Python, which small container
    images lack.
    """
    if device.type != "cuda" or find_spec("triton") is None:
        return False
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return torch.cuda.get_device_capability(device) >= MIN_TRITON_CAPABILITY and bool(compiler) and headers.is_file()
