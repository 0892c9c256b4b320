"""What a model's mistakes look like: the worst queries, the classes taken for each other, hubs, and the map of photos."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from pairlens.analysis.embedding_map import LEAST, EmbeddingMap, write_map
from pairlens.analysis.failure_cases import Searched, confused_classes, hubs, photo, worst_queries
from pairlens.analysis.inspection import Inspection
from pairlens.analysis.model_figures import draw_epochs, draw_similarities
from pairlens.core.files import write_text
from pairlens.data.catalog import Catalog
from pairlens.experiments.run_folder import RunFolder
from pairlens.plotting.contact_sheet import PAPER, RIGHT, UNKNOWN, WRONG, Tile, tile_sheet
from pairlens.plotting.style import Picture

ROWS, ACROSS = 6, 6


def write_sheets(searched: Searched, folder: Path) -> list[Picture]:
    """Write worst_queries, confused_classes and hubs, each as PNG with its numbers as CSV; returns the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_write_worst(searched, folder), _write_confused(searched, folder), _write_hubs(searched, folder)]


def _write_worst(s: Searched, folder: Path) -> Picture:
    worst = worst_queries(s.retrieval, ROWS)
    rows = []
    for one in worst:
        name = s.queries.class_names[int(s.retrieval.labels[one.query])]
        first = Tile(photo(s.queries, one.query), f"query: {one.hits} of {one.relevant} found", name)
        rows.append([first, *(_found(s, one.query, rank) for rank in range(min(ACROSS, s.retrieval.found.shape[1])))])
    table = [(s.queries.paths[w.query], w.average_precision, w.hits, w.relevant) for w in worst]
    title = "The queries that find least of their class, at most one a class"
    _write(folder / "worst_queries", rows, title, ("query", "average_precision", "hits", "relevant"), table)
    said = "; ".join(f"{t[0]}: {t[2]} of {t[3]}" for t in table)
    return Picture(folder / "worst_queries.png", title + ", with their nearest photos.", f"Queries and hits: {said}")


def _found(s: Searched, query: int, rank: int) -> Tile:
    item, label = int(s.retrieval.found[query, rank]), int(s.retrieval.found_labels[query, rank])
    right = label == int(s.retrieval.labels[query])
    return Tile(
        photo(s.gallery, item),
        f"{rank + 1}   {'right' if right else 'wrong'}",
        s.gallery.class_names[label],
        RIGHT if right else WRONG,
    )


def _write_confused(s: Searched, folder: Path) -> Picture:
    pairs = confused_classes(s.retrieval, ROWS)
    names = s.queries.class_names
    rows = []
    for pair in pairs:
        sides = [_photos_of(s.queries, label, ACROSS // 2) for label in (pair.first, pair.second)]
        note = f"{100 * pair.share:.0f} % of their neighbours"
        rows.append([*_tiles(sides[0], s, pair.first, note), *_tiles(sides[1], s, pair.second, note)])
    table = [(names[p.first], names[p.second], p.share) for p in pairs]
    title = "The classes most often taken for each other"
    _write(folder / "confused_classes", rows, title, ("first", "second", "share"), table, ACROSS // 2)
    said = "; ".join(f"{a} and {b}: {100 * share:.0f} %" for a, b, share in table)
    return Picture(
        folder / "confused_classes.png",
        f"{title}: of the first R neighbours of both classes' queries, the share that is of the other class.",
        said or "No class is taken for another.",
    )


def _photos_of(catalog: Catalog, label: int, count: int) -> list[int]:
    return (catalog.labels == label).nonzero().squeeze(1)[:count].tolist()


def _tiles(photos: Sequence[int], s: Searched, label: int, note: str) -> list[Tile]:
    name = s.queries.class_names[label]
    tiles = [Tile(photo(s.queries, i), note, name, UNKNOWN) for i in photos]
    blank = Image.new("RGB", (8, 8), PAPER)
    return [*tiles, *(Tile(blank, "", "") for _ in range(ACROSS // 2 - len(tiles)))]


def _write_hubs(s: Searched, folder: Path) -> Picture:
    found = hubs(s.retrieval, len(s.gallery), ROWS)
    rows = []
    for hub in found:
        label = int(s.gallery.labels[hub.item])
        note = f"near {hub.occurrences} queries, {hub.wrong} wrongly"
        first = Tile(photo(s.gallery, hub.item), note, s.gallery.class_names[label], UNKNOWN)
        rows.append([first, *(_misled(s, query) for query in hub.queries[: ACROSS - 1])])
    table = [(s.gallery.paths[h.item], h.occurrences, h.wrong) for h in found]
    title = "Hubs: the photos among the 10 nearest of most queries, and queries of other classes that find them"
    _write(folder / "hubs", rows, title, ("photo", "occurrences", "wrong"), table)
    said = "; ".join(f"{path}: {count}, {wrong} wrong" for path, count, wrong in table)
    return Picture(folder / "hubs.png", title + ".", said)


def _misled(s: Searched, query: int) -> Tile:
    name = s.queries.class_names[int(s.retrieval.labels[query])]
    return Tile(photo(s.queries, query), "found by this query", name, WRONG)


def _write(
    stem: Path, rows: Sequence[Sequence[Tile]], title: str, head: Sequence[str], table: Sequence[tuple], apart: int = 1
) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows([head, *table])
    write_text(stem.with_suffix(".csv"), buffer.getvalue())
    blank = [[Tile(Image.new("RGB", (8, 8), PAPER), "none", "")]]
    tile_sheet(rows or blank, title, apart).save(stem.with_suffix(".png"))


def write_pictures_of(
    inspection: Inspection, run: Path, folder: Path, data_path: Path | None = None
) -> tuple[list[Picture], EmbeddingMap | None]:
    """Write everything there is to see of a run into a folder: histograms, epochs, map, sheets of mistakes.

    The map is left out where there are too few photos for one.

    Raises:
        ValueError: if the run's photos were prepared anew since.
    """
    opened = RunFolder(run).open(data_path)
    searched = Searched.open(opened)
    pictures = [draw_similarities(inspection.similarities, folder / "similarities.svg")]
    rows = opened.outcome.rows
    if sum(row.unseen is not None for row in rows) > 1:
        pictures.append(draw_epochs(rows, folder / "analysis.svg"))
    layout = None
    if len(searched.queries) >= LEAST:
        picture, layout = write_map(searched, folder)
        pictures.append(picture)
    return [*pictures, *write_sheets(searched, folder)], layout
