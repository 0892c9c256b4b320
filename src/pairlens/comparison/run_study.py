"""Running a study: every loss on every benchmark with every seed, as far as it is not finished yet."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pairlens.comparison.executors import Engine, run_here
from pairlens.comparison.study import (
    Arm,
    Benchmark,
    Study,
    check_ranking_metric,
    experiment_of,
    slug,
    write_study,
)
from pairlens.comparison.tuning import (
    ELSEWHERE,
    Trial,
    differing_settings,
    read_trials,
    tunable_values,
    tune,
    with_params,
)
from pairlens.core.files import check_not_linked, lock_folder, make_folder, write_text
from pairlens.core.memory import is_out_of_memory
from pairlens.core.records import require
from pairlens.core.settings import flat_settings
from pairlens.evaluation.post_processing import check_scores
from pairlens.experiments.baseline import Baseline
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.fitted_settings import fit_batches
from pairlens.experiments.frozen_backbone import store_features
from pairlens.experiments.run import Event, resume, train
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.splits import open_splits
from pairlens.experiments.stored_post import (
    measure_post_of_baseline,
    measure_post_of_run,
    post_of_baseline,
    post_of_run,
)
from pairlens.experiments.trackers import check_installed
from pairlens.experiments.tracking import DrawPictures
from pairlens.losses.third_party import is_own_loss

FAILED_FILE = "failed.txt"
FIGURES_FOLDER = "figures"
# The backbones as they come, after post-processing.
BASELINES_FOLDER = "baselines"


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


@dataclass(frozen=True)
class Plan:
    """The runs and the tuning of a study, with their places in its folder."""

    study: Study
    folder: Path

    def run_folder(self, benchmark: Benchmark, arm: Arm, seed: int) -> RunFolder:
        """Return the folder of one run."""
        return RunFolder(self.folder / "runs" / slug(benchmark.name) / slug(arm.name) / f"seed{seed}")

    def post_file(self, benchmark: Benchmark, baseline: Baseline) -> Path:
        """Return the file of the backbone of a benchmark as it comes, measured after post-processing."""
        return self.folder / BASELINES_FOLDER / slug(benchmark.name) / f"{slug(baseline.weights)}.safetensors"

    def is_complete(self, benchmark: Benchmark, arm: Arm, seed: int) -> bool:
        """Return whether a run is done, and measured after post-processing as well if the study asks for that."""
        run_folder, processing = self.run_folder(benchmark, arm, seed), self.study.processing
        if not is_done(run_folder):
            return False
        if not processing.name or (run_folder.path / FAILED_FILE).is_file():
            return True
        baseline = run_folder.read_outcome().baseline
        has_baseline = baseline is None or post_of_baseline(self.post_file(benchmark, baseline), baseline, processing)
        return bool(has_baseline and post_of_run(run_folder, processing))

    def owner(self, benchmark: Benchmark) -> Benchmark:
        """Return the benchmark on which the settings for a benchmark are tuned: itself, unless it names another one."""
        return next((other for other in self.study.fields if other.name == benchmark.tuned_in), benchmark)

    def tuning_folder(self, benchmark: Benchmark, arm: Arm) -> Path:
        """Return the folder of the trials that choose a loss's settings for a benchmark."""
        return self.folder / "tuning" / slug(self.owner(benchmark).name) / slug(arm.name)

    def untuned(self, benchmark: Benchmark) -> list[Arm]:
        """Return the losses whose trials for a benchmark are not all finished."""
        trials = {arm: len(read_trials(self.tuning_folder(benchmark, arm))) for arm in self.study.arms}
        return [arm for arm, count in trials.items() if count < self.study.tune]

    def experiment(self, benchmark: Benchmark, arm: Arm, seed: int) -> Experiment:
        """Return the experiment of one run, with the settings that tuning chose if the study tunes."""
        experiment = experiment_of(arm, benchmark, seed)
        if not self.study.tune:
            return experiment
        return with_params(experiment, self.chosen(benchmark, arm).params, self.study.space(arm))

    def chosen(self, benchmark: Benchmark, arm: Arm) -> Trial:
        """Return the best trial of a loss; trials that are missing are run first."""
        experiment = experiment_of(arm, self.owner(benchmark), 0)
        folder = make_folder(self.tuning_folder(benchmark, arm), below=self.folder)
        study = self.study
        return tune(experiment, folder, study.tune, study.folds, study.metric, study.space(arm), study.halving)

    def runs(self, benchmark: Benchmark) -> Iterator[tuple[Benchmark, Arm, int]]:
        """Yield the runs of a benchmark, all losses with one seed before the next seed.

        In this order the finished runs of an interrupted study can be compared.
        """
        for seed in benchmark.seed_numbers:
            for arm in self.study.arms:
                yield benchmark, arm, seed


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
        if unfinished:
            # Before the jobs, which may run in several processes and would all compute them.
            store_features(benchmark.settings)
        # All trials come before the first run, because they choose the settings of the runs.
        untuned = plan.untuned(benchmark)
        yield from engine([partial(_tune, plan, plan.owner(benchmark), arm) for arm in untuned])
        # Further trials may have chosen other settings than those of runs that are finished.
        _check_stored_runs(plan, benchmark, untuned)
        yield from engine([partial(_run, plan, *run, draw) for run in unfinished])


