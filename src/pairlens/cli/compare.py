"""The command `pairlens compare`: every loss on every data set with every seed, and the results."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from pairlens.cli.console import show_table
from pairlens.cli.interruption import say_how_to_go_on
from pairlens.cli.options import settings_record
from pairlens.cli.terminal import open_console, say
from pairlens.cli.tracked_pictures import draw_tracked_pictures
from pairlens.comparison.check_study import check
from pairlens.comparison.compare import compare as run_comparison
from pairlens.comparison.compare import default_folder
from pairlens.comparison.executors import Engine, local_engine, ray_engine
from pairlens.comparison.results import Results
from pairlens.comparison.run_study import RunFinished
from pairlens.comparison.study import AS_IT_IS, METRIC, SEEDS, Arm, Benchmark, KeptModels, Study
from pairlens.comparison.study_file import STUDY_FILE, read_study, read_toml
from pairlens.comparison.study_plan import Plan
from pairlens.comparison.verdicts import verdict, without_result
from pairlens.core.import_rules import ANY_MODULE
from pairlens.core.settings import settings_of, with_settings
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.fitted_settings import fit_batches
from pairlens.experiments.post_processed import PostProcessing
from pairlens.experiments.splits import open_splits
from pairlens.losses import Triplet
from pairlens.report.result_table import result_tables

FOLDS = 4

# One loss and one seed are set run by run, so these options are hidden; three others take several values or another default.
Settings: Any = settings_record(
    "Settings",
    Experiment(),
    {
        "loss": (tyro.conf.Suppress[Triplet], Triplet()),
        "seed": (tyro.conf.Suppress[int], 0),
        "fold": (tyro.conf.Suppress[int], 0),
        "folds": (int, FOLDS),
        "data_name": (tuple[str, ...], (Experiment().data.name,)),
        "auxiliary": (tuple[float, ...], (Experiment().objective.auxiliary,)),
    },
)
# These options may be given beside a study from a file or a folder: they change where it runs, not its results.
LOCAL_OPTIONS = ("data_path", "device", "workers", "log")


@dataclass(frozen=True)
class Question:
    """What is compared.

    Attributes:
        losses: two or more losses, such as triplet circle:gamma=64 "my_code.losses:mine as mine".
        seeds: number of runs of each loss.
        tune: number of settings of each loss that are tried first, on folds of the training classes; 0 tries none.
        metric: the metric by which losses are tuned and ranked.
        halving: give up a setting after a fold if it is not in the better half of those that were tried so far.
    """

    losses: tuple[str, ...] = ()
    seeds: int = SEEDS
    tune: int = 0
    metric: str = METRIC
    halving: bool = False

    def study(self, settings: Any) -> Study:
        """Return the study with these settings; raises ValueError if it is not possible."""
        if not self.losses:
            raise ValueError("compare needs losses, as in --losses triplet circle multi_similarity, or a study file")
        # The study varies these settings itself, run by run.
        varied = {"loss", "seed", "fold", "folds", "data_name", "auxiliary"}
        options = settings_of(Experiment).keys() - varied
        shared = {name: getattr(settings, name) for name in options if hasattr(settings, name)}
        benchmarks = benchmark_grid(
            with_settings(Experiment(), shared), settings.data_name, settings.auxiliary, self.seeds
        )
        arms = tuple(map(Arm.of, self.losses))
        return Study(arms, benchmarks, self.tune, settings.folds, self.metric, halving=self.halving)


@dataclass(frozen=True)
class Work:
    """Where and how the runs are made, and what is printed.

    Attributes:
        out: folder of the comparison; by default runs/comparison, or runs/ and the name of the study file.
        resume: the folder of a comparison to continue, or whose results are to be written again.
        keep: of which finished runs the model and the embedded photos stay on disk: all, or first_seed, those of the first
            finished seed of each loss; the results of every run stay. By default all, or what the study says.
        processes: number of simultaneous runs on this machine; they share its cores.
        engine: local, or ray: the cluster that RAY_ADDRESS names, or a cluster that is started here.
        all_metrics: print every column of the result table, and not only the most important ones.
        trust: beside a study file or --resume, a module such as my_code.losses that may be imported because the study names
            it; this runs its code. What is typed as --losses needs no trust.
        trust_study: the same for every installed package that the study names; for modules in the folder of the study, give
            --trust.
    """

    out: Path | None = None
    resume: Path | None = None
    keep: KeptModels | None = None
    processes: int = 1
    engine: Literal["local", "ray"] = "local"
    all_metrics: Annotated[bool, tyro.conf.arg(name="all")] = False
    trust: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    trust_study: bool = False

    @property
    def trusted(self) -> tuple[str, ...]:
        """The modules that a study from a file may import."""
        return (*self.trust, *([ANY_MODULE] if self.trust_study else []))

    def make_engine(self) -> Engine:
        """Return the engine that runs the jobs; raises ValueError if it is not installed."""
        match self.engine:
            case "local":
                return local_engine(self.processes)
            case "ray":
                return ray_engine(self.processes)


def benchmark_grid(
    settings: Experiment, data_names: tuple[str, ...], auxiliaries: tuple[float, ...], seeds: int
) -> tuple[Benchmark, ...]:
    """Return a benchmark for every data set and every weight of the auxiliary loss."""
    return tuple(
        Benchmark(
            _benchmark_name(data_name, weight, auxiliaries),
            with_settings(settings, {"data_name": data_name, "auxiliary": weight}),
            seeds,
        )
        for data_name in data_names
        for weight in auxiliaries
    )


def _benchmark_name(data_name: str, auxiliary: float, auxiliaries: tuple[float, ...]) -> str:
    # With a single weight the data set alone identifies the benchmark.
    if len(auxiliaries) == 1:
        return data_name
    return f"{data_name}, loss alone" if auxiliary == 0 else f"{data_name}, auxiliary {auxiliary:g}"


def compare_command() -> Callable[..., None]:
    """Return the command `compare`."""

    def compare(
        settings: Any,
        question: Question,
        work: Work,
        study: tyro.conf.Positional[Path | None] = None,
        processing: PostProcessing = AS_IT_IS,
    ) -> None:
        """Compare losses fairly: the same batches for the same seed, the same budget, intervals, and a verdict.

        Finished runs are never repeated: the same command continues an interrupted comparison, and further losses or
        seeds are added to the existing runs.

        Args:
            settings: the settings that all losses share, as for `pairlens train`, with one or more values of --data_name
                and --auxiliary; --folds is used for tuning.
            question: what is compared.
            work: where and how the runs are made.
            study: a TOML file with losses, data sets and settings.
            processing: post-processing after which every run, and the backbone as it comes, is measured once more; it
                changes no other figure, so it can be given beside a study from a file or a folder as well.
        """
        if work.resume is not None:
            folder = work.resume
            planned = _with_local_options(read_study(work.resume, work.trusted), question, settings)
        elif study is not None:
            folder = work.out or default_folder(study)
            planned = _with_local_options(read_toml(study, work.trusted), question, settings)
        else:
            planned = question.study(settings)
            folder = work.out or default_folder(planned)
        if processing.name:
            planned = replace(planned, processing=processing)
        if work.keep is not None:
            planned = replace(planned, keep=work.keep)
        carry_out(planned, folder, work.make_engine(), work.all_metrics)

    # The type is made at run time, so it cannot be written in the signature.
    compare.__annotations__["settings"] = Settings
    return compare


def _with_local_options(study: Study, question: Question, settings: Any) -> Study:
    """Return a study from a file, with the options that were given beside it."""
    defaults = Settings()
    # An option counts as given if it differs from its default.
    given = [f.name for f in fields(Settings) if getattr(settings, f.name) != getattr(defaults, f.name)]
    if question != Question() or set(given) - set(LOCAL_OPTIONS):
        raise ValueError(
            "a study from a file or a folder holds its own losses and settings; beside it, only "
            f"--{', --'.join(LOCAL_OPTIONS)}, --post, --reduce, --out, --keep, --processes, --engine, --all, --trust and "
            "--trust_study can be given"
        )
    local = {name: getattr(settings, name) for name in given}
    benchmarks = [replace(b, settings=with_settings(b.settings, local)) for b in study.fields]
    return replace(study, fields=tuple(benchmarks))


def carry_out(study: Study, folder: Path, engine: Engine, all_metrics: bool = False) -> None:
    """Make the missing runs of a study, then write and print its results.

    Args:
        study: what is compared.
        folder: of the comparison.
        engine: what runs the jobs.
        all_metrics: whether to print every column of the result table.
    """
    plan = Plan(study, folder)
    check(plan)
    for line in _fitted_batches(study):
        say(line)
    runs = [run for benchmark in study.fields for run in plan.runs(benchmark)]
    missing = sum(not plan.is_complete(*run) for run in runs)
    unmeasured = sum(plan.is_beyond_measuring(*run) for run in runs)
    if unmeasured:
        say(f"{unmeasured} runs have not kept their model, so they cannot be measured after this post-processing")
    # Benchmarks may share the settings that are tuned on one of them, so the folders are counted once.
    to_tune = {plan.tuning_folder(benchmark, arm) for benchmark in study.fields for arm in plan.untuned(benchmark)}
    say(
        f"{folder}: {len(to_tune)} losses to tune, {missing} runs to make; you can interrupt at any time and continue with "
        "the same command"
    )
    numbers = itertools.count(1)

    def show(done: RunFinished) -> None:
        say(f"[{next(numbers)}/{missing + len(to_tune)}] {_line(done, study.metric)}")

    # Ctrl-C is a normal way to pause a comparison.
    with say_how_to_go_on(lambda: interrupted_comparison(folder, study.names_code)):
        results = run_comparison(study, folder, engine=engine, watch=show, draw=draw_tracked_pictures)
    show_results(results, folder, all_metrics)


def interrupted_comparison(folder: Path, names_code: bool = False) -> str:
    """Return the sentence that ends an interrupted comparison.

    Args:
        folder: of the comparison.
        names_code: whether its study names code that must be trusted again.
    """
    if not (folder / STUDY_FILE).is_file():
        return f"interrupted before {folder} was written. Give the same command again"
    return (
        "interrupted; finished runs are saved. Continue with the same command, or with: pairlens compare "
        f"--resume {folder}{' --trust_study' if names_code else ''}"
    )


def _fitted_batches(study: Study) -> Iterator[str]:
    for benchmark in study.fields:
        _, batches = fit_batches(benchmark.settings, open_splits(benchmark.settings).train)
        if batches:
            yield f"{benchmark.name}: batches of {batches}"


def _line(done: RunFinished, metric: str) -> str:
    if done.value is None:
        return f"{done.what}: not counted, {done.failure}"
    return f"{done.what}: {metric} {100 * done.value:.2f} %"


def show_results(results: Results, folder: Path, all_metrics: bool = False) -> None:
    """Print the tables and the verdicts of a comparison, and where its files are."""
    console = open_console()
    for result in results.fields:
        tables = result_tables(result)
        show_table(console, tables.all_columns if all_metrics else tables.short)
        if tables.post is not None:
            show_table(console, tables.post)
        say(verdict(result))
    for sentence in without_result(results):
        say(sentence)
    say(f"written: results.json, tables (Markdown, LaTeX, CSV) and figures in {folder}")
    say(f"what the study shows as a whole, such as where the variance comes from: {folder / 'comparison.md'}")
    if not all_metrics:
        say(f"all columns of the table: pairlens compare --resume {folder} --all")
    say(f"all results on one page, with photos and audits: pairlens report {folder}")
