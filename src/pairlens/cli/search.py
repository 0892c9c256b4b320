"""The commands `pairlens index | search`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from pairlens.cli.collection_options import open_collection, parse_region, path_words, say_json
from pairlens.cli.interruption import say_how_to_go_on
from pairlens.cli.photo_progress import PhotoProgress
from pairlens.cli.terminal import open_console, say
from pairlens.collection.collection import Collection
from pairlens.collection.filters import parse_filter
from pairlens.collection.ingested import Removal
from pairlens.collection.location import exists
from pairlens.collection.search import SearchResult, plain_result
from pairlens.collection.store import SearchMode
from pairlens.core.files import check_not_linked, make_folder, write_picture, write_text
from pairlens.core.table import csv_text
from pairlens.data.account import reasons_by_kind

if TYPE_CHECKING:
    from pairlens.collection.collection_model import CollectionModel

RESULTS = Path("results")
_REASONS = 8


def index(  # noqa: PLR0913 (the parameters are the options of the command)
    photos: tyro.conf.Positional[tuple[Path, ...]],
    to: str,
    model: str | None = None,
    post: tuple[Literal["whiten"], ...] = (),
    reduce: int | None = None,
    labels: str = "auto",
    metadata: Path | None = None,
    sync: bool = False,
    yes: bool = False,
    follow_links: bool = False,
    engine: Literal["threads", "ray"] = "threads",
    workers: int | None = None,
    wait: float = 30.0,
    refused: Path | None = None,
) -> None:
    """Make photos searchable: embed them and put them into a collection, which is made if there is none.

    Photos that are in the collection already are not embedded again, so the same command goes on after an interruption.

    Args:
        photos: folders, picture files, and tables (.csv, .parquet) with the columns path, label, x_1, y_1, x_2, y_2 and
            further ones, which become metadata.
        to: the folder of the collection, or postgresql://user@host/database?collection=NAME.
        model: the folder of a run, an ONNX file or the name of a backbone; by default the best backbone whose weights are
            installed, as it comes. A collection that exists has its model already.
        post: whiten divides each principal component of the vectors by its standard deviation, fitted to the training photos
            of the run that --model names; `pairlens collection migrate NAME --post whiten` fits it to the collection.
        reduce: how many principal components of the vectors are kept, fitted in the same way.
        labels: auto, folders, none, or a table with the columns path and label.
        metadata: a table whose column path names the photos; its other columns are stored with them.
        sync: also remove the photos that are gone from the folders.
        yes: remove more than a tenth of the photos without asking.
        follow_links: follow links that lead out of a folder.
        engine: threads reads and embeds on this machine; ray on a cluster of many.
        workers: number of threads, or of Ray's processes, that read and embed photos; by default one for each core.
        wait: seconds to wait for another process that writes into the collection.
        refused: a CSV file for the photos that were refused or left out, each with its reason.
    """
    missing = [str(place) for place in photos if not place.exists()]
    if missing or not photos:
        # Said before an empty collection is made.
        raise FileNotFoundError(
            f"{missing[0]} does not exist" if missing else "nothing to index; give folders or photos"
        )
    collection, made = _open_or_make(to, model, bool(post), reduce, wait)
    with collection:
        if made:
            say(f"made {collection.name}; its model is {collection.model.name}")
        before = len(collection)
        resume = f"interrupted; {collection.name} has {{}} photos. Give the same command again to go on"
        with (
            say_how_to_go_on(lambda: resume.format(f"{len(collection):,}")),
            PhotoProgress(open_console(), "indexing") as progress,
        ):
            done = collection.add(
                list(photos),
                labels=labels,
                metadata=metadata,
                sync=sync,
                confirm=_confirmed if not yes else lambda removal: True,
                follow_links=follow_links,
                workers=workers,
                engine=engine,
                progress=progress,
            )
        say(done.labels_from)
        for line in reasons_by_kind((*done.refused, *done.left_out))[:_REASONS]:
            say(f"  {line}")
        say(done.sentence())
        if refused is not None:
            groups = (("refused", done.refused), ("left out", done.left_out))
            rows = [(one.path, one.reason, outcome, one.kind) for outcome, group in groups for one in group]
            write_text(refused, csv_text([("path", "reason", "outcome", "kind"), *rows]))
            say(f"reasons: {refused}")
        rate = done.added / done.seconds if done.seconds else 0.0
        say(f"{collection.name}: {len(collection):,} photos ({before:,} before), {rate:.1f} added per second")
        say(f"search it: pairlens search {to} PHOTO")


def _open_or_make(to: str, model: str | None, whiten: bool, reduce: int | None, wait: float) -> tuple[Collection, bool]:
    location = to if "://" in to else Path(to)
    if not exists(location):
        return Collection.create(location, _model_of(model, whiten, reduce), wait=wait), True
    collection = Collection.open(location, wait=wait)
    if not collection.store.models():
        # It was made by an indexing that was interrupted at once, or for vectors from elsewhere that never came.
        from pairlens.collection.collection_model import as_model

        collection.start(as_model(_model_of(model, whiten, reduce)))
    elif whiten or reduce is not None:
        from pairlens.collection.processed_model import is_of_run

        if model is None or not is_of_run(collection.model, model, whiten, reduce):
            raise ValueError(
                f"{collection.name} has another model, {collection.model.name}; leave out --model, --post and --reduce, or "
                f"move the collection with pairlens collection migrate {to}"
            )
    elif model is not None:
        from pairlens.collection.collection_model import open_model

        given = open_model(model)
        if given.fingerprint != collection.active.fingerprint:
            raise ValueError(
                f"{collection.name} has another model, {collection.model.name}; leave --model out, or move the collection "
                f"to the new one with pairlens collection migrate {to} {model}"
            )
    return collection, False


def _model_of(model: str | None, whiten: bool, reduce: int | None) -> "str | CollectionModel | None":
    if not whiten and reduce is None:
        return model
    from pairlens.collection.processed_model import model_of_run

    return model_of_run(model or "the default model", whiten, reduce)


def _confirmed(removal: Removal) -> bool:
    """Ask on a terminal whether photos are to be removed; without one, the answer is no."""
    import sys

    if not sys.stdin.isatty():
        return False
    say(removal.sentence())
    sys.stdout.write(f"Remove these {len(removal.ids):,} photos from the collection? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def search(  # noqa: PLR0913 (the parameters are the options of the command)
    name: tyro.conf.Positional[str],
    photos: tyro.conf.Positional[tuple[str, ...]],
    k: int = 10,
    region: str | None = None,
    where: tuple[str, ...] = (),
    unlike: Annotated[tuple[str, ...], tyro.conf.arg(name="not")] = (),
    index: SearchMode = "auto",
    group: bool = False,
    rate: float | None = None,
    expand: int = 0,
    explain: bool = False,
    out: Path | None = None,
    json: bool = False,
    wait: float = 30.0,
) -> None:
    """Find the photos of a collection that are most similar to a photo, and say whether it shows the same at all.

    Args:
        name: the folder of the collection, or the address of its PostgreSQL database.
        photos: picture files, or ids or paths of photos in the collection; of several the mean is searched for.
        k: number of results.
        region: x,y,width,height, the part of the photo that is searched for, in pixels.
        where: filters, all of which must hold, such as label=dress,skirt price=3..10 path=cat/.
        unlike: photos that the results should not look like.
        index: exact searches all photos; auto may use an index in large collections, whose recall is measured and printed.
        group: collapse near-duplicates into one result.
        rate: false accept rate of the verdict, one of those of the calibration.
        expand: how many of the nearest photos are mixed into the query before it is searched once more (query expansion, 10
            in most publications); there is no verdict then.
        explain: draw for each result which places of both photos make up the score.
        out: folder of the contact sheet and the photos; by default results/NAME-OF-THE-PHOTO.
        json: print the results as JSON for programs, and write pictures only if --out is given.
        wait: seconds to wait for another process.
    """
    if not photos:
        raise ValueError("search needs a photo, as in pairlens search NAME PHOTO")
    if explain and expand:
        raise ValueError("--explain shows why photos match one photo, but --expand mixes others into it; leave one out")
    if explain and json and out is None:
        raise ValueError("--explain draws pictures, which --json writes only with --out FOLDER; give it too")
    with open_collection(name, wait) as collection:
        result = collection.search(
            list(photos),
            k,
            where=parse_filter(where),
            unlike=list(unlike),
            region=parse_region(region),
            index=index,
            group=group,
            rate=rate,
            expand=expand,
        )
        if json:
            say_json(plain_result(result))
        else:
            _say_result(photos, result)
        if out is None and not json:
            # Not typed, so it must not be a link that somebody has put into the current folder.
            check_not_linked(RESULTS, below=Path())
            out = RESULTS / (Path(photos[0]).stem.strip(". ")[:120] or "photo")
        if out is not None:
            files = _write_pictures(collection, photos[0], region, result, out, explain)
            if not json:
                say(f"pictures: {files[-1]} and {len(files) - 1} more files in its folder")


def _say_result(photos: tuple[str, ...], result: SearchResult) -> None:
    from pairlens.collection.result_pictures import verdict_sentence

    say(f"query  {', '.join(photos)}")
    say(f"verdict  {verdict_sentence(result)}")
    recall = result.recall
    if not recall.is_exact:
        say(
            f"index  finds {100 * recall.recall:.1f} % of the exact results (95 % interval {100 * recall.low:.1f} to "
            f"{100 * recall.high:.1f} %, measured on {recall.queries:,} photos); --index exact finds all"
        )
    for match in result:
        sure = "" if match.probability is None else f"  {100 * match.probability:5.1f} %"
        copies = f"  +{len(match.copies)} like it" if match.copies else ""
        say(
            f"{match.rank:5}  {match.score:.4f}{sure}  {match.id:>7}  {match.label or '-'}  {path_words(match.item)}{copies}"
        )
    if not len(result):
        say("no photo of the collection fits the filter")


def _write_pictures(
    collection: Collection, photo: str, region: str | None, result: SearchResult, out: Path, explain: bool
) -> list[Path]:
    from pairlens.collection.result_pictures import query_picture, write_result_pictures

    picture = query_picture(collection.store, photo, parse_region(region))
    explanations = []
    if explain:
        from pairlens.collection.explanation_figure import draw_explanation

        make_folder(out, below=out.parent)
        for old in out.glob("explanation_*.png"):
            old.unlink()
        for match in result:
            explanations.append(out / f"explanation_{match.rank:03}.png")
            write_picture(explanations[-1], draw_explanation(match.explain(), (Path(photo).name, match.path)))
    return [*explanations, *write_result_pictures(picture, result, out)]
