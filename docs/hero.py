"""The first picture of the README and the sample report, from a finished demonstration: `python docs/hero.py demo/run-1`.

Left: the verdict and the results of each loss beside those of the backbone as it comes and of the model before training.
Right: three queries with their eight nearest photos. The queries are chosen by a rule that does not look at the results: the
first photo of each of the first three test classes, in the order of the data set. Writes docs/images/hero.png and
docs/sample_report.html. Start it in the folder that holds the demonstration, with a relative path, because the report shows
the path.
"""

import textwrap
from dataclasses import dataclass
from pathlib import Path

import tyro
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont, ImageOps

from pairlens.cli.console import say
from pairlens.comparison.results import BenchmarkResult
from pairlens.comparison.statistics import measure
from pairlens.comparison.verdicts import headline
from pairlens.evaluation.evaluate import Report
from pairlens.experiments.run_folder import RunFolder
from pairlens.plotting.contact_sheet import RIGHT, SIDE, WRONG, draw_sign, resized
from pairlens.report.write import write_report
from pairlens.retrieval.gallery import Gallery, Match, Query

DOCS = Path(__file__).resolve().parent
LOSS = "circle"
METRICS = ("R@1", "MAP@R")
QUERIES, RETRIEVED = 3, 8
MAX_REPORT_BYTES = 1_900_000

WIDTH, HEIGHT, MARGIN = 1600, 690, 56
PAPER, INK, SOFT, LINE, ACCENT = "#ffffff", "#1b1f24", "#59616b", "#d9dde1", "#0067a3"
TEXT_WIDTH, COLUMNS = 520, (0, 290, 420)
SIGN_SIDE = 70
QUERY_SIDE, PHOTO_SIDE, GAP, ROW = 132, 88, 10, 180
PHOTOS_LEFT = WIDTH - MARGIN - QUERY_SIDE - RETRIEVED * (PHOTO_SIDE + GAP) - GAP


@dataclass(frozen=True)
class Options:
    """What to draw.

    Attributes:
        run: the folder of a finished demonstration, such as demo/run-1.
        picture: the picture of the README.
        report: the sample report.
    """

    run: tyro.conf.Positional[Path]
    picture: Path = DOCS / "images" / "hero.png"
    report: Path = DOCS / "sample_report.html"


