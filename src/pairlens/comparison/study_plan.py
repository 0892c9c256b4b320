"""The runs and the tuning of a study, with their places in its folder."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pairlens.comparison.study import Arm, Benchmark, Study, experiment_of, slug
from pairlens.comparison.tuning import Trial, read_trials, tune, with_params
from pairlens.core.files import make_folder
from pairlens.experiments.baseline import Baseline
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.stored_post import post_of_baseline, post_of_run

FAILED_FILE = "failed.txt"
FIGURES_FOLDER = "figures"
# The backbones as they come, after post-processing.
BASELINES_FOLDER = "baselines"


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
        run_folder = self.run_folder(benchmark, arm, seed)
        if not is_done(run_folder):
            return False
        # Without its model, a run is never measured again.
        return has_failed(run_folder) or self.is_measured(benchmark, run_folder) or not run_folder.has_model

    def is_beyond_measuring(self, benchmark: Benchmark, arm: Arm, seed: int) -> bool:
        """Return whether a run lacks what the study asks for, and has not kept the model that it would be measured with."""
        run_folder = self.run_folder(benchmark, arm, seed)
        has_run = is_done(run_folder) and not has_failed(run_folder) and not run_folder.has_model
        return has_run and not self.is_measured(benchmark, run_folder)

    def is_measured(self, benchmark: Benchmark, run_folder: RunFolder) -> bool:
        """Return whether a finished run is measured after post-processing, as far as the study asks for that."""
        processing, baseline = self.study.processing, run_folder.read_outcome().baseline
        if not processing.name:
            return True
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


def has_failed(run_folder: RunFolder) -> bool:
    """Return whether the loss of a run has diverged."""
    return (run_folder.path / FAILED_FILE).is_file()


def is_done(run_folder: RunFolder) -> bool:
    """Return whether a run has all its epochs, or has failed for good."""
    return has_failed(run_folder) or run_folder.has_all_epochs()
