"""How fast is a training step compared with a plain loop, and how much memory does a large batch take?

    python benches/step.py                  # on a CPU about 3 minutes of one core, on a GPU seconds
    python benches/step.py --part memory    # again, into the same file

Speed: the plain loop trains as the original project did (float32, contiguous photos, separate BatchNorm layers, Adam
with a loop over the parameters); it is compared with the step of `fit`, with and without separate BatchNorm layers. All
have the same model, loss and batch and are measured alternately. On a CPU one thread is used and its processor time is
counted, so that other work on the machine matters only through the caches; with `--threads 2` the wall clock is used,
for a machine without other work.
Memory: each figure is the peak of a separate process, given with and without the memory before the first step.
Writes benches/results/step.json.
"""

import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from torch import Tensor, nn

from pairlens.core.settings import with_settings
from pairlens.experiments.build import choose_device, make_learner
from pairlens.experiments.experiment import Experiment
from pairlens.losses import Circle
from pairlens.model.cost import profile
from pairlens.model.embedder import Embedder
from pairlens.model.frozen_stages import freeze_stages
from pairlens.training.criterion import Criterion
from pairlens.training.training_step import training_step

RESULTS = Path(__file__).parent / "results" / "step.json"
CLASSES = 98


@dataclass(frozen=True)
class Options:
    """Options: what to measure; `one` is the measurement of a process that the script starts itself."""

    part: Literal["all", "speed", "memory", "one"] = "all"
    backbone: str = "resnet50"
    size: int = 224
    batch: int = 8
    repeats: int = 3
    threads: int = 1
    large: int = 1024
    micro: int = 128
    small_backbone: str = "resnet18"
    small_size: int = 64


