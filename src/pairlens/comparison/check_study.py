"""Checking a study before its first run: against its data, and against what is finished in its folder."""

from collections.abc import Collection

from pairlens.comparison.study import Arm, Benchmark, Study, check_ranking_metric, experiment_of, slug
from pairlens.comparison.study_plan import BASELINES_FOLDER, FIGURES_FOLDER, Plan
from pairlens.comparison.tuning import differing_settings, tunable_values
from pairlens.core.files import check_not_linked
from pairlens.core.records import require
from pairlens.evaluation.post_processing import check_scores
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.fitted_settings import fit_batches
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.splits import open_splits
from pairlens.experiments.trackers import check_installed


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
        check_stored_runs(plan, benchmark, [arm for arm in plan.study.arms if arm not in untuned])


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


def check_stored_runs(plan: Plan, benchmark: Benchmark, arms: Collection[Arm]) -> None:
    """Raise ValueError if runs or trials of some losses, which are tuned, have other settings than the study."""
    for arm in arms if plan.study.tune else ():
        # The trials are compared with the study when the best of them is looked up.
        plan.chosen(benchmark, arm)
    for _, arm, seed in plan.runs(benchmark):
        run_folder = plan.run_folder(benchmark, arm, seed)
        if arm in arms and run_folder.config.is_file():
            check_same(run_folder, plan.experiment(benchmark, arm, seed))


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


def check_same(run_folder: RunFolder, experiment: Experiment) -> None:
    """Raise ValueError if a run in the folder of a comparison was trained with other settings that change its result."""
    trained = run_folder.experiment()
    if trained.batches != experiment.batches:
        # A run stores the batches that were fitted to its data set.
        experiment, _ = fit_batches(experiment, open_splits(experiment).train)
    for name, (stored, present) in differing_settings(trained, experiment).items():
        raise ValueError(
            f"{run_folder.path} was trained with {name} {stored}, not {present}; give the comparison another --out, or "
            "remove that folder"
        )
