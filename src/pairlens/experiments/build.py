"""What learns in an experiment: model, criterion, optimizer and schedule, built from its record."""

import os
import shutil
import sysconfig
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import assert_never

import torch

from pairlens.core.distributed import world_size
from pairlens.experiments.experiment import Experiment
from pairlens.losses.miners import DistanceWeighted, Miner
from pairlens.losses.protocols import centers_of
from pairlens.model.embedder import Architecture, Embedder
from pairlens.training.criterion import Criterion
from pairlens.training.fit import Learner, Objective, Precision
from pairlens.training.optimizers import make_optimizer, make_schedule
from pairlens.training.random_state import seed_everything
from pairlens.training.references import Batch, Memory, Proxies, References

# What a GPU must be able to do (its compute capability) for Triton to write programs for it.
OLDEST_FOR_TRITON = (7, 0)


def make_learner(experiment: Experiment, classes: int) -> Learner:
    """Build model, criterion, optimizer and schedule, with random starts that follow from the seed."""
    seed_everything(experiment.seed)
    device = choose_device(experiment.device)
    model = Embedder.from_architecture(architecture(experiment, classes), experiment.weights)
    model.set_micro_batch(experiment.micro_batch, experiment.freeze_bn)
    model = model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if experiment.compile == "yes" or (experiment.compile == "auto" and can_compile(device)):
        # In place, so that the names of the weights stay what they are. For each size of batch apart: else the smaller last
        # batch of an evaluation would leave the training with kernels for any size.
        model.backbone.compile(dynamic=False)
    criterion = make_criterion(experiment, classes).to(device)
    optimizer = make_optimizer(
        model,
        criterion,
        kind=experiment.optimizer,
        learning_rate=experiment.learning_rate,
        head_factor=experiment.head_factor,
        proxy_learning_rate=experiment.proxy_learning_rate,
        weight_decay=experiment.weight_decay,
        eps=experiment.optimizer_eps,
    )
    return Learner(model, criterion, optimizer, make_schedule(optimizer, experiment.num_epochs))


def architecture(experiment: Experiment, classes: int) -> Architecture:
    """Return the model of an experiment on so many training classes."""
    return Architecture(
        backbone=experiment.backbone_type,
        descriptors=experiment.gd_config,
        dim=experiment.feature_dim,
        classes=classes if experiment.auxiliary > 0 else 0,
        stride=experiment.stride,
        image_size=experiment.image_size,
        learn_power=experiment.learn_power,
    )


def make_criterion(experiment: Experiment, classes: int) -> Criterion:
    """Return the loss of an experiment with the references it is to be compared with, and its miner."""
    return Criterion(experiment.loss, _references(experiment, classes), _miner(experiment), classes)


def _references(experiment: Experiment, classes: int) -> References:
    match experiment.source:
        case "batch":
            return Batch()
        case "memory":
            return Memory(experiment.memory_size, experiment.feature_dim, experiment.memory_warm_up)
        case "proxies":
            return Proxies(classes, experiment.feature_dim, centers_of(experiment.loss))
        case _:
            assert_never(experiment.source)


def _miner(experiment: Experiment) -> Miner | None:
    if isinstance(experiment.miner, DistanceWeighted):
        return replace(experiment.miner, dim=experiment.feature_dim)
    return experiment.miner


def choose_device(name: str) -> torch.device:
    """Return the device that auto, cpu or cuda means here; raises ValueError for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda was asked for, but PyTorch sees no GPU here; use --device cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    # Under torchrun a rank has the GPU of its number, if there are enough.
    number, gpus = int(os.environ.get("LOCAL_RANK", 0)) if world_size() > 1 else 0, torch.cuda.device_count()
    if number >= gpus:
        raise ValueError(
            f"there is no GPU for rank {number} of this machine; start {gpus} ranks here, or use --device cpu"
        )
    return torch.device("cuda", torch.cuda.current_device())


def can_compile(device: torch.device) -> bool:
    """Return whether torch.compile can make kernels for a GPU here.

    It takes Triton, a GPU that Triton knows, and a C compiler with the header files of Python, which small images lack.
    """
    if device.type != "cuda" or find_spec("triton") is None:
        return False
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return torch.cuda.get_device_capability(device) >= OLDEST_FOR_TRITON and bool(compiler) and headers.is_file()


def make_objective(experiment: Experiment, model: Embedder) -> Objective:
    """Return what an experiment minimises, and in which arithmetic."""
    return Objective(
        auxiliary=experiment.auxiliary,
        smoothing=experiment.smoothing,
        temperature=experiment.temperature,
        freeze_bn=experiment.freeze_bn,
        precision=_automatic(model) if experiment.precision == "auto" else experiment.precision,
        clip_value=experiment.clip_value,
        warm_up=experiment.warm_up,
        micro_batch=experiment.micro_batch,
        on_nan=experiment.on_nan,
    )


def _automatic(model: Embedder) -> Precision:
    if next(model.parameters()).is_cuda:
        # A GPU before Ampere only imitates bfloat16, and has no convolutions in it.
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # On a CPU a depthwise convolution takes longer in bfloat16, any other half as long (docs/performance.md).
        fast = _cpu_multiplies_bfloat16() and not _has_depthwise_convolutions(model)
    return "bfloat16" if fast else "float32"


def _cpu_multiplies_bfloat16() -> bool:
    # An older PyTorch does not tell.
    told = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(told.get("avx512_bf16") or told.get("amx_bf16"))


def _has_depthwise_convolutions(model: Embedder) -> bool:
    convolutions = (layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d))
    return any(layer.groups == layer.in_channels > 1 for layer in convolutions)
