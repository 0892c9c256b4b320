"""What else could make a training step of EfficientNet-Lite0 faster on a CPU?

    python benches/step_ideas.py          # about three minutes of one core, most of it for the compiler

Processor time of one thread for a step of circle loss with 64 photos of 128 px, medians of turns in which every step runs
once: as it is, in micro batches, with the backbone compiled by `torch.compile`, and with the maps of the first frozen stages
taken from memory. The last is the most that a cache of these maps could save; reading them from a disk is left out. Writes
benches/results/step_ideas.json.
"""

import statistics

import torch
from cpu_step import Step, spent
from provenance import RESULTS, about, write_result
from step import CLASSES, our_step, photos_of
from torch import nn

from pairlens.core.freed_memory import keep_freed_memory
from pairlens.core.settings import with_settings
from pairlens.experiments.build import make_learner
from pairlens.experiments.experiment import Experiment
from pairlens.losses import Circle
from pairlens.model.frozen_stages import freeze_stages
from pairlens.training.training_step import training_step

FILE = RESULTS / "step_ideas.json"
SIZE, BATCH, TURNS = 128, 64, 3
# The first of the 8 stages of EfficientNet-Lite: the stem and three groups of blocks.
FROZEN = 4
MICRO_BATCHES = (32, 16, 8)


def experiment(**changes: object) -> Experiment:
    same = {"backbone": "efficientnet_lite0", "weights": "none", "image_size": SIZE, "descriptors": "SG", "dim": 512}
    return with_settings(Experiment(Circle(gamma=80)), {**same, "stride": "port", "device": "cpu", **changes})


def step_from_maps(precision: str) -> Step:
    """Return a step whose batch is what the frozen stages make of photos, and which leaves these stages out."""
    made = experiment(precision=precision, freeze_stages=FROZEN)
    learner = make_learner(made, CLASSES)
    model = learner.model
    model.train()
    model.freeze_batchnorm(made.objective.freeze_bn)
    freeze_stages(model.backbone, FROZEN)
    photos, labels = photos_of(BATCH, SIZE, torch.device("cpu"))
    network = model.backbone.network
    early = nn.Sequential(network.conv_stem, network.bn1, *network.blocks[: FROZEN - 1])
    with torch.inference_mode():
        pixels = model.normalize(photos).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            stored = early(pixels)
    maps = stored.clone()
    network.conv_stem, network.bn1 = nn.Identity(), nn.Identity()
    network.blocks = network.blocks[FROZEN - 1 :]
    # The maps are no pixels, so there is nothing to normalise.
    model.normalize = lambda given: given
    return lambda: training_step(learner, made.objective, maps, labels, probe=False)


def steps() -> dict[str, Step]:
    photos, labels = photos_of(BATCH, SIZE, torch.device("cpu"))
    found: dict[str, Step] = {}
    for precision in ("float32", "bfloat16"):

        def step(precision: str = precision, **changes: object) -> Step:
            return our_step(experiment(precision=precision, **changes), photos, labels)

        found[precision] = step()
        found |= {f"{precision}, --micro_batch {size}": step(micro_batch=size) for size in MICRO_BATCHES}
        found[f"{precision}, --compile yes"] = step(compile="yes")
        found[f"{precision}, --freeze_stages {FROZEN}"] = step(freeze_stages=FROZEN)
        found[f"{precision}, --freeze_stages {FROZEN}, their maps from memory"] = step_from_maps(precision)
    return found


def main() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    measured = steps()
    # The first time creates the kernels, and compiles.
    first = {name: spent(step) for name, step in measured.items()}
    times: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(TURNS):
        for name, step in measured.items():
            times[name].append(spent(step))
    rates = {name: BATCH / statistics.median(some) for name, some in times.items()}
    result = {
        "about": about("timm"),
        "what": f"EfficientNet-Lite0 at {SIZE} px, batch {BATCH}, processor time of one thread",
        "photos a second": rates,
        "ratio": {name: rate / rates[name.partition(",")[0]] for name, rate in rates.items()},
        "seconds": times,
        "first step, seconds": first,
    }
    write_result(FILE, result)
    for name, rate in rates.items():
        print(f"{name}: {rate:.1f} photos/s, {result['ratio'][name]:.2f} times, first step {first[name]:.0f} s")


if __name__ == "__main__":
    main()
