"""Running a study: every loss on every benchmark with every seed, as far as it is not finished yet."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pairlens.comparison.check_study import check, check_same, check_stored_runs
from pairlens.comparison.executors import Engine, run_here
from pairlens.comparison.study import Arm, Benchmark, Study, experiment_of
from pairlens.comparison.study_file import write_study
from pairlens.comparison.study_plan import FAILED_FILE, Plan, has_failed, is_done
from pairlens.comparison.tuning import (
    ELSEWHERE,
)
from pairlens.core.files import check_not_linked, lock_folder, make_folder, write_text
from pairlens.core.memory import is_out_of_memory
from pairlens.core.settings import flat_settings
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.frozen_backbone import store_features
from pairlens.experiments.run import Event, resume, train
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.run_sums import has_all_results
from pairlens.experiments.stored_post import (
    measure_post_of_baseline,
    measure_post_of_run,
    post_of_baseline,
    post_of_run,
)
from pairlens.experiments.tracking import DrawPictures
from pairlens.losses.third_party import is_own_loss
from pairlens.training.checkpoint import has_checkpoint, remove_checkpoints


@dataclass(frozen=True)
class RunFinished:
    """The end of a job: the tuning of a loss, or one run.

    Attributes:
        what: the job, in words.
        value: the ranking metric that it reached; None if it failed.
        failure: the error message, if it failed.
    """

    what: str
    value: float | None
    failure: str = ""


def run_study(
    study: Study, folder: Path, engine: Engine = run_here, draw: DrawPictures | None = None
) -> Iterator[RunFinished]:
    """Tune and train whatever is not finished of a study; yields a record per finished job.

    The folder may hold an earlier state of the study, with fewer losses or seeds; what is finished there is used. It is
    locked, so that no other comparison writes into it.

    Args:
        study: what is compared.
        folder: of the comparison.
        engine: what runs the jobs.
        draw: draws pictures of each run for its trackers, as for `experiments.run.train`; a function of a module, because
            an engine may send it to other processes.

    Raises:
        ValueError: before anything runs, if a data set is missing, a loss is unknown, a run in the folder has other
            settings, or another comparison is writing into the folder.
    """
    check(Plan(study, folder))
    with lock_study(folder):
        yield from run_missing(study, folder, engine, draw)


@contextmanager
def lock_study(folder: Path) -> Iterator[None]:
    """Make the folder of a comparison and keep other comparisons out of it; raises ValueError if one is writing into it."""
    make_folder(folder)
    with lock_folder(folder):
        yield


def run_missing(
    study: Study, folder: Path, engine: Engine = run_here, draw: DrawPictures | None = None
) -> Iterator[RunFinished]:
    """Do what `run_study` does, in a folder that the caller has locked."""
    plan = Plan(study, folder)
    # Under the lock, because another comparison may have finished runs since the caller looked.
    check(plan)
    write_study(study, folder)
    for benchmark in study.fields:
        unfinished = [run for run in plan.runs(benchmark) if not plan.is_complete(*run)]
        _free_disk(plan, benchmark, study.arms)
        if unfinished:
            # Before the jobs, which may run in several processes and would all compute them.
            store_features(benchmark.settings)
        # All trials come before the first run, because they choose the settings of the runs.
        untuned = plan.untuned(benchmark)
        yield from engine([partial(_tune, plan, plan.owner(benchmark), arm) for arm in untuned])
        # Further trials may have chosen other settings than those of runs that are finished.
        check_stored_runs(plan, benchmark, untuned)
        yield from engine([partial(_run, plan, *run, draw) for run in unfinished])


def _tune(plan: Plan, benchmark: Benchmark, arm: Arm) -> RunFinished:
    try:
        best = plan.chosen(benchmark, arm)
    except (TypeError, RuntimeError, LookupError) as error:
        _blame_third_party_loss(f"{benchmark.name}: {arm.name}", experiment_of(arm, benchmark, 0), error)
        raise
    what = f"{benchmark.name}: tuned {arm.name}, trial {best.number} of {plan.study.tune} chosen"
    return RunFinished(what, best.value)


def _run(plan: Plan, benchmark: Benchmark, arm: Arm, seed: int, draw: DrawPictures | None = None) -> RunFinished:
    what = f"{benchmark.name}: {arm.name}, seed {seed}"
    run_folder = plan.run_folder(benchmark, arm, seed)
    if is_done(run_folder):
        what = f"{what}, {_post_process(plan, benchmark, run_folder)}"
        return _finish(what, plan, benchmark, arm, run_folder)
    experiment = plan.experiment(benchmark, arm, seed)
    try:
        # All runs of a benchmark have the same test photos, and those of pretrained weights the same backbone.
        others = [plan.run_folder(*run) for run in plan.runs(benchmark)]
        for _ in _events(run_folder, experiment, others, plan.folder, draw):
            pass
    except FloatingPointError as error:
        # A loss that diverges is a result: the run counts as finished, and its file says why it has no metrics.
        write_text(run_folder.path / FAILED_FILE, f"{error}\n")
        return RunFinished(what, None, str(error))
    except (TypeError, RuntimeError, LookupError) as error:
        _blame_third_party_loss(what, experiment, error)
        raise
    if plan.study.processing.name:
        what = f"{what}, {_post_process(plan, benchmark, run_folder)}"
    return _finish(what, plan, benchmark, arm, run_folder)


def _finish(what: str, plan: Plan, benchmark: Benchmark, arm: Arm, run_folder: RunFolder) -> RunFinished:
    _free_disk(plan, benchmark, [arm])
    return RunFinished(what, run_folder.read_outcome().report[plan.study.metric])


def _free_disk(plan: Plan, benchmark: Benchmark, arms: Iterable[Arm]) -> None:
    """Delete what the finished runs of some losses hold and nobody needs: checkpoints, and models that are not kept.

    Failed runs stay as they are: their last good checkpoint shows where the loss diverged.
    """
    for arm in arms:
        folders = [plan.run_folder(benchmark, arm, seed) for seed in benchmark.seed_numbers]
        finished = [run_folder for run_folder in folders if is_done(run_folder) and not has_failed(run_folder)]
        for run_folder in finished:
            # A study has hundreds of runs, which are compared by their results; four fifths of their files are checkpoints.
            if has_checkpoint(run_folder.path):
                _unless_in_use(run_folder, partial(remove_checkpoints, run_folder.path))
        first = next((run_folder for run_folder in finished if run_folder.has_model), None)
        # Without a model that stands for the loss, none is deleted.
        for run_folder in finished if plan.study.keep == "first_seed" and first is not None else ():
            if run_folder == first or not run_folder.holds_model_files:
                continue
            if has_all_results(run_folder) and plan.is_measured(benchmark, run_folder):
                _unless_in_use(run_folder, run_folder.remove_model)


def _unless_in_use(run_folder: RunFolder, remove: Callable[[], None]) -> None:
    """Remove something of a run; where another process is writing into its folder, the next call removes it."""
    with suppress(ValueError), run_folder.lock():
        remove()


def _blame_third_party_loss(what: str, experiment: Experiment, error: Exception) -> None:
    """Raise a ValueError that names the loss if it is of another project, because its error is the user's to fix.

    Any other error is a fault of Pairlens, shown in full, or of the machine, such as too little memory, which has a
    sentence of its own.
    """
    if not is_own_loss(experiment.loss) and not is_out_of_memory(error):
        raise ValueError(
            f"{what}: the loss raised {type(error).__name__}: {error}; try it with pairlens audit"
        ) from error


def _post_process(plan: Plan, benchmark: Benchmark, run_folder: RunFolder) -> str:
    """Measure a finished run after post-processing, and its backbone as it comes if no other run has done so.

    Returns:
        In words, that it is done, or why it is not possible for this run: embeddings that are all equal, for example,
        have no principal components. The other runs of the study go on.
    """
    processing, baseline = plan.study.processing, run_folder.read_outcome().baseline
    place = (benchmark.settings.data.path, benchmark.settings.run.device)
    note = ""
    try:
        if baseline is not None:
            file = plan.post_file(benchmark, baseline)
            if post_of_baseline(file, baseline, processing) is None:
                make_folder(file.parent, below=plan.folder)
                measure_post_of_baseline(run_folder, processing, file, *place)
    except (ValueError, FileNotFoundError) as error:
        # The weights that the run started from may be gone; the run itself is measured all the same.
        note = f", but not its backbone as it comes ({error})"
    try:
        if post_of_run(run_folder, processing) is None:
            measure_post_of_run(run_folder, processing, *place)
    except ValueError as error:
        return f"not post-processed ({error})"
    return f"post-processed{note}"


def _events(
    run_folder: RunFolder,
    experiment: Experiment,
    others: Sequence[RunFolder],
    folder: Path,
    draw: DrawPictures | None,
) -> Iterator[Event]:
    """Return the training of a run in the folder of a comparison: from the start, or resumed from its last checkpoint."""
    check_not_linked(run_folder.path, below=folder)
    if not run_folder.config.is_file():
        # The config is written first: without it there is nothing to resume, only what an interruption may have left.
        check_not_linked(run_folder.path, folder)
        run_folder.clear()
        return train(experiment, run_folder, others=others, draw=draw)
    check_same(run_folder, experiment)
    # A comparison may be continued on another machine, with its data elsewhere, or with other trackers.
    stored, present = (flat_settings(one) for one in (run_folder.experiment(), experiment))
    changed = {name: present[name] for name in ELSEWHERE if stored[name] != present[name]}
    metrics = experiment.evaluation.metrics
    return resume(run_folder, loss=experiment.loss, metrics=metrics, others=others, settings=changed, draw=draw)
