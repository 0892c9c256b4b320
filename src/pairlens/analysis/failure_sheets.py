"""Contact sheets of retrieval failures, each with its numbers as CSV, and all pictures of `pairlens inspect`."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from pairlens.analysis.embedding_map import MIN_PHOTOS, EmbeddingMap, write_map
from pairlens.analysis.failure_cases import Confusion, Hub, Searched, confused_classes, hubs, photo, worst_queries
from pairlens.analysis.inspection import Inspection
from pairlens.analysis.model_figures import draw_epochs, draw_similarities
from pairlens.core.files import make_folder, write_picture, write_text
from pairlens.core.table import Table
from pairlens.data.catalog import Catalog
from pairlens.experiments.run_folder import RunFolder, open_run
from pairlens.plotting.contact_sheet import PAPER, RIGHT, UNKNOWN, WRONG, Tile, tile_sheet
from pairlens.plotting.style import Picture

ROWS, COLUMNS = 6, 6


def write_sheets(searched: Searched, folder: Path) -> list[Picture]:
    """Write worst_queries, confused_classes and hubs, each as PNG with its numbers as CSV; returns the pictures."""
    make_folder(folder)
    return [_write_worst_queries(searched, folder), _write_confused(searched, folder), _write_hubs(searched, folder)]


def _write_worst_queries(searched: Searched, folder: Path) -> Picture:
    retrieval = searched.retrieval
    worst = worst_queries(retrieval, ROWS)
    shown = range(min(COLUMNS, retrieval.neighbors.shape[1]))
    sheet = []
    for one in worst:
        note = f"query: {one.hits} of {one.relevant} found"
        query_tile = Tile(photo(searched.queries, one.query), note, _class_of_query(searched, one.query))
        sheet.append([query_tile, *(_neighbor_tile(searched, one.query, rank) for rank in shown)])
    title = "The queries that find least of their class, at most one per class"
    columns = ("query", "average_precision", "hits", "relevant")
    paths = [searched.queries.paths[one.query] for one in worst]
    rows = [
        (path, str(one.average_precision), str(one.hits), str(one.relevant))
        for path, one in zip(paths, worst, strict=True)
    ]
    file = _write(folder / "worst_queries", sheet, Table(title, columns, rows))
    listed = "; ".join(f"{path}: {one.hits} of {one.relevant}" for path, one in zip(paths, worst, strict=True))
    return Picture(file, title + ", with their nearest photos.", f"Queries and hits: {listed}")


def _class_of_query(searched: Searched, query: int) -> str:
    return searched.queries.class_names[int(searched.retrieval.labels[query])]


def _neighbor_tile(searched: Searched, query: int, rank: int) -> Tile:
    item = int(searched.retrieval.neighbors[query, rank])
    label = int(searched.retrieval.neighbor_labels[query, rank])
    is_hit = bool(searched.retrieval.hits[query, rank])
    # The verdict is in words as well as in colour, for readers who cannot tell green from red.
    note = f"{rank + 1}   {'correct' if is_hit else 'wrong'}"
    return Tile(photo(searched.gallery, item), note, searched.gallery.class_names[label], RIGHT if is_hit else WRONG)


def _write_confused(searched: Searched, folder: Path) -> Picture:
    pairs = confused_classes(searched.retrieval, ROWS)
    names = searched.queries.class_names
    title = "The classes that are most often retrieved for each other"
    rows = [(names[pair.first], names[pair.second], str(pair.share)) for pair in pairs]
    sheet = [_confusion_row(searched, pair) for pair in pairs]
    table = Table(title, ("first", "second", "share"), rows)
    file = _write(folder / "confused_classes", sheet, table, set_apart=COLUMNS // 2)
    listed = "; ".join(f"{names[pair.first]} and {names[pair.second]}: {100 * pair.share:.0f} %" for pair in pairs)
    return Picture(
        file,
        f"{title}. The percentage: of the first R neighbours of both classes' queries, how many have the other class; R is "
        "the number of photos that a query should find.",
        listed or "No class is retrieved for another one.",
    )


def _confusion_row(searched: Searched, pair: Confusion) -> list[Tile]:
    note = f"{100 * pair.share:.0f} % of their neighbours"
    return [*_class_tiles(searched.queries, pair.first, note), *_class_tiles(searched.queries, pair.second, note)]


def _class_tiles(catalog: Catalog, label: int, note: str) -> list[Tile]:
    """Return the first photos of a class, with empty tiles if it has too few for half a row."""
    photos = (catalog.labels == label).nonzero().squeeze(1)[: COLUMNS // 2].tolist()
    # The first photos, not the most confused ones: the sheet is to show what the classes look like.
    tiles = [Tile(photo(catalog, index), note, catalog.class_names[label], UNKNOWN) for index in photos]
    return tiles + [_empty_tile()] * (COLUMNS // 2 - len(tiles))


def _empty_tile(note: str = "") -> Tile:
    return Tile(Image.new("RGB", (8, 8), PAPER), note, "")


def _write_hubs(searched: Searched, folder: Path) -> Picture:
    most_frequent = hubs(searched.retrieval, len(searched.gallery), ROWS)
    title = "Hubs: the photos among the 10 nearest of most queries, and queries of other classes that find them"
    rows = [(searched.gallery.paths[hub.item], str(hub.occurrences), str(hub.wrong)) for hub in most_frequent]
    sheet = [_hub_row(searched, hub) for hub in most_frequent]
    file = _write(folder / "hubs", sheet, Table(title, ("photo", "occurrences", "wrong"), rows))
    listed = "; ".join(f"{path}: {count}, {wrong} wrong" for path, count, wrong in rows)
    return Picture(file, title + ".", listed)


def _hub_row(searched: Searched, hub: Hub) -> list[Tile]:
    name = searched.gallery.class_names[int(searched.gallery.labels[hub.item])]
    note = f"near {hub.occurrences} queries, {hub.wrong} wrongly"
    queries = hub.queries[: COLUMNS - 1]
    return [
        Tile(photo(searched.gallery, hub.item), note, name, UNKNOWN),
        *(
            Tile(photo(searched.queries, q), "found by this query", _class_of_query(searched, q), WRONG)
            for q in queries
        ),
    ]


def _write(stem: Path, sheet: Sequence[Sequence[Tile]], table: Table, set_apart: int = 1) -> Path:
    """Write the numbers as CSV and the sheet as PNG; returns the PNG."""
    write_text(stem.with_suffix(".csv"), table.csv())
    # A model without failures has an empty table, and a sheet that says so.
    file = stem.with_suffix(".png")
    write_picture(file, tile_sheet(sheet or [[_empty_tile("none")]], table.title, set_apart))
    return file


def write_summary_pictures(run: Path, folder: Path) -> list[Path]:
    """Write the pictures that a tracker shows of a run: the embedding map, if there are enough photos, and worst queries.

    Args:
        run: the folder of a run.
        folder: where the pictures are written, which exists.

    Returns:
        The PNG files.
    """
    searched = Searched.open(open_run(run))
    pictures = [_write_worst_queries(searched, folder)]
    if len(searched.queries) >= MIN_PHOTOS and searched.queries.shows_photos:
        pictures.append(write_map(searched, folder)[0])
    return [picture.file for picture in pictures]


def write_pictures_of(
    inspection: Inspection, run: Path, folder: Path, data_path: Path | None = None
) -> tuple[list[Picture], EmbeddingMap | None]:
    """Write all pictures of a run into a folder: histograms, epochs, embedding map, sheets of failures.

    Returns:
        The pictures, and the embedding map; None if there are too few photos for a map.

    Raises:
        ValueError: if the run's photos have been prepared again since.
    """
    opened = RunFolder(run).open(data_path)
    searched = Searched.open(opened)
    pictures = [draw_similarities(inspection, folder / "similarities.svg")]
    rows = opened.outcome.rows
    # A curve needs two epochs that were measured.
    if sum(row.unseen is not None for row in rows) > 1:
        pictures.append(draw_epochs(rows, folder / "analysis.svg"))
    layout = None
    if len(searched.queries) >= MIN_PHOTOS and searched.queries.shows_photos:
        picture, layout = write_map(searched, folder)
        pictures.append(picture)
    return [*pictures, *write_sheets(searched, folder)], layout
