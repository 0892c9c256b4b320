"""The commands about a run: `pairlens evaluate | query | inspect | report`."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from pairlens.cli.console import Display, show_table
from pairlens.cli.tables import inspection_table, report_table
from pairlens.cli.terminal import open_console, say
from pairlens.core.distributed import rank
from pairlens.core.files import check_not_linked, make_folder
from pairlens.evaluation.evaluate import Report, percent
from pairlens.evaluation.open_set import DIVISIONS, LEAST_CLASSES, OpenSetStats, open_set_stats
from pairlens.experiments.evaluate_run import add_baseline, evaluate_run
from pairlens.experiments.outcome import Outcome
from pairlens.experiments.post_processed import PostProcessing, post_process_run
from pairlens.experiments.run_folder import RunFolder
from pairlens.neighbors.approximate import IndexName
from pairlens.retrieval.gallery import Gallery
from pairlens.retrieval.match_pictures import write_pictures

RESULTS = Path("results")
INSPECTION = "inspection"
AS_IT_IS = PostProcessing()


def evaluate(
    run: tyro.conf.Positional[Path],
    recalls: tuple[int, ...] | None = None,
    metrics: tuple[str, ...] | None = None,
    data_path: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    index: IndexName = "exact",
    processing: PostProcessing = AS_IT_IS,
    all_metrics: Annotated[bool, tyro.conf.arg(name="all")] = False,
) -> None:
    """Embed the test photos of a run again with its saved model, write its gallery, and print the metrics.

    The backbone as it comes is measured too if the run lacks it, as runs of version 0.1 do.

    Args:
        run: the folder of a run.
        recalls: the K of Recall@K and Precision@K, such as 1,10,100; by default the run's own.
        metrics: further metrics, such as map_at_k mrr opis my_code.metrics:ndcg; by default the run's own, which must be
            given again if some are module:name.
        data_path: folder of the prepared data sets, if they have moved since the run.
        device: where to embed; auto takes a GPU if there is one.
        index: how to search; ivf and hnsw are for a million photos or more, and the share of results that they miss is
            measured and printed.
        processing: post-processing whose gain is measured beside; it changes no other figure.
        all_metrics: print every metric in the table, and not only R@K of the least and greatest K, P@K, MAP@R and the
            further metrics.
    """
    run_folder = RunFolder(run)
    # Both are read first: what is not a finished run is refused before anything is embedded.
    run_folder.experiment()
    outcome = run_folder.read_outcome()
    with Display(open_console(), 0) as display:
        report = evaluate_run(
            run, recalls, data_path=data_path, device=device, progress=display.watch, index=index, metrics=metrics
        )
        # Other metrics than those of the run cannot stand beside its figures.
        same = _same_metrics(outcome.untrained, report)
        outcome, reason = _with_baseline(run, outcome, metrics, data_path, device, display) if same else (outcome, "")
        processed = None
        if processing.name:
            processed = post_process_run(
                run, processing, recalls=recalls, data_path=data_path, device=device, progress=display.watch
            )
    if reason:
        say(f"note    the backbone as it comes is not measured: {reason}")
    # With other metrics than in training, the baselines have no such metrics to compare with.
    rows = outcome.baselines if same else []
    table = report_table([*rows, ("trained", report)], f"{run}: {outcome.selection}", all_metrics)
    show_table(open_console(), table)
    for metric in report.metrics:
        say(str(metric))
    # Under torchrun only this rank prints, and only it knows that the embeddings are written.
    if rank() == 0:
        test = run_folder.read_embeddings().queries
        say(_open_set_words(open_set_stats(test.vectors, test.labels)))
    if processed is not None:
        show_table(
            open_console(), report_table([(processed.name, processed.report)], f"{run}: post-processed", all_metrics)
        )
        say(f"against the same embeddings without it: {', '.join(map(str, processed.changes))}")


def _open_set_words(found: OpenSetStats | None) -> str:
    if found is None:
        return f"note    no open-set measures: they need {LEAST_CLASSES} test classes with 2 photos or more"
    measures = {name: (getattr(found, name), getattr(found, f"{name}_spread")) for name in ("auroc", "baks", "baus")}
    words = [f"{name.upper()} {percent(mean)} ± {percent(spread)} %" for name, (mean, spread) in measures.items()]
    return (
        f"open set: {', '.join(words)}, OPIS {percent(found.opis, 3)} % (mean ± standard deviation of {DIVISIONS} divisions "
        f"of {found.divided_classes} classes; docs/analysis.md says how)"
    )


def _with_baseline(
    run: Path,
    outcome: Outcome,
    metrics: tuple[str, ...] | None,
    data_path: Path | None,
    device: Literal["auto", "cpu", "cuda"],
    display: Display,
) -> tuple[Outcome, str]:
    """Return the outcome with the baseline, measured if the run lacks it, and why it could not be measured."""
    try:
        return add_baseline(run, metrics=metrics, data_path=data_path, device=device, progress=display.watch), ""
    except ValueError as error:
        # The weights that the run started from may not exist any more; the evaluation itself does not need them.
        return outcome, "" if outcome.baseline is not None else str(error)


def _same_metrics(first: Report, second: Report) -> bool:
    return [metric.name for metric in first.metrics] == [metric.name for metric in second.metrics]


def query(
    run: tyro.conf.Positional[Path],
    query_img_name: str | None = None,
    retrieval_num: int = 8,
    query_class: str | None = None,
    data_path: Path | None = None,
    out: Path = RESULTS,
    index: IndexName = "exact",
) -> None:
    """Find the photos of a run's gallery that are nearest to a photo, and write them as pictures.

    Args:
        run: the folder of a run.
        query_img_name: any picture file, or the key of a photo in the data set; by default the first test photo.
        retrieval_num: how many photos to retrieve.
        query_class: the class of the query, if it is known and the file is not a photo of the data set.
        data_path: folder of the prepared data sets, if they have moved since the run.
        out: where to write the pictures, in a folder named after the query.
        index: how to search; ivf and hnsw are approximate, and the share of results that they miss is measured and printed.
    """
    if out == RESULTS:
        # Not typed, so it must not be a link that somebody has put into the current folder.
        check_not_linked(out, below=Path())
    gallery = Gallery.open(run, data_path, index)
    if query_class is not None and query_img_name is None:
        raise ValueError("--query_class is the class of a picture file; give the file as --query_img_name")
    photo = gallery.first_query() if query_img_name is None else gallery.query(query_img_name, query_class)
    matches = gallery.search(photo, retrieval_num)
    files = write_pictures(photo, matches, out / photo.name)
    approximation = gallery.approximation(retrieval_num)
    if approximation is not None:
        say(str(approximation))
    say(f"query  {photo.name}  ({photo.class_name or 'class unknown'})")
    if photo.class_name is not None and not gallery.holds(photo.class_name):
        say("note   the gallery has no photo of this class, so no result can be correct")
    for match in matches:
        verdict = {True: "correct", False: "wrong", None: "class of the query unknown"}[match.right]
        say(f"{match.rank:5}  {match.distance:.4f}  {verdict}  {match.class_name}  {match.path}")
    say(f"pictures: {files[-1]} and {len(files) - 1} more files in its folder")


def inspect(
    run: tyro.conf.Positional[Path],
    out: Path | None = None,
    data_path: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Show statistics of a trained model's embeddings, of classes it was trained on and of unseen classes.

    Args:
        run: the folder of a run.
        out: where to write tables, histograms, the map and the contact sheets of failures; by default the folder
            `inspection` of the run.
        data_path: folder of the prepared data sets, if they have moved since the run.
        device: where to embed; auto takes a GPU if there is one.
    """
    # Imported here, because the figures need Matplotlib, which `query` does not wait for.
    from pairlens.analysis.failure_sheets import write_pictures_of
    from pairlens.analysis.inspection import inspect_run, write_inspection

    # What is no run is refused before a folder is made in it.
    RunFolder(run).experiment()
    # Made first, because the photos are embedded for nothing if it cannot be written.
    folder = make_folder(out or run / INSPECTION, below=run if out is None else out)
    with Display(open_console(), 0) as display:
        inspection = inspect_run(run, data_path, device, display.watch)
    show_table(open_console(), inspection_table(inspection, str(run)))
    if inspection.gradient_cosine is not None:
        say(
            f"cosine between the gradients of the pairwise and the auxiliary loss, in the selected epoch: "
            f"{inspection.gradient_cosine:.3f}"
        )
    tables = write_inspection(inspection, folder)
    pictures, layout = write_pictures_of(inspection, run, folder, data_path)
    if layout is not None:
        say(f"trustworthiness of the map: {layout.trustworthiness:.3f}")
    for file in (*tables, *(picture.file for picture in pictures)):
        say(str(file))


def report(
    folder: tyro.conf.Positional[Path],
    out: Path | None = None,
    data_path: Path | None = None,
    trust: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
) -> None:
    """Write one page about a run or a comparison: the verdict, tables, typical queries, failures, figures, configuration.

    Args:
        folder: the folder of a run or of a comparison.
        out: the HTML file; by default report.html in the folder.
        data_path: folder of the prepared data sets, if they have moved since the run.
        trust: a module such as my_code.losses that may be imported to draw and audit a loss of your own; this runs its
            code.
    """
    from pairlens.report.write import write_report

    file, missing = write_report(folder, out, data_path, trust=trust)
    if missing:
        say(f"the parts that need the photos are left out: {missing}; give the folder of the data sets as --data_path")
    say(f"report: {file}")