def check(plan: Plan) -> None:
    """Raise ValueError or FileNotFoundError if the study cannot be run as it is."""
    _check_folders(plan)
    for benchmark in plan.study.fields:
        for arm in plan.study.arms:
            experiment = experiment_of(arm, benchmark, 0)
            if plan.study.tune:
                # This refuses a range for a setting that the loss does not have.
                tunable_values(experiment, plan.study.space(arm))
        check_installed(benchmark.settings.run.log)
        check_ranking_metric(plan.study.metric, benchmark.settings, benchmark.metrics())
        splits = open_splits(benchmark.settings, draw=benchmark.may_draw)
        _check_components(plan.study, benchmark)
        if plan.study.processing.compares_all:
            check_scores(len(splits.test), len(splits.test if splits.gallery is None else splits.gallery))
        _check_stored_photos(plan, benchmark, splits.test.digest)
        # The settings of the runs of other losses are known only after tuning.
        untuned = plan.untuned(benchmark)
        _check_stored_runs(plan, benchmark, [arm for arm in plan.study.arms if arm not in untuned])


def _check_components(study: Study, benchmark: Benchmark) -> None:
    reduce, dim = study.processing.reduce, benchmark.settings.model.dim
    require(
        reduce is None or reduce <= dim,
        f"--reduce {reduce} is more than the --feature_dim {dim} of {benchmark.name}; use 1 to {dim}",
    )


def _check_folders(plan: Plan) -> None:
    """Raise ValueError if a folder that will be written into is a link; a comparison may come from anybody."""
    written = [plan.run_folder(*run).path for benchmark in plan.study.fields for run in plan.runs(benchmark)]
    tuned = [plan.tuning_folder(benchmark, arm) for benchmark in plan.study.fields for arm in plan.study.arms]
    baselines = [plan.folder / BASELINES_FOLDER / slug(benchmark.name) for benchmark in plan.study.fields]
    for path in (plan.folder / FIGURES_FOLDER, *written, *tuned, *baselines):
        check_not_linked(path, below=plan.folder)


def _check_stored_runs(plan: Plan, benchmark: Benchmark, arms: Collection[Arm]) -> None:
    """Raise ValueError if runs or trials of some losses, which are tuned, have other settings than the study."""
    for arm in arms if plan.study.tune else ():
        # The trials are compared with the study when the best of them is looked up.
        plan.chosen(benchmark, arm)
    for run in plan.runs(benchmark):
        run_folder = plan.run_folder(*run)
        if run[1] in arms and run_folder.config.is_file():
            _check_same(run_folder, plan.experiment(*run))


def _check_stored_photos(plan: Plan, benchmark: Benchmark, photos: str) -> None:
    """Raise ValueError if a finished run was tested on photos that were prepared otherwise."""
    for run in plan.runs(benchmark):
        run_folder = plan.run_folder(*run)
        # A run without a baseline does not say so here; its photos are compared when it is measured.
        baseline = run_folder.read_outcome().baseline if run_folder.outcome.is_file() else None
        if baseline is not None and baseline.photos != photos:
            raise ValueError(
                f"the data set of {benchmark.name} was prepared again with other photos since {run_folder.path} was "
                "trained; prepare it as it was, give the comparison another --out, or remove that folder"
            )


def is_done(run_folder: RunFolder) -> bool:
    """Return whether a run has all its epochs, or has failed for good."""
    if (run_folder.path / FAILED_FILE).is_file():
        return True
    # The outcome is written after every epoch; a run is done when it has the last one.
    if not run_folder.outcome.is_file():
        return False
    return run_folder.read_outcome().rows[-1].epoch >= run_folder.experiment().run.epochs


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
        reached = run_folder.read_outcome().report[plan.study.metric]
        return RunFinished(f"{what}, {_post_process(plan, benchmark, run_folder)}", reached)
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
    reached = run_folder.read_outcome().report[plan.study.metric]
    if plan.study.processing.name:
        what = f"{what}, {_post_process(plan, benchmark, run_folder)}"
    return RunFinished(what, reached)


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
    settings = benchmark.settings
    try:
        if baseline is not None:
            file = plan.post_file(benchmark, baseline)
            if post_of_baseline(file, baseline, processing) is None:
                make_folder(file.parent, below=plan.folder)
                measure_post_of_baseline(run_folder, processing, file, settings.data.path, settings.run.device)
        if post_of_run(run_folder, processing) is None:
            measure_post_of_run(run_folder, processing, settings.data.path, settings.run.device)
    except ValueError as error:
        return f"not post-processed ({error})"
    return "post-processed"


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
    _check_same(run_folder, experiment)
    # A comparison may be continued on another machine, with its data elsewhere, or with other trackers.
    stored, present = (flat_settings(one) for one in (run_folder.experiment(), experiment))
    changed = {name: present[name] for name in ELSEWHERE if stored[name] != present[name]}
    metrics = experiment.evaluation.metrics
    return resume(run_folder, loss=experiment.loss, metrics=metrics, others=others, settings=changed, draw=draw)


def _check_same(run_folder: RunFolder, experiment: Experiment) -> None:
    trained = run_folder.experiment()
    if trained.batches != experiment.batches:
        # A run stores the batches that were fitted to its data set.
        experiment, _ = fit_batches(experiment, open_splits(experiment).train)
    for name, (stored, present) in differing_settings(trained, experiment).items():
        raise ValueError(
            f"{run_folder.path} was trained with {name} {stored}, not {present}; give the comparison another --out, or "
            "remove that folder"
        )
