"""Running a study: every loss in every field with every seed, whatever of it is not finished yet."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pairlens.comparison.executors import Engine, run_here
from pairlens.comparison.study import Arm, Benchmark, Study, experiment_of, slug, write_study
from pairlens.comparison.tuning import ELSEWHERE, Trial, read_trials, tune, with_params
from pairlens.core.files import write_text
from pairlens.core.records import to_plain
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run import Event, resume, train
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.splits import open_splits
from pairlens.losses.protocols import Wrapped

FAILED_FILE = "failed.txt"


@dataclass(frozen=True)
class RunFinished:
    """A job is done.

    Attributes:
        what: in words.
        value: the metric it came to; None if it failed.
        failure: why, if it did.
    """

    what: str
    value: float | None
    failure: str = ""


@dataclass(frozen=True)
class Plan:
    """Where the parts of a study lie in its folder."""

    study: Study
    folder: Path

    def run_folder(self, field: Benchmark, arm: Arm, seed: int) -> RunFolder:
        """Return the folder of one run."""
        return RunFolder(self.folder / "runs" / slug(field.name) / slug(arm.name) / f"seed{seed}")

    def owner(self, field: Benchmark) -> Benchmark:
        """Return the field whose trials choose the settings of a field."""
        return next((other for other in self.study.fields if other.name == field.tuned_in), field)

    def tuning_folder(self, field: Benchmark, arm: Arm) -> Path:
        """Return the folder of a loss's trials for a field."""
        return self.folder / "tuning" / slug(self.owner(field).name) / slug(arm.name)

    def untuned(self, field: Benchmark) -> list[Arm]:
        """Return the losses that still have trials to be made for a field."""
        return [a for a in self.study.arms if len(read_trials(self.tuning_folder(field, a))) < self.study.tune]

    def experiment(self, field: Benchmark, arm: Arm, seed: int) -> Experiment:
        """Return a run with the settings that tuning chose, if it has."""
        experiment = experiment_of(arm, field, seed)
        if not self.study.tune:
            return experiment
        return with_params(experiment, self.chosen(field, arm).params)

    def chosen(self, field: Benchmark, arm: Arm) -> Trial:
        """Return the best trial of a loss; runs those that are missing."""
        owner, s = self.owner(field), self.study
        return tune(experiment_of(arm, owner, 0), self.tuning_folder(field, arm), s.tune, s.folds, s.metric)

    def runs(self, field: Benchmark) -> Iterator[tuple[Benchmark, Arm, int]]:
        """Yield the runs of a field: all losses with one seed before the next, so that what is finished is comparable."""
        for seed in field.numbers:
            for arm in self.study.arms:
                yield field, arm, seed


def compare(study: Study, folder: Path, engine: Engine = run_here) -> Iterator[RunFinished]:
    """Tune and train what is not finished of a study; yields a record a job.

    The folder may hold an earlier state of the study, with fewer losses or seeds; what is finished in it is kept.

    Raises:
        ValueError: before anything runs, if a data set is missing, a loss unknown, or a run in the folder is another.
    """
    plan = Plan(study, folder)
    check(plan)
    folder.mkdir(parents=True, exist_ok=True)
    write_study(study, folder)
    for field in study.fields:
        yield from engine([partial(_tune, plan, plan.owner(field), arm) for arm in plan.untuned(field)])
        waiting = [one for one in plan.runs(field) if not is_done(plan.run_folder(*one))]
        yield from engine([partial(_run, plan, *one) for one in waiting])


def check(plan: Plan) -> None:
    """Raise ValueError or FileNotFoundError if the study cannot be run as it stands."""
    for field in plan.study.fields:
        for arm in plan.study.arms:
            experiment_of(arm, field, 0)
        open_splits(field.settings)
        for one in plan.runs(field):
            place = plan.run_folder(*one)
            if place.config.is_file() and not plan.untuned(field):
                _check_same(place, plan.experiment(*one))


def is_done(place: RunFolder) -> bool:
    """Whether a run has all its epochs, or has failed for good."""
    if (place.path / FAILED_FILE).is_file():
        return True
    return place.outcome.is_file() and place.read_outcome().rows[-1].epoch >= place.experiment().num_epochs


def _tune(plan: Plan, field: Benchmark, arm: Arm) -> RunFinished:
    best = plan.chosen(field, arm)
    return RunFinished(f"{field.name}: tuned {arm.name}, trial {best.number} of {plan.study.tune} chosen", best.value)


def _run(plan: Plan, field: Benchmark, arm: Arm, seed: int) -> RunFinished:
    what = f"{field.name}: {arm.name}, seed {seed}"
    place, experiment = plan.run_folder(field, arm, seed), plan.experiment(field, arm, seed)
    try:
        for _ in _events(place, experiment):
            pass
    except FloatingPointError as error:
        write_text(place.path / FAILED_FILE, f"{error}\n")
        return RunFinished(what, None, str(error))
    except (TypeError, RuntimeError, LookupError) as error:
        if not isinstance(experiment.loss, Wrapped):
            raise
        raise ValueError(
            f"{what}: the loss raised {type(error).__name__}: {error}; try it with pairlens audit"
        ) from error
    return RunFinished(what, place.read_outcome().report[plan.study.metric])


def _events(place: RunFolder, experiment: Experiment) -> Iterator[Event]:
    if not place.config.is_file():
        shutil.rmtree(place.path, ignore_errors=True)
        return train(experiment, place)
    _check_same(place, experiment)
    return resume(place, loss=experiment.loss)


def _check_same(place: RunFolder, experiment: Experiment) -> None:
    found, wanted = (_comparable(e) for e in (place.experiment(), experiment))
    for name, value in wanted.items():
        if found[name] != value:
            raise ValueError(
                f"{place.path} was trained with {name} {found[name]}, not {value}; give the comparison another --out, or "
                "remove that folder"
            )


def _comparable(experiment: Experiment) -> dict:
    plain = to_plain(experiment)
    assert isinstance(plain, dict)
    return {name: value for name, value in plain.items() if name not in ELSEWHERE}
