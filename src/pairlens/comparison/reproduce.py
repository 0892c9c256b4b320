"""Runs and studies written out as what a person types: commands, and the TOML of a study."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from pairlens.comparison.study import Benchmark, Study
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.loss_spec import command_name, miner_text
from pairlens.losses.miners import Miner
from pairlens.losses.protocols import Wrapped

USUAL = Experiment()


def differing(experiment: Experiment) -> dict[str, Any]:
    """Return what an experiment sets beside its loss, as far as it is not the default.

    >>> differing(Experiment(batch_size=64))
    {'batch_size': 64}
    """
    names = [f.name for f in fields(Experiment) if f.name != "loss"]
    return {name: getattr(experiment, name) for name in names if getattr(experiment, name) != getattr(USUAL, name)}


def train_command(experiment: Experiment, place: Path) -> str | None:
    """Return the command that trains an experiment again, under another name beside `place`.

    None for a wrapped loss, which only Python can train.

    >>> train_command(Experiment(batch_size=64), Path("runs/mine"))
    'pairlens train triplet --batch_size 64 --runs runs --name mine-again'
    """
    loss = experiment.loss
    if isinstance(loss, Wrapped):
        return None
    own = {loss_option(f.name): getattr(loss, f.name) for f in fields(loss) if getattr(loss, f.name) != f.default}
    words = ["pairlens", "train", command_name(type(loss))]
    for name, value in (own | differing(experiment)).items():
        words += option(name, value)
    words += ["--runs", str(place.parent), "--name", f"{place.name}-again"]
    return shlex.join(words)


def loss_option(name: str) -> str:
    """Return what a setting of a loss is called on the command line: its name, unless a run has one of that name.

    >>> loss_option("gamma"), loss_option("temperature")
    ('gamma', 'loss_temperature')
    """
    return f"loss_{name}" if name in {f.name for f in fields(Experiment)} else name


def option(name: str, value: Any) -> list[str]:
    """Return an option of the command line as its words.

    >>> option("learn_power", True), option("recalls", (1, 10)), option("mining", False)
    (['--learn_power'], ['--recalls', '1,10'], ['--no_mining'])
    """
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no_{name}"]
    return [f"--{name}", plain_text(value)]


def plain_text(value: Any) -> str:
    """Return a setting as it is typed."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return miner_text(value) if value is None or isinstance(value, Miner) else str(value)


def study_text(study: Study) -> str:
    """Return a study as the TOML file that `pairlens compare` reads."""
    shared = _shared(study.fields)
    losses = [arm.loss if arm.name == arm.loss else f"{arm.loss} as {arm.name}" for arm in study.arms]
    lines = [f"losses = {_toml(losses)}", f"tune = {study.tune}", f"folds = {study.folds}"]
    lines += [f"metric = {_toml(study.metric)}", "", "[settings]", *_lines(shared)]
    for field in study.fields:
        own = {name: value for name, value in differing(field.settings).items() if name not in shared}
        lines += ["", "[[fields]]", f"name = {_toml(field.name)}", f"seeds = {field.seeds}"]
        lines += [f"tuned_in = {_toml(field.tuned_in)}"] if field.tuned_in else []
        lines += [f"first_seed = {field.first_seed}"] if field.first_seed else []
        lines += _lines(own)
    return "\n".join(lines) + "\n"


def _shared(all_fields: tuple[Benchmark, ...]) -> dict[str, Any]:
    first, *others = [differing(field.settings) for field in all_fields]
    return {name: value for name, value in first.items() if all(o.get(name) == value for o in others)}


def _lines(settings: dict[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        if name not in ("seed", "folds", "fold"):
            yield f"{name} = {_toml(value)}"


def _toml(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return json.dumps(plain_text(value), ensure_ascii=False)