def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return the font that comes with Matplotlib, so that the picture is the same on every machine."""
    properties = font_manager.FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
    return ImageFont.truetype(font_manager.findfont(properties), size)


def write(
    canvas: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, color: str, **style: bool
) -> None:
    """Write one line, its left end on the base line at a point."""
    canvas.text(at, text, color, font=font(size, style.get("bold", False)), anchor="ls")


def draw_verdict(canvas: ImageDraw.ImageDraw, result: BenchmarkResult) -> int:
    """Write what the picture is about, and the verdict; returns where the text ends."""
    write(canvas, (MARGIN, 84), "pairlens demo", 20, ACCENT, bold=True)
    size = 30
    letters = int(TEXT_WIDTH / (0.6 * size))
    top = 136
    for line in textwrap.wrap(headline(result) + ".", letters):
        write(canvas, (MARGIN, top), line, size, INK, bold=True)
        top += 42
    return top


def draw_table(canvas: ImageDraw.ImageDraw, top: int, reports: list[tuple[str, Report]]) -> None:
    """Write one row per report, each metric with its interval below it."""
    for left, name in zip(COLUMNS, ("percent, unseen models", *METRICS), strict=True):
        write(canvas, (MARGIN + left, top), name, 17, SOFT)
    best = max(reports, key=lambda row: row[1]["MAP@R"])
    for name, report in reports:
        canvas.line((MARGIN, top + 14, MARGIN + TEXT_WIDTH, top + 14), fill=LINE, width=2)
        top += 44
        is_best = name == best[0]
        write(canvas, (MARGIN, top), name, 23, INK, bold=is_best)
        for left, metric in zip(COLUMNS[1:], METRICS, strict=True):
            value = next(m for m in report.metrics if m.name == metric)
            write(canvas, (MARGIN + left, top), f"{100 * value.value:.1f}", 23, INK, bold=is_best)
            interval = f"{100 * value.low:.1f} to {100 * value.high:.1f}"
            write(canvas, (MARGIN + left, top + 23), interval, 15, SOFT)
        top += 20
    classes = reports[0][1].classes
    note = f"small: 95 % interval over the {classes} test classes; one seed"
    write(canvas, (MARGIN, HEIGHT - 34), note, 15, SOFT)


def small(picture: Image.Image, side: int, color: str) -> Image.Image:
    """Return a photo with a coloured border, and with its check mark or cross if the colour has one."""
    photo = resized(picture)
    ImageDraw.Draw(photo).rectangle((0, 0, SIDE - 1, SIDE - 1), outline=color, width=9)
    if color in (RIGHT, WRONG):
        # Larger than on a contact sheet, because the photo is reduced to less than half of its size.
        draw_sign(photo, color, SIGN_SIDE)
    # The last two bits of a photo are noise, which nobody sees and which takes half of the file.
    return ImageOps.posterize(photo.resize((side, side), Image.Resampling.LANCZOS), 6)


def draw_query(sheet: Image.Image, top: int, query: Query, matches: list[Match]) -> None:
    """Draw a query and its nearest photos in one row, with the number of correct ones below."""
    canvas = ImageDraw.Draw(sheet)
    sheet.paste(small(query.picture, QUERY_SIDE, INK), (PHOTOS_LEFT, top))
    left = PHOTOS_LEFT + QUERY_SIDE + 2 * GAP
    for match in matches:
        sheet.paste(small(match.picture, PHOTO_SIDE, RIGHT if match.right else WRONG), (left, top))
        left += PHOTO_SIDE + GAP
    correct = sum(bool(match.right) for match in matches)
    below = PHOTOS_LEFT + QUERY_SIDE + 2 * GAP
    write(canvas, (below, top + PHOTO_SIDE + 30), str(query.class_name), 18, INK, bold=True)
    write(canvas, (below, top + PHOTO_SIDE + 54), f"{correct} of the {len(matches)} nearest are correct", 16, SOFT)


def first_queries(gallery: Gallery) -> list[Query]:
    """Return the first photo of each of the first test classes, in the order of the data set."""
    labels = gallery.catalog.labels.tolist()
    first = {label: index for index, label in reversed(list(enumerate(labels)))}
    return [gallery.query(gallery.catalog.paths[index]) for index in sorted(first.values())[:QUERIES]]


def draw_hero(run: Path) -> Image.Image:
    """Return the picture of a finished demonstration."""
    (result,) = measure(run).fields
    outcomes = {loss.name: RunFolder(run / loss.runs[0]).read_outcome() for loss in result.losses}
    sheet = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    canvas = ImageDraw.Draw(sheet)
    end = draw_verdict(canvas, result)
    worst_first = [(name, outcome.report) for name, outcome in reversed(outcomes.items())]
    draw_table(canvas, end + 40, [*outcomes[LOSS].baselines, *worst_first])
    write(canvas, (PHOTOS_LEFT, 84), f"{LOSS}: query and its {RETRIEVED} nearest photos", 20, ACCENT, bold=True)
    gallery = Gallery.open(run / next(loss.runs[0] for loss in result.losses if loss.name == LOSS))
    for number, query in enumerate(first_queries(gallery)):
        draw_query(sheet, 112 + number * ROW, query, gallery.search(query, RETRIEVED))
    rule = f"queries: the first photo of the first {QUERIES} test classes, whatever the result"
    write(canvas, (PHOTOS_LEFT, HEIGHT - 34), rule, 15, SOFT)
    return sheet


def main(options: Options) -> None:
    """Write both files."""
    picture = draw_hero(options.run)
    picture.save(options.picture, optimize=True)
    write_report(options.run, options.report, max_bytes=MAX_REPORT_BYTES)
    for file in (options.picture, options.report):
        say(f"{file}: {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(tyro.cli(Options))
