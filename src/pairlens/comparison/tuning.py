"""The same budget of trials for every loss, on folds of the training classes; test photos are not looked at."""

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pairlens import losses as ls
from pairlens.core.files import write_text
from pairlens.core.records import to_plain
from pairlens.core.untrusted import read_json
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run import run
from pairlens.losses import Loss
from pairlens.losses.protocols import Wrapped, is_learned_loss

TRIALS_FILE = "trials.json"
# Where a run is made does not change what it is.
ELSEWHERE = ("data_path", "device", "workers", "checkpoint_minutes")
RATES = ("learning_rate", "proxy_learning_rate")


@dataclass(frozen=True)
class Range:
    """Where tuning may look for a number.

    Attributes:
        low: from here.
        high: to here.
        log: whether every factor is as likely as every other, rather than every difference.
    """

    low: float
    high: float
    log: bool = False


MARGIN, SCALE, COLD = Range(0.02, 0.5), Range(8, 256, log=True), Range(0.02, 0.5, log=True)
RATE, PROXY_RATE = Range(0.2, 5, log=True), Range(1e-3, 1, log=True)
BINOMIAL = {"alpha": Range(0.5, 20, log=True), "beta": Range(10, 100, log=True), "lam": Range(0.2, 0.8)}
CIRCLE = {"margin": Range(0.1, 0.5), "gamma": Range(16, 256, log=True)}
ARC = {"scale": SCALE, "margin": Range(0.05, 0.6)}

# What is not listed has nothing to tune but the rates. The published values lie inside.
SPACES: dict[type, dict[str, Range]] = {
    ls.Contrastive: {"margin": Range(0.3, 1.3)},
    ls.SimilarityContrastive: {"margin": Range(0.1, 0.7)},
    ls.Triplet: {"margin": MARGIN},
    ls.AllTriplets: {"margin": MARGIN},
    ls.Circle: CIRCLE,
    ls.PooledCircle: CIRCLE,
    ls.MultiSimilarity: BINOMIAL,
    ls.BinomialDeviance: BINOMIAL,
    ls.LiftedStructure: {"margin": Range(0.3, 1.5)},
    ls.GeneralizedLifted: {"margin": Range(0.3, 1.5)},
    ls.NTXent: {"temperature": COLD},
    ls.SupCon: {"temperature": COLD},
    ls.TupletMargin: {"degrees": Range(1, 12), "scale": SCALE},
    ls.Angular: {"degrees": Range(30, 50)},
    ls.RankedList: {"alpha": Range(0.8, 1.4), "margin": Range(0.1, 0.8)},
    ls.Quadruplet: {"margin": Range(0.1, 1.2)},
    ls.SmoothAP: {"temperature": Range(0.003, 0.1, log=True)},
    ls.SupAP: {"temperature": Range(0.003, 0.1, log=True)},
    ls.RecallAtK: {"similarity_temperature": Range(0.003, 0.1, log=True)},
    ls.ProxyNCA: {"scale": Range(1, 32, log=True)},
    ls.ProxyNCAPlus: {"temperature": Range(0.03, 0.5, log=True)},
    ls.ProxyAnchor: {"alpha": SCALE, "delta": Range(0.0, 0.3)},
    ls.NormSoftmax: {"temperature": Range(0.02, 0.3, log=True)},
    ls.CosFace: ARC,
    ls.ArcFace: ARC,
    ls.SubCenterArcFace: ARC,
    ls.SphereFace: {"scale": SCALE},
    ls.SoftTriple: {"lam": Range(5, 80, log=True), "gamma": Range(0.03, 0.5, log=True), "delta": Range(0.0, 0.3)},
    ls.Margin: {"alpha": Range(0.05, 0.5), "beta": Range(0.6, 1.4)},
    ls.SNRContrastive: {"negative_margin": Range(0.2, 1.5)},
}


@dataclass(frozen=True)
class Trial:
    """One setting and what it came to.

    Attributes:
        number: from 0, which is the setting as it was given.
        params: what was tried.
        folds: the metric on each fold's held-out classes.
        value: their mean; 0 if the loss became infinite or NaN.
    """

    number: int
    params: dict[str, float]
    folds: tuple[float, ...]
    value: float


def space_of(experiment: Experiment) -> dict[str, Range]:
    """Return what tuning may change: the hyper-parameters of the loss, the rate, the rate of what the loss learns.

    >>> list(space_of(Experiment()))
    ['margin', 'learning_rate']
    """
    rate = experiment.learning_rate
    space = dict(SPACES.get(type(experiment.loss), {}))
    space["learning_rate"] = Range(RATE.low * rate, RATE.high * rate, log=True)
    if experiment.source == "proxies" or is_learned_loss(experiment.loss):
        space["proxy_learning_rate"] = PROXY_RATE
    return space


