"""Hyper-parameter tuning with the same budget for every loss, on folds of the training classes, without test photos."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pairlens.core.files import lock_folder, make_folder, write_text
from pairlens.core.records import from_plain, require, to_plain
from pairlens.core.settings import flat_settings, with_settings
from pairlens.core.untrusted import read_json
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run import train_without_files
from pairlens.experiments.stored_paths import NO_FILE, as_opened, as_stored
from pairlens.losses.loss_settings import loss_settings, with_loss_settings
from pairlens.losses.protocols import is_learned_loss, tuning_space
from pairlens.losses.third_party import Wrapped, WrappedPairs, stored_form
from pairlens.losses.tuning_space import Range

TRIALS_FILE = "trials.json"
# Paths in the stored settings lead from the folder of the trials.
FROM_FOLDER = "from this folder"
# Settings of the machine: they do not change the results of a run, so runs and trials may differ in them.
ELSEWHERE = ("data_path", "device", "workers", "checkpoint_minutes", "log")
RATES = ("learning_rate", "proxy_learning_rate")


# As factors of the learning rate that was given; the rate of proxies is absolute.
RATE_FACTOR = Range(0.2, 5, log=True)
PROXY_RATE = Range(1e-3, 1, log=True)


@dataclass(frozen=True)
class Trial:
    """One combination of settings with its result.

    Attributes:
        number: from 0; trial 0 has the settings that were given.
        params: the settings that were tried.
        folds: the metric on the held-out classes of each fold; 0 where the loss became infinite or NaN. A trial that was
            given up has fewer folds.
        value: the mean over these folds.
    """

    number: int
    params: dict[str, float]
    folds: tuple[float, ...]
    value: float


def space_of(experiment: Experiment, given: Mapping[str, Range] | None = None) -> dict[str, Range]:
    """Return the settings that tuning may change, with their ranges.

    These are the hyper-parameters of the loss, the learning rate, and the learning rate of proxies and of the loss's own
    parameters if there are any.

    Args:
        experiment: the loss and its settings.
        given: the ranges that the study gives for this loss, in place of those that the loss brings itself.

    >>> list(space_of(Experiment()))
    ['margin', 'learning_rate']
    """
    # A useful learning rate depends on network and optimizer, so the range is around the one that was given.
    rate = experiment.optimizer.learning_rate
    space = dict(given or tuning_space(experiment.loss))
    space["learning_rate"] = Range(RATE_FACTOR.low * rate, RATE_FACTOR.high * rate, log=True)
    if experiment.source == "proxies" or is_learned_loss(experiment.loss):
        space["proxy_learning_rate"] = PROXY_RATE
    return space


def tunable_values(experiment: Experiment, given: Mapping[str, Range] | None = None) -> dict[str, float]:
    """Return the values that the tunable settings have in an experiment; `given` is as in `space_of`."""
    names = space_of(experiment, given)
    of_loss = loss_settings(experiment.loss, [name for name in names if name not in RATES])
    return of_loss | {name: getattr(experiment.optimizer, name) for name in names if name in RATES}


def with_params(
    experiment: Experiment, params: Mapping[str, float], given: Mapping[str, Range] | None = None
) -> Experiment:
    """Return an experiment with other values of its tunable settings; `given` is as in `space_of`.

    Raises:
        ValueError: for a setting that cannot be tuned in this experiment.
    """
    unknown = sorted(set(params) - set(space_of(experiment, given)))
    if unknown:
        raise ValueError(
            f"the stored trials set {unknown[0]!r}, which this loss does not have; remove the folder of these trials"
        )
    rates: dict[str, Any] = {name: value for name, value in params.items() if name in RATES}
    hyper_parameters: dict[str, Any] = {name: value for name, value in params.items() if name not in RATES}
    return with_settings(replace(experiment, loss=with_loss_settings(experiment.loss, hyper_parameters)), rates)


def tune(
    experiment: Experiment,
    folder: Path,
    trials: int,
    folds: int,
    metric: str,
    given: Mapping[str, Range] | None = None,
    halving: bool = False,
) -> Trial:
    """Try several combinations of settings and return the best one, by cross-validation over training classes.

    Each trial trains once per fold on the classes of the other folds, and is measured on the classes of that fold. Trial
    0 has the settings that were given, so on the folds tuning is never worse than no tuning. Trials that are in the
    folder already are not run again.

    Args:
        experiment: the loss and its settings.
        folder: the folder of trials.json.
        trials: number of trials.
        folds: number of folds of the training classes.
        metric: the metric to maximise.
        given: the ranges that the study gives for this loss.
        halving: whether a trial is given up after a fold, see `goes_on`. Trial 0 is always finished.

    Raises:
        ValueError: if Optuna is not installed, or the trials in the folder belong to another experiment.
    """
    make_folder(folder)
    task: dict[str, Any] = {"folds": folds, "metric": metric, "halving": halving}
    ranges = {name: asdict(one) for name, one in (given or {}).items()}
    _check_same(folder, experiment, task | {"ranges": ranges})
    if len(read_trials(folder)) < trials:
        # Several processes may read finished trials; one makes the missing ones.
        with lock_folder(folder):
            _run_missing_trials(experiment, folder, trials, task | {"ranges": ranges}, given)
    return best_trial(read_trials(folder)[:trials], folds)


def best_trial(trials: Sequence[Trial], folds: int) -> Trial:
    """Return the best of the trials that have all folds; raises ValueError if there is none."""
    complete = [trial for trial in trials if len(trial.folds) == folds]
    require(bool(complete), f"no stored trial has {folds} folds; start the comparison again with the same command")
    return max(complete, key=lambda trial: trial.value)


def goes_on(values: Sequence[float], others: Sequence[Trial]) -> bool:
    """Return whether a trial goes on to its next fold: if it is in the better half of all that came as far.

    Asynchronous successive halving with the folds as its resource: with n trials that have the first k folds, this one
    among them, it goes on if at most ⌈n / 2⌉ of them, itself included, have its mean over these folds or a better one.

    Source: Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht, Talwalkar, "A System for Massively Parallel
    Hyperparameter Tuning", 2020, arXiv 1810.05934, algorithm 2 with a reduction factor of 2. There a trial that was given
    up may go on later; here it does not.

    Args:
        values: of the trial, on its first folds.
        others: the trials before it.

    >>> earlier = [Trial(0, {}, (0.3, 0.5), 0.4), Trial(1, {}, (0.1,), 0.1), Trial(2, {}, (0.4, 0.2), 0.3)]
    >>> goes_on([0.35], earlier), goes_on([0.2], earlier), goes_on([0.9, 0.1], earlier)
    (True, False, True)
    """
    count = len(values)
    means = [sum(trial.folds[:count]) / count for trial in others if len(trial.folds) >= count]
    mean = sum(values) / count
    rank = 1 + sum(other >= mean for other in means)
    return rank <= math.ceil((len(means) + 1) / 2)


def _run_missing_trials(
    experiment: Experiment, folder: Path, trials: int, task: Mapping[str, Any], given: Mapping[str, Range] | None
) -> None:
    done = read_trials(folder)
    for number in range(len(done), trials):
        space = space_of(experiment, given)
        params = tunable_values(experiment, given) if number == 0 else _suggest(space, done, trials, task["folds"])
        earlier = done if task["halving"] and number else None
        values = _cross_validate(with_params(experiment, params, given), task["folds"], task["metric"], earlier)
        done.append(Trial(number, params, values, sum(values) / len(values)))
        # Written after every trial, so that an interruption loses at most the trial that is running.
        stored = {"experiment": to_plain(as_stored(experiment, folder)), "paths": FROM_FOLDER}
        record = {**stored, **task, "trials": [asdict(trial) for trial in done]}
        write_text(folder / TRIALS_FILE, json.dumps(record, indent=1) + "\n")


def read_trials(folder: Path) -> list[Trial]:
    """Return the trials in a folder; none if there is no file; raises ValueError if the file is damaged."""
    trials = _read_record(folder).get("trials", [])
    try:
        return [_trial_from_plain(plain) for plain in trials]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(folder, error) from error


def _trial_from_plain(plain: dict[str, Any]) -> Trial:
    # NaN and infinity would pass as numbers and make every later suggestion of Optuna meaningless.
    numbers = [plain["value"], *plain["params"].values(), *plain["folds"]]
    if not all(isinstance(value, int | float) and abs(value) < math.inf for value in numbers):
        raise ValueError("a trial has a value that is not a finite number")
    return Trial(int(plain["number"]), dict(plain["params"]), tuple(plain["folds"]), plain["value"])


def _read_record(folder: Path) -> dict[str, Any]:
    file = folder / TRIALS_FILE
    if not file.is_file():
        return {}
    try:
        record = read_json(file)
    except ValueError as error:
        raise _damaged(folder, error) from error
    if not isinstance(record, dict):
        raise _damaged(folder, "it holds no record")
    return record


def _damaged(folder: Path, reason: Exception | str) -> ValueError:
    return ValueError(f"{folder / TRIALS_FILE} is damaged ({reason}); remove it to tune again")


def differing_settings(stored: Experiment, experiment: Experiment) -> dict[str, tuple[Any, Any]]:
    """Return the settings that change results and differ, by their option names: the stored value and the present one."""
    present = flat_settings(experiment)
    loss = stored.loss
    if isinstance(loss, Wrapped | WrappedPairs) and isinstance(present["loss"], type(loss)) and not loss.source:
        # Version 0.1 did not store by which name a function was found.
        present["loss"] = replace(present["loss"], source="")
    different = {}
    for name, value in flat_settings(stored).items():
        plain = [_comparable(name, one) for one in (value, present[name])]
        if name not in ELSEWHERE and plain[0] != plain[1]:
            different[name] = (plain[0], plain[1])
    return different


def _comparable(name: str, value: Any) -> Any:
    """Return the value of a setting in stored form, in which equal settings are equal."""
    if name == "loss":
        # A loss of another project is equal whether its code is at hand or not.
        return to_plain(stored_form(value))
    if name == "weights" and value not in NO_FILE:
        # The same file may be written as a path from another folder.
        return os.path.normpath(Path.cwd() / value)
    if name == "source" and value and "://" not in value:
        return os.path.normpath(Path.cwd() / value)
    return to_plain(value)


def _check_same(folder: Path, experiment: Experiment, task: dict[str, Any]) -> None:
    """Raise ValueError if the folder holds the trials of another experiment, other folds or another metric."""
    record = _read_record(folder)
    if not record:
        return
    stored = from_plain(Experiment, record.get("experiment"), f"{folder / TRIALS_FILE}: experiment")
    # Earlier versions stored paths as they were given, which lead from the folder in which the command was started.
    stored = as_opened(stored, folder) if record.get("paths") == FROM_FOLDER else stored
    # Earlier versions knew no halving, and did not store the ranges that a study gives.
    known = {"halving": False, "ranges": task["ranges"]} | record
    different = [name for name, value in task.items() if known.get(name) != value]
    if differing_settings(stored, experiment):
        different.insert(0, "experiment")
    if different:
        raise ValueError(
            f"the trials in {folder} differ from this comparison in {different[0]}; give it another --out, or remove "
            "that folder"
        )


def _suggest(space: dict[str, Range], done: list[Trial], trials: int, folds: int) -> dict[str, float]:
    """Return the settings that Optuna suggests next."""
    try:
        import optuna
    except ImportError as error:
        raise ValueError('--tune needs Optuna; install it with: pip install "pairlens[tune]"') from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Optuna's state is rebuilt from the finished trials, and the seed is the number of the trial: a study that was
    # interrupted suggests the same settings as one that was not.
    sampler = optuna.samplers.TPESampler(n_startup_trials=max(2, trials // 3), seed=len(done))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    known: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(float(range_.low), float(range_.high), log=range_.log)
        for name, range_ in space.items()
    }
    for trial in done:
        # The settings that were given may lie outside the ranges, which Optuna does not accept.
        inside = {n: min(max(v, float(space[n].low)), float(space[n].high)) for n, v in trial.params.items()}
        state = optuna.trial.TrialState.COMPLETE if len(trial.folds) == folds else optuna.trial.TrialState.PRUNED
        steps = {count: sum(trial.folds[:count]) / count for count in range(1, len(trial.folds) + 1)}
        study.add_trial(
            optuna.trial.create_trial(
                state=state, params=inside, distributions=known, value=trial.value, intermediate_values=steps
            )
        )
    return {name: float(value) for name, value in study.ask(known).params.items()}


def _cross_validate(
    experiment: Experiment, folds: int, metric: str, earlier: Sequence[Trial] | None
) -> tuple[float, ...]:
    """Return the metric on the held-out classes of each fold; of the first ones if it is given up among earlier trials."""
    values: list[float] = []
    for fold in range(folds):
        fold_settings = {"folds": folds, "fold": fold, "select": "last", "log": (), "log_analysis": False}
        try:
            value = train_without_files(with_settings(experiment, fold_settings))[metric]
        except FloatingPointError:
            # Settings with which the loss diverges get the lowest value, so that tuning avoids them.
            value = 0.0
        values.append(0.0 if math.isnan(value) else value)
        if earlier is not None and len(values) < folds and not goes_on(values, earlier):
            break
    return tuple(values)
