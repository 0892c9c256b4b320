"""How fast is a training step of EfficientNet-Lite0 on a CPU, and what of it helps?

    python benches/cpu_step.py          # about a minute of one core

Photos per second of processor time of one core, medians of turns in which every step runs once. The plain loop is that of
`step.py`. "before" is the step of Pairlens with the gradient of a convolution as PyTorch computes it. `forward` is the
evaluation of the same model. Writes benches/results/cpu_step.json.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import torch
from step import CLASSES, about, our_step, photos_of, plain_step
from torch import Tensor
from torch.nn import functional as F

from pairlens.core.settings import with_settings
from pairlens.experiments.build import make_learner
from pairlens.experiments.experiment import Experiment
from pairlens.losses import Circle
from pairlens.model import batchnorm
from pairlens.model.convolution import Geometry, _native, weight_gradient

RESULTS = Path(__file__).parent / "results" / "cpu_step.json"
BACKBONE = "efficientnet_lite0"
SIZE = 128
BATCH = 16
TURNS = 5
Step = Callable[[], object]


def plain_convolution(maps: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    return F.conv2d(maps, weight, bias, *geometry)


@contextmanager
def convolving(function: Callable[..., Tensor]) -> Iterator[None]:
    """Compute the fused convolutions by another function."""
    ours = batchnorm.convolve
    batchnorm.convolve = function
    try:
        yield
    finally:
        batchnorm.convolve = ours


def experiment(precision: str, stride: str, frozen: int = 0) -> Experiment:
    changes = {"backbone": BACKBONE, "weights": "none", "image_size": SIZE, "descriptors": "SG", "dim": 512}
    changes |= {"precision": precision, "stride": stride, "freeze_stages": frozen, "device": "cpu"}
    return with_settings(Experiment(Circle(gamma=80)), changes)


def step_of(precision: str, stride: str, frozen: int = 0, before: bool = False) -> Step:
    photos, labels = photos_of(BATCH, SIZE, torch.device("cpu"))
    made = experiment(precision, stride, frozen)
    step = our_step(made, photos, labels)

    def run() -> None:
        with convolving(plain_convolution) if before else nullcontext():
            step()

    return run


def forward_of(precision: str, stride: str) -> Step:
    photos, _ = photos_of(BATCH, SIZE, torch.device("cpu"))
    model = make_learner(experiment("float32", stride), CLASSES).model

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            model.embed_batch(photos)

    return run


def steps() -> dict[str, Step]:
    photos, labels = photos_of(BATCH, SIZE, torch.device("cpu"))
    return {
        "plain loop": plain_step(BACKBONE, photos, labels),
        "before, float32": step_of("float32", "port", before=True),
        "before, bfloat16": step_of("bfloat16", "port", before=True),
        "float32": step_of("float32", "port"),
        "bfloat16": step_of("bfloat16", "port"),
        "float32, --freeze_stages 4": step_of("float32", "port", frozen=4),
        "bfloat16, --freeze_stages 4": step_of("bfloat16", "port", frozen=4),
        "before, float32, --stride none": step_of("float32", "none", before=True),
        "float32, --stride none": step_of("float32", "none"),
        "bfloat16, --stride none": step_of("bfloat16", "none"),
        "forward, float32": forward_of("float32", "port"),
        "forward, bfloat16": forward_of("bfloat16", "port"),
    }


def layers() -> dict[str, Step]:
    """Return parts of two layers: a depthwise one of 5 x 5 on 672 channels, a pointwise one from 112 channels to 672."""
    torch.manual_seed(0)
    found: dict[str, Step] = {}
    wide = Geometry(padding=(2, 2), groups=672)
    for dtype in (torch.float32, torch.bfloat16):
        maps = torch.randn(BATCH, 672, 16, 16).to(dtype).contiguous(memory_format=torch.channels_last)
        weight = torch.randn(672, 1, 5, 5).to(dtype)
        name = f"depthwise, {dtype}".replace("torch.", "")
        given = (maps, maps.clone(), weight, wide)
        found[f"{name}, forward"] = partial(plain_convolution, maps, weight, None, wide)
        found[f"{name}, weight gradient of PyTorch"] = partial(_native, *given, 1)
        found[f"{name}, weight gradient"] = partial(weight_gradient, *given)
    maps = torch.randn(BATCH, 672, 16, 16)
    weight = torch.randn(672, 1, 5, 5)
    found["depthwise, float32, forward, contiguous"] = partial(plain_convolution, maps, weight, None, wide)
    found["depthwise, float32, weight gradient of PyTorch, contiguous"] = partial(_native, maps, maps, weight, wide, 1)
    maps = torch.randn(BATCH, 112, 16, 16).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(672, 112, 1, 1)
    rows = maps.permute(0, 2, 3, 1).reshape(-1, 112)
    found["pointwise, float32, forward"] = partial(plain_convolution, maps, weight, None, Geometry())
    found["pointwise, float32, forward as a matrix product"] = partial(torch.mm, rows, weight.view(672, 112).t())
    return found


def milliseconds(steps: dict[str, Step]) -> dict[str, float]:
    times = {name: [1e3 * spent(step) for _ in range(TURNS + 1)][1:] for name, step in steps.items()}
    return {name: statistics.median(some) for name, some in times.items()}


def spent(step: Step) -> float:
    start = time.process_time()
    step()
    return time.process_time() - start


def main() -> None:
    torch.set_num_threads(1)
    measured = steps()
    times: dict[str, list[float]] = {name: [] for name in measured}
    for turn in range(TURNS + 1):
        for name, step in measured.items():
            seconds = spent(step)
            # The first turn creates the kernels and is left out.
            if turn:
                times[name].append(seconds)
    rates = {name: BATCH / statistics.median(some) for name, some in times.items()}
    found = {
        "about": about(),
        "what": f"{BACKBONE} at {SIZE} px, batch {BATCH}, processor time of one thread",
        "photos a second": rates,
        "ratio to the plain loop": {name: rate / rates["plain loop"] for name, rate in rates.items()},
        "ratio to before": {name: rate / rates["before, float32"] for name, rate in rates.items()},
        "ratio of --stride none to before": {
            name: rates[name] / rates["before, float32, --stride none"] for name in rates if "none" in name
        },
        "bfloat16 to float32, forward": rates["forward, bfloat16"] / rates["forward, float32"],
        "milliseconds of a layer": milliseconds(layers()),
        "seconds": times,
    }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: values for name, values in found.items() if name != "seconds"}, indent=1))


if __name__ == "__main__":
    main()
