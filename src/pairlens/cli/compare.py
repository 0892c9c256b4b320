"""The command `pairlens compare`: losses × data sets × seeds, and what they say."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.markup import escape
from rich.table import Table

from pairlens.cli.console import open_console, say
from pairlens.cli.options import settings_record
from pairlens.comparison.executors import Engine, local_engine, ray_engine
from pairlens.comparison.figures import draw_comparison
from pairlens.comparison.results import Results, write_results
from pairlens.comparison.run_study import Plan, RunFinished, check, is_done
from pairlens.comparison.run_study import compare as run_study
from pairlens.comparison.statistics import measure
from pairlens.comparison.study import METRIC, SEEDS, Arm, Study, grid, read_study, read_toml
from pairlens.comparison.tables import NOTE, header, rows, write_tables
from pairlens.comparison.verdicts import verdict
from pairlens.experiments.experiment import Experiment
from pairlens.losses import Triplet

INTERRUPTED = 130
OUT = Path("runs/comparison")
FOLDS = 4

Settings: Any = settings_record(
    "Settings",
    Experiment(),
    {
        "loss": (tyro.conf.Suppress[Triplet], Triplet()),
        "seed": (tyro.conf.Suppress[int], 0),
        "fold": (tyro.conf.Suppress[int], 0),
        "folds": (int, FOLDS),
        "data_name": (tuple[str, ...], (Experiment().data_name,)),
        "auxiliary": (tuple[float, ...], (Experiment().auxiliary,)),
    },
)
# What may be given beside a file or a folder that holds the study: it changes where, not what.
PLACES = ("data_path", "device", "workers")


@dataclass(frozen=True)
class Question:
    """What is compared.

    Attributes:
        losses: two or more, such as triplet circle:gamma=64 "my_code.losses:mine as mine".
        seeds: how many runs of each loss.
        tune: how many settings of each loss are tried first, on folds of the training classes; 0 tries none.
        metric: by which losses are tuned and ranked.
    """

    losses: tuple[str, ...] = ()
    seeds: int = SEEDS
    tune: int = 0
    metric: str = METRIC

    def study(self, settings: Any) -> Study:
        """Return the study in these settings; raises ValueError for one that cannot be."""
        if not self.losses:
            raise ValueError("compare needs losses, as in --losses triplet circle multi_similarity, or a study file")
        fixed = {"loss": Triplet(), "seed": 0, "folds": 0, "data_name": Experiment().data_name, "auxiliary": 0.0}
        plain = {f.name: getattr(settings, f.name) for f in fields(Experiment)} | fixed
        found = grid(Experiment(**plain), settings.data_name, settings.auxiliary, self.seeds)
        return Study(tuple(map(Arm.of, self.losses)), found, self.tune, settings.folds, self.metric)


@dataclass(frozen=True)
class Work:
    """Where and how the runs are made.

    Attributes:
        out: folder of the comparison; by default runs/comparison, or runs/ and the name of the study file.
        resume: the folder of a comparison to go on with, or to write the results of anew.
        processes: how many runs at the same time on this machine; they share its cores.
        engine: local, or ray: the cluster that RAY_ADDRESS names, or one started here.
    """

    out: Path | None = None
    resume: Path | None = None
    processes: int = 1
    engine: Literal["local", "ray"] = "local"

    def make_engine(self) -> Engine:
        """Return what runs the jobs; raises ValueError if it is not installed."""
        match self.engine:
            case "local":
                return local_engine(self.processes)
            case "ray":
                return ray_engine(self.processes)


def compare_command() -> Callable[..., None]:
    """Return the command `compare`."""

    def compare(settings: Any, question: Question, work: Work, study: tyro.conf.Positional[Path | None] = None) -> None:
        """Compare losses fairly: the same batches for the same seed, the same budget, intervals, and a verdict.

        What is finished is never run again: the same command goes on where an interrupted one stopped, and more losses
        or more seeds are added to what is there.

        Args:
            settings: what all losses share, as for `pairlens train`, with one or more of --data_name and --auxiliary;
                --folds is for tuning.
            question: what is compared.
            work: where and how.
            study: a TOML file that holds losses, fields and settings.
        """
        if work.resume is not None:
            found, folder = _moved(read_study(work.resume), question, settings), work.resume
        elif study is not None:
            found, folder = _moved(read_toml(study), question, settings), work.out or Path("runs") / study.stem
        else:
            found, folder = question.study(settings), work.out or OUT
        carry_out(found, folder, work.make_engine())

    compare.__annotations__["settings"] = Settings
    return compare


def _moved(study: Study, question: Question, settings: Any) -> Study:
    """Return a study that was read, with the places given beside it."""
    usual = Settings()
    given = [f.name for f in fields(Settings) if getattr(settings, f.name) != getattr(usual, f.name)]
    if question != Question() or set(given) - set(PLACES):
        raise ValueError(
            f"a study that is read holds its own losses and settings; beside it only --{', --'.join(PLACES)}, --out, "
            "--processes and --engine can be given"
        )
    places = {name: getattr(settings, name) for name in given}
    return replace(study, fields=tuple(replace(f, settings=replace(f.settings, **places)) for f in study.fields))


def carry_out(study: Study, folder: Path, engine: Engine) -> None:
    """Run what is missing of a study, then write and print what it says."""
    plan = Plan(study, folder)
    check(plan)
    total = sum(1 for field in study.fields for one in plan.runs(field) if not is_done(plan.run_folder(*one)))
    tuned = {plan.tuning_folder(field, arm) for field in study.fields for arm in plan.untuned(field)}
    say(f"{folder}: {len(tuned)} losses to tune, {total} runs to make; interrupt at any time, the same command goes on")
    try:
        for number, done in enumerate(run_study(study, folder, engine), 1):
            say(f"[{number}/{total + len(tuned)}] {_line(done, study.metric)}")
    except KeyboardInterrupt:
        say(
            f"interrupted; what is finished is kept. Go on with the same command, or: pairlens compare --resume {folder}"
        )
        sys.exit(INTERRUPTED)
    show_results(folder)


def _line(done: RunFinished, metric: str) -> str:
    if done.value is None:
        return f"{done.what}: not counted, {done.failure}"
    return f"{done.what}: {metric} {100 * done.value:.2f} %"


def show_results(folder: Path) -> Results:
    """Measure what is finished of a comparison; write results, tables and figures; print tables and verdicts."""
    results = measure(folder)
    files = [write_results(results, folder), *write_tables(results, folder)]
    files += [picture.file for _, picture in draw_comparison(results, folder)]
    console = open_console()
    for field in results.fields:
        table = Table(title=escape(field.name), title_justify="left", caption=escape(NOTE.format(metric=field.metric)))
        for number, name in enumerate(header(field)):
            table.add_column(name, justify="right" if number else "left", overflow="fold")
        for row in rows(field):
            table.add_row(*(escape(cell.replace(" ± ", "±")) for cell in row))
        console.print(table)
        say(verdict(field))
    say(f"written: {', '.join(file.relative_to(folder).as_posix() for file in files)} in {folder}")
    say(f"all of it on one page, with pictures and audits: pairlens report {folder}")
    return results