def given(experiment: Experiment) -> dict[str, float]:
    """Return the values that an experiment has of what can be tuned."""
    return {name: getattr(_owner(experiment, name), name) for name in space_of(experiment)}


def _owner(experiment: Experiment, name: str) -> Any:
    return experiment if name in RATES else experiment.loss


def with_params(experiment: Experiment, params: Mapping[str, float]) -> Experiment:
    """Return an experiment with these values of what can be tuned."""
    unknown = sorted(set(params) - set(space_of(experiment)))
    if unknown:
        raise ValueError(f"trials of {unknown[0]!r}, which cannot be tuned here, are of another loss; remove them")
    rates: dict[str, Any] = {name: value for name, value in params.items() if name in RATES}
    own: dict[str, Any] = {name: value for name, value in params.items() if name not in RATES}
    loss: Loss | Wrapped = replace(experiment.loss, **own) if own else experiment.loss
    return replace(experiment, loss=loss, **rates)


def tune(experiment: Experiment, folder: Path, trials: int, folds: int, metric: str) -> Trial:
    """Try settings and return the best; each is trained on all folds but one and measured on that one, for all folds.

    The first trial is the experiment as it is, so that tuning never loses to not tuning on the folds. Trials that are
    in the folder already are not run again.

    Args:
        experiment: the loss and its settings.
        folder: where trials.json is kept.
        trials: how many settings.
        folds: of the training classes.
        metric: what to maximise.

    Raises:
        ValueError: if Optuna is not installed, or the trials in the folder are of something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    task = {"experiment": to_plain(experiment), "folds": folds, "metric": metric}
    _check_same(folder, task)
    done = read_trials(folder)
    for number in range(len(done), trials):
        params = given(experiment) if number == 0 else _suggest(space_of(experiment), done, number, trials)
        values = _measure(with_params(experiment, params), folder / "running", folds, metric)
        done += [Trial(number, params, values, sum(values) / len(values))]
        record = {**task, "trials": [asdict(trial) for trial in done]}
        write_text(folder / TRIALS_FILE, json.dumps(record, indent=1) + "\n")
    return max(done[:trials], key=lambda trial: trial.value)


def read_trials(folder: Path) -> list[Trial]:
    """Return the trials in a folder; none if there is no file; raises ValueError if it is damaged."""
    trials = _read(folder).get("trials", [])
    try:
        return [_trial(found) for found in trials]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{folder / TRIALS_FILE} is damaged ({error}); remove it to tune anew") from error


def _trial(found: dict[str, Any]) -> Trial:
    numbers = [found["value"], *found["params"].values(), *found["folds"]]
    if not all(isinstance(value, int | float) and abs(value) < math.inf for value in numbers):
        raise ValueError("a trial holds what is no number")
    return Trial(int(found["number"]), dict(found["params"]), tuple(found["folds"]), found["value"])


def _read(folder: Path) -> dict[str, Any]:
    file = folder / TRIALS_FILE
    if not file.is_file():
        return {}
    try:
        found = read_json(file)
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}); remove it to tune anew") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file} is damaged (it holds no record); remove it to tune anew")
    return found


def _check_same(folder: Path, task: dict[str, Any]) -> None:
    found = _read(folder)
    for name, value in task.items():
        if found and _comparable(found.get(name)) != _comparable(value):
            raise ValueError(
                f"the trials in {folder} are of another {name}; give the comparison another --out, or remove that folder"
            )


def _comparable(value: Any) -> Any:
    return {k: v for k, v in value.items() if k not in ELSEWHERE} if isinstance(value, dict) else value


def _suggest(space: dict[str, Range], done: list[Trial], number: int, trials: int) -> dict[str, float]:
    """Ask Optuna for the next setting; its state is rebuilt from the trials, so an interruption changes nothing."""
    try:
        import optuna
    except ImportError as error:
        raise ValueError('--tune needs Optuna; install it with: pip install "pairlens[tune]"') from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(n_startup_trials=max(2, trials // 3), seed=number)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    known: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(float(range_.low), float(range_.high), log=range_.log)
        for name, range_ in space.items()
    }
    for trial in done:
        inside = {n: min(max(v, float(space[n].low)), float(space[n].high)) for n, v in trial.params.items()}
        study.add_trial(optuna.trial.create_trial(params=inside, distributions=known, value=trial.value))
    return {name: float(value) for name, value in study.ask(known).params.items()}


def _measure(experiment: Experiment, folder: Path, folds: int, metric: str) -> tuple[float, ...]:
    values = []
    for fold in range(folds):
        # What an interruption left of this fold is not gone on with: it may be of another setting.
        shutil.rmtree(folder, ignore_errors=True)
        try:
            found = run(replace(experiment, folds=folds, fold=fold, select="last"), folder).report[metric]
        except FloatingPointError:
            found = 0.0
        values.append(0.0 if math.isnan(found) else found)
    shutil.rmtree(folder, ignore_errors=True)
    return tuple(values)
