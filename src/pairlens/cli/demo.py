"""The demonstration: two losses on the embedded data set, one table, one sheet of pictures, one report."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image
from rich.console import Console

from pairlens.cli.console import Display, open_console
from pairlens.cli.tables import report_table
from pairlens.comparison.run_study import Plan
from pairlens.comparison.study import Arm, Benchmark, Study, write_study
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run import Run, train
from pairlens.experiments.run_folder import RunFolder
from pairlens.report.write import write_report
from pairlens.retrieval.gallery import Gallery, Match, Query
from pairlens.retrieval.match_pictures import contact_sheet

LOSSES = ("circle", "triplet")
QUERIES = 5
RETRIEVED = 7

SMALL = Experiment(
    data_name="minicars",
    backbone_type="efficientnet_lite0",
    gd_config="SM",
    feature_dim=128,
    batch_size=64,
    num_epochs=6,
    learning_rate=3e-4,
    stride="none",
    image_size=64,
)


def show_demo(out: Path, seed: int, console: Console) -> None:
    """Train with each loss, print one table, write `sheet.png` and `report.html`; in a new folder under `out`.

    The folder is that of a comparison of one seed, so `pairlens compare --resume` and `pairlens report` know it.
    """
    folder = _new_folder(out)
    folder.mkdir(parents=True)
    settings = replace(SMALL, data_path=out / "data")
    study = Study(tuple(map(Arm.of, LOSSES)), (Benchmark("minicars", settings, 1, first_seed=seed),))
    write_study(study, folder)
    plan, runs = Plan(study, folder), {}
    for field, arm, number in plan.runs(study.fields[0]):
        runs[arm.name] = _train(plan.experiment(field, arm, number), plan.run_folder(field, arm, number), arm, console)
    untrained = next(iter(runs.values())).outcome.untrained
    reports = [("untrained (ImageNet)", untrained), *((f"{name} loss", run.report) for name, run in runs.items())]
    console.print(report_table(reports, "minicars: retrieval of car models never seen in training"))
    circle = runs["circle"].folder
    sheet = folder / "sheet.png"
    _draw_sheet(circle).save(sheet)
    console.print(f"queries with their neighbours: {sheet}", highlight=False, soft_wrap=True)
    console.print(
        f"look up another photo: pairlens query {circle} --query_img_name FILE", highlight=False, soft_wrap=True
    )
    report, _ = write_report(folder)
    console.print(f"all of it on one page: {report}", highlight=False, soft_wrap=True)


def _new_folder(out: Path) -> Path:
    number = 1
    while (out / f"run-{number}").exists():
        number += 1
    return out / f"run-{number}"


def _train(experiment: Experiment, place: RunFolder, arm: Arm, console: Console) -> Run:
    with Display(console, experiment.num_epochs, title=arm.name) as display:
        for event in train(experiment, place, display.watch):
            display.show(event)
    return Run(place.path, experiment, place.read_outcome())


def _draw_sheet(run: Path) -> Image.Image:
    gallery = Gallery.open(run)
    paths = gallery.catalog.paths[:: max(1, len(gallery.catalog.paths) // QUERIES)][:QUERIES]
    rows: Sequence[tuple[Query, list[Match]]] = [(q, gallery.search(q, RETRIEVED)) for q in map(gallery.query, paths)]
    return contact_sheet(rows, "minicars: queries (left) and the nearest photos of unseen models, circle loss")


def demo(out: Path = Path("demo"), seed: int = 0) -> None:
    """Train on the embedded data set with circle and with triplet loss, compare, and draw what is retrieved.

    Args:
        out: where the runs and the picture sheet go, in a new folder.
        seed: of everything random.
    """
    show_demo(out, seed, open_console())
