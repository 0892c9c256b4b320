"""Results of a study made by hand, from the values of each loss and seed."""

from pairlens.comparison.results import BenchmarkResult, LossResult, Measured
from pairlens.comparison.study import Arm, Benchmark, Study
from pairlens.comparison.study_plan import Plan
from pairlens.evaluation.intervals import t_interval
from pairlens.experiments.experiment import Experiment
from support.experiments import changed

CONTROL = "pairlens.comparison.controls:no_loss"


def benchmark_result(name, values, baseline=None, metric="MAP@R"):
    """A result from {loss: values, or loss: {seed: value}}; the loss "none" is the control; R@1 is twice the metric."""
    by_seed = {loss: found if isinstance(found, dict) else dict(enumerate(found)) for loss, found in values.items()}
    losses = sorted((loss_result(loss, found, metric) for loss, found in by_seed.items()), key=lambda loss: -mean(loss))
    seeds = sorted({seed for found in by_seed.values() for seed in found})
    result = BenchmarkResult(name, "bars", 4, 24, metric, 0.95, t_interval([0.01] * len(seeds)), tuple(losses), ())
    if baseline is None:
        return result
    object.__setattr__(result, "baseline", t_interval([baseline] * len(seeds)))
    object.__setattr__(result, "baseline_name", "pretrained backbone")
    return result


def mean(loss):
    return loss.metrics[-1].over_seeds.mean


def loss_result(name, by_seed, metric):
    values = list(by_seed.values())
    return LossResult(
        name=name,
        loss=CONTROL if name == "none" else name,
        settings="",
        metrics=tuple(
            Measured(of, t_interval([factor * v for v in values]), 0, 1) for of, factor in (("R@1", 2), (metric, 1))
        ),
        curve=(),
        mean_s_p=None,
        mean_s_n=None,
        seconds=t_interval([1.0]),
        seeds=tuple(by_seed),
        runs=(),
    )


def plan_of(folder, settings, losses=("triplet", "circle"), tune=0):
    """A plan of benchmarks with the given settings, by their names; nothing is run."""
    arms = tuple(map(Arm.of, (*losses, f"{CONTROL} as none")))
    benchmarks = tuple(Benchmark(name, changed(Experiment(), **options), 3) for name, options in settings.items())
    return Plan(Study(arms, benchmarks, tune=tune), folder)
