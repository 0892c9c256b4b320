"""The demonstration: two losses on a drawn data set, one table, one contact sheet, one report."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image
from rich.console import Console

from pairlens.cli.console import Display, show_table
from pairlens.cli.demo_collection import COLLECTION, make_demo_collection
from pairlens.cli.interruption import say_how_to_go_on
from pairlens.cli.tables import report_table
from pairlens.cli.terminal import open_console
from pairlens.comparison.run_study import lock_study
from pairlens.comparison.statistics import measure
from pairlens.comparison.study import Arm, Benchmark, Study
from pairlens.comparison.study_file import STUDY_FILE, write_study
from pairlens.comparison.study_plan import Plan
from pairlens.comparison.verdicts import headline
from pairlens.core.files import make_folder, write_picture
from pairlens.core.threads import single_thread
from pairlens.data.data_config import DataConfig
from pairlens.data.loader import BatchConfig
from pairlens.experiments.experiment import Experiment, RunConfig
from pairlens.experiments.run import Run, train
from pairlens.experiments.run_folder import RunFolder
from pairlens.model.embedder import Architecture
from pairlens.report.photo_rows import ordinal
from pairlens.retrieval.gallery import Gallery
from pairlens.retrieval.match_pictures import contact_sheet
from pairlens.training.optimizers import OptimizerConfig

LOSSES = ("circle", "triplet")
# The contact sheet: 5 × 7 photos are readable on one screen.
QUERIES = 5
RETRIEVED = 7

# Small enough for two minutes on two CPU cores. The settings come from about ten trials (docs/results.md).
SMALL = Experiment(
    data=DataConfig(name="minicars"),
    model=Architecture("efficientnet_lite0", "SM", dim=128, stride="none", image_size=64),
    batches=BatchConfig(size=64),
    optimizer=OptimizerConfig(learning_rate=3e-4),
    run=RunConfig(epochs=6),
)

INTRODUCTION = """\
Pairlens trains a network so that photos of one class get similar embeddings, and measures how well it finds photos of
classes that it has never seen. The photos are drawn by Pairlens itself: models of cars. The network, pretrained on
ImageNet, is trained on one half of the models, once with each loss ({losses}), and tested on the other half."""

MEANING = """\
What the numbers mean, all in percent:
  R@1     how often the nearest photo shows the same model as the query
  R@{k}     how often at least one of the {k} nearest does
  P@{k}     how many of the {k} nearest do
  MAP@R   the same over all photos of the model, weighted by rank: the strictest of them"""

NEXT = """\
What to do next:
  pairlens index PHOTOS --to shop
  pairlens search shop PHOTO
      make your own photos searchable: a folder of them, with class folders or without; nothing is trained
  pairlens search {collection} PHOTO
      search the collection of this demonstration with a photo of your own
  pairlens query {run} --retrieval_num 8
      search the test photos of the run with one of them
  pairlens explain circle --compare triplet
      draw what the two losses do to a pair of photos
  pairlens prepare --data_name folder --source PHOTOS --data_path data
      prepare your own photos, a folder with one folder per class; pairlens train circle --data_name folder --data_path data
      then trains on them"""


def show_demo(out: Path, seed: int, console: Console, watch: Callable[[Path], object] | None = None) -> None:
    """Train with each loss, print the results and what they mean, write `sheet.png` and `report.html`, and a collection.

    All files are written into a new folder in `out`. It is the folder of a comparison with one seed, so
    `pairlens compare --resume` and `pairlens report` work on it.

    Args:
        out: where the new folder is made.
        seed: seed of everything random.
        console: where to print.
        watch: called with the new folder before anything is written into it.
    """
    folder = _new_folder(out)
    make_folder(folder, below=out)
    if watch is not None:
        watch(folder)
    # On one thread the figures are the same everywhere the processor rounds alike; photos are loaded by other threads.
    with lock_study(folder), single_thread():
        _train_and_show(folder, out / "data", seed, console)


def _train_and_show(folder: Path, data: Path, seed: int, console: Console) -> None:
    settings = replace(SMALL, data=replace(SMALL.data, path=data))
    study = Study(tuple(map(Arm.of, LOSSES)), (Benchmark("minicars", settings, 1, first_seed=seed),))
    write_study(study, folder)
    _print(console, INTRODUCTION.format(losses=" and ".join(LOSSES)))
    plan = Plan(study, folder)
    runs: dict[str, Run] = {}
    for benchmark, arm, number in plan.runs(study.fields[0]):
        experiment = plan.experiment(benchmark, arm, number)
        others = [RunFolder(run.folder) for run in runs.values()]
        runs[arm.name] = _train(experiment, plan.run_folder(benchmark, arm, number), arm, console, others)
    # All losses start from the same model, so any run will do.
    baselines = next(iter(runs.values())).outcome.baselines
    reports = [*baselines, *((f"{name} loss", run.report) for name, run in runs.items())]
    show_table(console, report_table(reports, "Search for car models that were never seen in training"))
    _print(console, MEANING.format(k=settings.evaluation.recalls[-1]))
    (result,) = measure(folder).fields
    _print(console, f"Verdict: {headline(result)}.")
    circle = runs["circle"].folder
    sheet = folder / "sheet.png"
    write_picture(sheet, _draw_sheet(circle))
    # Imported here, because the figures of the report need Matplotlib, which takes long to import.
    from pairlens.report.write import write_report

    report, _ = write_report(folder)
    _print(console, f"Some queries with their nearest photos: {sheet}\nAll results on one page:               {report}")
    for line in make_demo_collection(circle, folder):
        _print(console, line)
    _print(console, NEXT.format(run=circle, collection=folder / COLLECTION))


def _print(console: Console, text: str) -> None:
    # Paths and commands must stay on one line, so that they can be copied.
    console.print(f"\n{text}", highlight=False, markup=False, soft_wrap=True)


def _new_folder(out: Path) -> Path:
    # An earlier demonstration is never overwritten.
    number = 1
    while (out / f"run-{number}").exists():
        number += 1
    return out / f"run-{number}"


def _train(
    experiment: Experiment, run_folder: RunFolder, arm: Arm, console: Console, others: Sequence[RunFolder]
) -> Run:
    with Display(console, experiment.run.epochs, title=arm.name) as display:
        for event in train(experiment, run_folder, display.watch, others=others):
            display.show(event)
    return Run(run_folder.path, experiment, run_folder.read_outcome())


def _draw_sheet(run: Path) -> Image.Image:
    """Draw every n-th test photo with its nearest photos, so that neither good nor bad results are selected."""
    gallery = Gallery.open(run)
    paths = gallery.catalog.paths
    step = max(1, len(paths) // QUERIES)
    queries = [gallery.query(path) for path in paths[::step][:QUERIES]]
    rows = [(query, gallery.search(query, RETRIEVED)) for query in queries]
    title = (
        f"circle loss, models never seen in training: every {ordinal(step)} test photo (left) and its nearest photos"
    )
    return contact_sheet(rows, title)


def demo(out: Path = Path("demo"), seed: int = 0) -> None:
    """Train on a drawn data set with circle loss and with triplet loss, compare them, and draw what is retrieved.

    Args:
        out: where a new folder for the runs, the contact sheet and the report is made.
        seed: seed of everything random.
    """
    # The folder of this demonstration, once it is known.
    folders: list[Path] = []
    with say_how_to_go_on(lambda: _interrupted(folders)):
        show_demo(out, seed, open_console(), folders.append)


def _interrupted(folders: list[Path]) -> str:
    if not folders or not (folders[0] / STUDY_FILE).is_file():
        return "interrupted before anything was trained. Give the same command again: pairlens demo"
    folder = folders[0]
    return (
        f"interrupted; what is trained so far is saved in {folder}. Continue with: pairlens compare --resume {folder}, then "
        f"pairlens report {folder}; or start again with: pairlens demo"
    )
