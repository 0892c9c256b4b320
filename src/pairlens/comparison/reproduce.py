"""Commands and TOML that reproduce a run or a study."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from pairlens.comparison.study import Benchmark, Study
from pairlens.core.named_function import NamedFunction
from pairlens.core.settings import flat_settings, settings_of
from pairlens.evaluation.metric_definitions import ClassMetric, MetricDefinition
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.metric_spec import metric_text
from pairlens.experiments.post_processed import PostProcessing
from pairlens.losses import Loss
from pairlens.losses.loss_text import can_be_typed, loss_name, loss_text, miner_text
from pairlens.losses.miners import Miner
from pairlens.losses.tuning_space import Range

DEFAULTS = Experiment()


def differing(experiment: Experiment) -> dict[str, Any]:
    """Return the settings of an experiment that differ from the defaults, without its loss.

    >>> from pairlens.data.loader import BatchConfig
    >>> differing(Experiment(batches=BatchConfig(size=64)))
    {'batch_size': 64}
    """
    defaults = flat_settings(DEFAULTS)
    values = flat_settings(experiment)
    return {name: value for name, value in values.items() if name != "loss" and value != defaults[name]}


def train_command(experiment: Experiment, run_folder: Path) -> str | None:
    """Return the command that repeats a training under another name, in a folder beside the run folder.

    Returns None for what can be used only from Python: a function that was wrapped there, a function as a setting, or a
    metric that has only a definition.

    >>> from pairlens.data.loader import BatchConfig
    >>> train_command(Experiment(batches=BatchConfig(size=64)), Path("runs/mine"))
    'pairlens train triplet --batch_size 64 --runs runs --name mine-again'
    """
    loss: Any = experiment.loss
    changed = differing(experiment)
    has_function = any(isinstance(value, NamedFunction) for value in changed.values())
    if not can_be_typed(loss) or has_function or not all(isinstance(m, str) for m in experiment.evaluation.metrics):
        return None
    # The options of a loss of Pairlens; a sum or a loss of another project is one text. Defaults are left out, so that the
    # command shows what is special about the run.
    has_options = isinstance(loss, get_args(Loss))
    hyper_parameters = {
        loss_option(f.name): getattr(loss, f.name)
        for f in (fields(loss) if has_options else ())
        if getattr(loss, f.name) != f.default
    }
    words = ["pairlens", "train", loss_name(loss) if has_options else loss_text(loss)]
    for name, value in (hyper_parameters | changed).items():
        words += option(name, value)
    words += ["--runs", str(run_folder.parent), "--name", f"{run_folder.name}-again"]
    return shlex.join(words)


def loss_option(name: str) -> str:
    """Return the command-line name of a loss's setting: its own name, or `loss_NAME` if an experiment has that name too.

    >>> loss_option("gamma"), loss_option("temperature")
    ('gamma', 'loss_temperature')
    """
    return f"loss_{name}" if name in settings_of(Experiment) else name


def option(name: str, value: Any) -> list[str]:
    """Return an option of the command line as a list of words.

    >>> option("learn_power", True), option("recalls", (1, 10)), option("mining", False)
    (['--learn_power'], ['--recalls', '1,10'], ['--no_mining'])
    >>> option("log", ("mlflow", "wandb"))
    ['--log', 'mlflow', 'wandb']
    """
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no_{name}"]
    # Texts are separate words; numbers are one word with commas.
    if name in ("metrics", "log"):
        return [f"--{name}", *map(plain_text, value)]
    return [f"--{name}", plain_text(value)]


def plain_text(value: Any) -> str:
    """Return the value of a setting as it is typed on the command line."""
    if isinstance(value, tuple):
        return ",".join(map(plain_text, value))
    if isinstance(value, MetricDefinition | ClassMetric):
        return metric_text(value)
    # None stands for "no miner" too, which is typed as the word none.
    return miner_text(value) if value is None or isinstance(value, Miner) else str(value)


def study_text(study: Study) -> str:
    """Return a study as the TOML file that `pairlens compare` reads."""
    shared = _shared_settings(study.fields)
    losses = [arm.loss if arm.name == arm.loss else f"{arm.loss} as {arm.name}" for arm in study.arms]
    lines = [f"losses = {_toml(losses)}", f"tune = {study.tune}", f"folds = {study.folds}"]
    lines += ["halving = true"] if study.halving else []
    lines += [f"keep = {_toml(study.keep)}"] if study.keep != "all" else []
    lines += [f"metric = {_toml(study.metric)}", *_post_lines(study.processing)]
    lines += ["", "[settings]", *_toml_lines(shared)]
    for benchmark in study.fields:
        lines += _benchmark_lines(benchmark, shared)
    for name, ranges in study.spaces.items():
        lines += [
            "",
            f"[spaces.{_toml(name)}]",
            *(f"{_toml(key)} = {_toml_range(value)}" for key, value in ranges.items()),
        ]
    return "\n".join(lines) + "\n"


def _post_lines(processing: PostProcessing) -> list[str]:
    steps = [f"post = {_toml(processing.post)}"] if processing.post else []
    return steps if processing.reduce is None else [*steps, f"reduce = {processing.reduce}"]


def _benchmark_lines(benchmark: Benchmark, shared: dict[str, Any]) -> list[str]:
    settings = {name: value for name, value in differing(benchmark.settings).items() if name not in shared}
    lines = ["", "[[fields]]", f"name = {_toml(benchmark.name)}", f"seeds = {benchmark.seeds}"]
    if benchmark.tuned_in:
        lines.append(f"tuned_in = {_toml(benchmark.tuned_in)}")
    if benchmark.first_seed:
        lines.append(f"first_seed = {benchmark.first_seed}")
    return [*lines, *_toml_lines(settings)]


def _shared_settings(benchmarks: tuple[Benchmark, ...]) -> dict[str, Any]:
    """Return the settings that have the same value, not the default, in every benchmark."""
    # What only some benchmarks set, or set differently, is written with each of them.
    first, *rest = [differing(benchmark.settings) for benchmark in benchmarks]
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in rest)}


def _toml_lines(settings: dict[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        # A study sets seed, folds and fold of each of its runs itself.
        if name not in ("seed", "folds", "fold"):
            yield f"{name} = {_toml(value)}"


def _toml_range(range_: Range) -> str:
    return f"{{low = {_toml(range_.low)}, high = {_toml(range_.high)}, log = {_toml(range_.log)}}}"


def _toml(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # JSON writes booleans, numbers and texts as TOML does.
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return json.dumps(plain_text(value), ensure_ascii=False)
