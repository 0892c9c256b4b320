"""The commands that look at a run: `pairlens evaluate | query | inspect | report`."""

from pathlib import Path
from typing import Literal

import tyro

from pairlens.analysis.failure_sheets import write_pictures_of
from pairlens.analysis.inspection import inspect_run, write_inspection
from pairlens.cli.console import Display, open_console, say
from pairlens.cli.tables import inspection_table, report_table
from pairlens.experiments.run import evaluate_run
from pairlens.experiments.run_folder import RunFolder
from pairlens.neighbors.approximate import IndexName
from pairlens.report.write import write_report
from pairlens.retrieval.gallery import Gallery
from pairlens.retrieval.match_pictures import write_pictures


def evaluate(
    run: tyro.conf.Positional[Path],
    recalls: tuple[int, ...] | None = None,
    data_path: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    index: IndexName = "exact",
) -> None:
    """Embed the test photos of a run with its kept model again, write its gallery anew, and report.

    Args:
        run: the folder of a run.
        recalls: the K of Recall@K and Precision@K, such as 1,10,100; by default the run's own.
        data_path: folder of the prepared data sets, if they have moved since.
        device: where to embed; auto takes a GPU if there is one.
        index: how to search; ivf and hnsw are for a million photos and more, and what they miss is measured and printed.
    """
    place = RunFolder(run)
    place.experiment()
    outcome = place.read_outcome()
    with Display(open_console(), 0) as display:
        report = evaluate_run(run, recalls, data_path=data_path, device=device, progress=display.watch, index=index)
    open_console().print(report_table([("trained", report)], f"{run}: {outcome.selection}"))
    for line in (report.approximation, *report.metrics):
        if line is not None:
            say(str(line))


def query(
    run: tyro.conf.Positional[Path],
    query_img_name: str | None = None,
    retrieval_num: int = 8,
    query_class: str | None = None,
    data_path: Path | None = None,
    out: Path = Path("results"),
    index: IndexName = "exact",
) -> None:
    """Look up the photos of a run's gallery that are nearest to a photo, and write them as pictures.

    Args:
        run: the folder of a run.
        query_img_name: any picture file, or the key of a photo in the data set; by default the first test photo.
        retrieval_num: how many photos to retrieve.
        query_class: the class of the query, if it is known and the file is not a photo of the data set.
        data_path: folder of the prepared data sets, if they have moved since.
        out: where to write the pictures, in a folder named after the query.
        index: how to search; ivf and hnsw are approximate, and what they miss is measured and printed.
    """
    gallery = Gallery.open(run, data_path, index)
    if query_class is not None and query_img_name is None:
        raise ValueError("--query_class is the class of a picture; give that as --query_img_name")
    photo = gallery.first_query() if query_img_name is None else gallery.query(query_img_name, query_class)
    matches = gallery.search(photo, retrieval_num)
    files = write_pictures(photo, matches, out / photo.name)
    approximation = gallery.approximation(retrieval_num)
    if approximation is not None:
        say(str(approximation))
    say(f"query  {photo.name}  ({photo.class_name or 'class unknown'})")
    if photo.class_name is not None and not gallery.holds(photo.class_name):
        say("note   the photos that are searched hold none of this class, so none can be right")
    for match in matches:
        verdict = {True: "right", False: "wrong", None: "class of the query unknown"}[match.right]
        say(f"{match.rank:5}  {match.distance:.4f}  {verdict}  {match.class_name}  {match.path}")
    say(f"pictures: {files[-1]} and {len(files) - 1} others beside it")


def inspect(
    run: tyro.conf.Positional[Path],
    out: Path | None = None,
    data_path: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Show the shape of a trained model's embeddings: classes it was trained on beside classes it has never seen.

    Args:
        run: the folder of a run.
        out: where to write tables, histograms, the map and the sheets of mistakes; by default the folder `inspection` of
            the run.
        data_path: folder of the prepared data sets, if they have moved since.
        device: where to embed; auto takes a GPU if there is one.
    """
    with Display(open_console(), 0) as display:
        found = inspect_run(run, data_path, device, display.watch)
    open_console().print(inspection_table(found, str(run)))
    if found.gradient_cosine is not None:
        say(f"gradient cosine of ranking and auxiliary loss in the kept epoch: {found.gradient_cosine:.3f}")
    folder = out or run / "inspection"
    tables = write_inspection(found, folder)
    pictures, layout = write_pictures_of(found, run, folder, data_path)
    if layout is not None:
        say(f"trustworthiness of the map: {layout.trustworthiness:.3f}")
    for file in (*tables, *(picture.file for picture in pictures)):
        say(str(file))


def report(folder: tyro.conf.Positional[Path], out: Path | None = None, data_path: Path | None = None) -> None:
    """Write one page about a run or a comparison: the verdict, tables, figures, retrieval sheets, configuration.

    Args:
        folder: of a run, or of a comparison.
        out: the HTML file; by default report.html in the folder.
        data_path: folder of the prepared data sets, if they have moved since.
    """
    file, missing = write_report(folder, out, data_path)
    if missing:
        say(f"left out what needs the photos: {missing}; say where they are with --data_path")
    say(f"report: {file}")
