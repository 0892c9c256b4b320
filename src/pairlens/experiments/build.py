"""Construction of the learner and the objective of an experiment: model, criterion, optimizer and schedule."""

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
from pairlens.training.learner import Learner, Objective, Precision
from pairlens.training.optimizers import make_optimizer, make_schedule
from pairlens.training.random_state import seed_everything
from pairlens.training.references import CrossBatchMemory, InBatch, Proxies, References

# Triton compiles only for GPUs of at least this compute capability.
MIN_TRITON_CAPABILITY = (7, 0)


def make_learner(experiment: Experiment, classes: int) -> Learner:
    """Build model, criterion, optimizer and schedule, initialised with the seed of the experiment.

    Args:
        experiment: the settings.
        classes: number of training classes.
    """
    # First of all, because everything below draws random numbers.
    seed_everything(experiment.seed)
    device = choose_device(experiment.device)
    model = Embedder.from_architecture(architecture(experiment, classes), experiment.weights)
    model.set_micro_batch(experiment.micro_batch, experiment.freeze_bn)
    # Convolutions are faster with the channels last in memory, on CPU and GPU.
    model = model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if experiment.compile == "yes" or (experiment.compile == "auto" and can_compile(device)):
        # In place, because a compiled wrapper would add a prefix to the names of the weights. Each batch size has its own
        # kernels, because after the smaller last batch of an evaluation PyTorch would use slower kernels for any size.
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
    """Return the architecture of the model of an experiment with `classes` training classes."""
    return Architecture(
        backbone=experiment.backbone_type,
        descriptors=experiment.gd_config,
        dim=experiment.feature_dim,
        # Without the auxiliary loss the model has no classification head.
        classes=classes if experiment.auxiliary > 0 else 0,
        stride=experiment.stride,
        image_size=experiment.image_size,
        learn_power=experiment.learn_power,
    )


def make_criterion(experiment: Experiment, classes: int) -> Criterion:
    """Return the criterion of an experiment: its loss, its source of references and its miner."""
    return Criterion(experiment.loss, _references(experiment, classes), _miner(experiment), classes)


def _references(experiment: Experiment, classes: int) -> References:
    match experiment.source:
        case "batch":
            return InBatch()
        case "memory":
            return CrossBatchMemory(experiment.memory_size, experiment.feature_dim, experiment.memory_warm_up)
        case "proxies":
            return Proxies(classes, experiment.feature_dim, centers_of(experiment.loss))
        case _:
            assert_never(experiment.source)


def _miner(experiment: Experiment) -> Miner | None:
    # Distance-weighted sampling needs the dimension of the embeddings, which the experiment knows.
    if isinstance(experiment.miner, DistanceWeighted):
        return replace(experiment.miner, dim=experiment.feature_dim)
    return experiment.miner


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


def make_objective(experiment: Experiment, model: Embedder) -> Objective:
    """Return the objective of an experiment, with the precision that "auto" stands for on the device of the model."""
    return Objective(
        auxiliary=experiment.auxiliary,
        smoothing=experiment.smoothing,
        temperature=experiment.temperature,
        freeze_bn=experiment.freeze_bn,
        precision=_automatic_precision(model) if experiment.precision == "auto" else experiment.precision,
        clip_value=experiment.clip_value,
        warm_up=experiment.warm_up,
        micro_batch=experiment.micro_batch,
        on_nan=experiment.on_nan,
    )


def _automatic_precision(model: Embedder) -> Precision:
    if next(model.parameters()).is_cuda:
        # GPUs before Ampere only emulate bfloat16, and have no bfloat16 convolutions.
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # On a CPU bfloat16 halves the time of a convolution, except of a depthwise one, which takes longer
        # (docs/performance.md).
        fast = _cpu_multiplies_bfloat16() and not _has_depthwise_convolutions(model)
    return "bfloat16" if fast else "float32"


def _cpu_multiplies_bfloat16() -> bool:
    # Older versions of PyTorch lack this function; `dict` then returns no capabilities.
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _has_depthwise_convolutions(model: Embedder) -> bool:
    convolutions = (layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d))
    return any(layer.groups == layer.in_channels > 1 for layer in convolutions)