def photos_of(batch: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    photos = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, generator=draw)
    return photos.to(device), (torch.arange(batch) // 4 % CLASSES).to(device)


def plain_step(backbone: str, photos: Tensor, labels: Tensor) -> Callable[[], object]:
    """The training loop of the original project, on the same model."""
    torch.manual_seed(0)
    model = Embedder(backbone=backbone, classes=CLASSES, weights="none", image_size=photos.shape[-1]).to(photos.device)
    unfold(model)
    model.train()
    model.freeze_batchnorm("statistics")
    criterion = Criterion(Circle())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, foreach=False)

    def step() -> None:
        features = model.backbone(model.normalize(photos).contiguous())
        pooled = [pool(features) for pool in model.descriptors]
        parts = [nn.functional.normalize(p(x)) for p, x in zip(model.projections, pooled, strict=True)]
        embeddings, logits = nn.functional.normalize(torch.cat(parts, dim=1)), model.head(pooled[0])
        loss = criterion(embeddings, labels)
        loss = loss + nn.functional.cross_entropy(logits / 0.5, labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def unfold(model: nn.Module) -> None:
    """Build the network as timm does, without BatchNorm fused into its convolutions."""
    for module in model.modules():
        vars(module).pop("forward", None)


def our_step(experiment: Experiment, photos: Tensor, labels: Tensor, folded: bool = True) -> Callable[[], object]:
    learner = make_learner(experiment, CLASSES)
    if not folded:
        unfold(learner.model)
    objective = experiment.objective
    learner.model.train()
    learner.model.freeze_batchnorm(objective.freeze_bn)
    freeze_stages(learner.model.backbone, objective.freeze_stages)
    return lambda: training_step(learner, objective, photos, labels, probe=False)


def seconds(step: Callable[[], object], cuda: bool, wall: bool) -> float:
    clock = time.perf_counter if wall else time.process_time
    start = clock()
    step()
    if cuda:
        torch.cuda.synchronize()
    return clock() - start


def speed(options: Options) -> dict[str, object]:
    """Measure both steps alternately: photos per second, and on a GPU memory and the share of its peak performance."""
    device = choose_device("auto")
    cuda = device.type == "cuda"
    wall = cuda or options.threads > 1
    torch.set_num_threads(options.threads)
    photos, labels = photos_of(options.batch, options.size, device)
    base = with_settings(
        Experiment(Circle()), {"backbone": options.backbone, "weights": "none", "image_size": options.size}
    )
    full, half = (with_settings(base, {"precision": precision}) for precision in ("float32", "bfloat16"))
    steps = {
        "plain": plain_step(options.backbone, photos, labels),
        "float32": our_step(full, photos, labels),
        "bfloat16, BatchNorm apart": our_step(half, photos, labels, folded=False),
        "ours": our_step(half, photos, labels),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    peaks: dict[str, int] = {}
    for turn in range(options.repeats + 1):
        for name, step in steps.items():
            if cuda:
                torch.cuda.reset_peak_memory_stats()
            spent = seconds(step, cuda, wall)
            print(f"{name}: {spent:.2f} s" + ("" if turn else " (warming up, left out)"), flush=True)
            if turn:
                times[name].append(spent)
            peaks[name] = torch.cuda.max_memory_allocated() if cuda else 0
    rate = {name: options.batch / statistics.median(some) for name, some in times.items()}
    found: dict[str, object] = {
        "what": f"{options.backbone} at {options.size} px, batch {options.batch}",
        "clock": f"wall, {options.threads} threads" if wall else "processor, one thread",
        "photos a second": rate,
        "ours / plain": rate["ours"] / rate["plain"],
        "float32 / plain": rate["float32"] / rate["plain"],
        "ours / BatchNorm apart": rate["ours"] / rate["bfloat16, BatchNorm apart"],
        "seconds": times,
    }
    if cuda:
        # The backward pass has twice the operations of the forward pass; a multiply-add is two operations.
        work = 6 * profile(make_learner(base, CLASSES).model.architecture).multiply_adds
        found |= {"peak bytes": peaks, "share of matrix rate": {n: r * work / matrix_rate() for n, r in rate.items()}}
    return found


def matrix_rate() -> float:
    """Return the operations per second of a large bfloat16 product."""
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    times = [seconds(lambda: a @ a, cuda=True, wall=True) for _ in range(10)]
    return 2 * 8192**3 / min(times)


def memory(options: Options) -> dict[str, object]:
    """Measure peak memory and processor time of a micro batch, of a large batch in micro batches, and of it at once."""
    cases = {
        "micro batch": (options.micro, 0),
        "large batch, in micro batches": (options.large, options.micro),
        "large batch, at once": (options.large, 0),
    }
    found: dict[str, dict[str, float]] = {}
    for name, (batch, micro) in cases.items():
        command = [sys.executable, __file__, "--part", "one", "--batch", str(batch), "--micro", str(micro)]
        command += ["--small-backbone", options.small_backbone, "--small-size", str(options.small_size)]
        output = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
        found[name] = json.loads(output.splitlines()[-1])
        print(name, found[name], flush=True)
    small, chunked, whole = found.values()
    return {
        "what": f"{options.small_backbone} at {options.small_size} px, {options.large} in {options.micro}",
        "peaks": found,
        "peak / micro batch": chunked["peak"] / small["peak"],
        "step's own peak / micro batch": chunked["step"] / small["step"],
        "at once / micro batch": whole["peak"] / small["peak"],
        "time / at once": chunked["seconds"] / whole["seconds"],
    }


def one(options: Options) -> None:
    """Print the peak memory of this process, the part of it that the step takes, and the processor time of a step."""
    torch.set_num_threads(1)
    photos, labels = photos_of(options.batch, options.small_size, torch.device("cpu"))
    experiment = with_settings(
        Experiment(Circle()),
        {
            "backbone": options.small_backbone,
            "weights": "none",
            "image_size": options.small_size,
            "batch_size": options.batch,
            "micro_batch": options.micro,
            "precision": "float32",
            "device": "cpu",
        },
    )
    step = our_step(experiment, photos, labels)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    spent = seconds(step, cuda=False, wall=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak": peak, "step": peak - before, "seconds": spent}))


def main(options: Options) -> None:
    if options.part == "one":
        one(options)
        return
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    for name, measure in {"speed": speed, "memory": memory}.items():
        if options.part in ("all", name):
            key = f"{name}, {options.threads} threads" if options.threads > 1 else name
            kept[key] = {"about": about(), **measure(options)}
            print(json.dumps({k: v for k, v in kept[key].items() if k != "about"}, indent=1), flush=True)
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def about() -> dict[str, str]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, encoding="utf-8"
    ).stdout.strip()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {"commit": commit, "date": time.strftime("%Y-%m-%d"), "torch": torch.__version__, "device": device}


if __name__ == "__main__":
    main(tyro.cli(Options))
