"""Which metrics do the two losses of the demonstration reach over several seeds? `python benches/demo_figures.py`.

Runs `pairlens demo` once per seed and stores the figures of its table, the baselines included, and
how many photos of its contact sheet are right. With --pictures the sheet of the first seed becomes docs/images/sheet.jpg.
Writes benches/results/demo.json. About two minutes per seed on one core.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tyro
from PIL import Image
from provenance import RESULTS, about, write_result
from rich.console import Console

from pairlens.cli.demo import LOSSES, QUERIES, RETRIEVED, show_demo
from pairlens.comparison.study import slug
from pairlens.evaluation.evaluate import Report
from pairlens.experiments.run_folder import RunFolder
from pairlens.retrieval.gallery import Gallery

FILE = RESULTS / "demo.json"
SHEET = RESULTS.parent.parent / "docs" / "images" / "sheet.jpg"
WIDTH = 1288
METRICS = ("R@1", "R@2", "R@4", "R@8", "P@8", "MAP@R")


@dataclass(frozen=True)
class Options:
    """Options: the seeds, and whether to replace the picture of the README."""

    seeds: tuple[int, ...] = (0, 1, 2)
    pictures: bool = False


def figures(report: Report) -> dict[str, float]:
    """Return the metrics of the table in percent."""
    return {name: 100 * report[name] for name in METRICS}


def right_on_sheet(run: Path) -> int:
    """Return how many of the retrieved photos on the contact sheet are of the class of their query."""
    gallery = Gallery.open(run)
    paths = gallery.catalog.paths[:: max(1, len(gallery.catalog.paths) // QUERIES)][:QUERIES]
    return sum(bool(match.right) for path in paths for match in gallery.search(gallery.query(path), RETRIEVED))


def run_demo(seed: int, pictures: bool) -> dict[str, object]:
    """Run the demonstration with a seed in a temporary folder; returns its figures."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        show_demo(Path(folder), seed, Console(stderr=True))
        seconds = time.perf_counter() - start
        demo = Path(folder) / "run-1"
        if pictures:
            sheet = Image.open(demo / "sheet.png").convert("RGB")
            sheet.thumbnail((WIDTH, WIDTH))
            sheet.save(SHEET, quality=88)
        configs = sorted(demo.rglob("config.json"))
        runs = {name: next(c.parent for c in configs if slug(name) in c.parts[-2] + c.parts[-3]) for name in LOSSES}
        outcomes = {name: RunFolder(run).read_outcome() for name, run in runs.items()}
        return {
            "seconds": seconds,
            **{name: figures(report) for name, report in outcomes[LOSSES[0]].baselines},
            **{name: figures(outcome.report) for name, outcome in outcomes.items()},
            "right on the sheet": right_on_sheet(runs[LOSSES[0]]),
            "photos on the sheet": QUERIES * RETRIEVED,
        }


def main(options: Options) -> None:
    """Run, print and store."""
    seeds = {}
    for seed in options.seeds:
        seeds[str(seed)] = run_demo(seed, options.pictures and seed == options.seeds[0])
        print(seed, seeds[str(seed)], flush=True)
        write_result(FILE, {"about": about("timm"), "seeds": seeds})


if __name__ == "__main__":
    main(tyro.cli(Options))
