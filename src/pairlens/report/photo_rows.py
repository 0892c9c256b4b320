"""Rows of photos on the report: typical queries, the worst queries, confused classes, hubs."""

from collections.abc import Sequence

from pairlens.analysis.failure_cases import Hub, Searched, confused_classes, hubs, photo, worst_queries
from pairlens.report.page import PhotoBlock, PhotoRow, PhotoTile

# Numbers of rows: few enough that a reader looks at each.
TYPICAL, FAILURES = 5, 3
# A row has a query and its nearest photos, or the photos of two classes.
NEAREST, PER_CLASS = 6, 3


def typical_queries(searched: Searched) -> PhotoBlock:
    """Return every n-th query with its nearest photos, so that neither good nor bad results are selected."""
    count = len(searched.queries)
    step = max(1, count // TYPICAL)
    # Data sets are ordered by class, so photos at equal distances are of different classes.
    chosen = range(0, count, step)[:TYPICAL]
    rows = [_query_row(searched, query) for query in chosen]
    caption = (
        f"One query (left) and its {len(rows[0].tiles) - 1} nearest photos per row: every {ordinal(step)} test photo in "
        "the order of the data set, whatever was found. ✓ has the class of the query, ✗ has another class."
    )
    return PhotoBlock(caption, rows, importance=6)


def worst_query_rows(searched: Searched) -> PhotoBlock:
    """Return the queries that find least of their class."""
    worst = worst_queries(searched.retrieval, FAILURES)
    rows = [_query_row(searched, one.query) for one in worst]
    caption = (
        "The queries with the lowest average precision, at most one per class. These are not typical: they show what the "
        "model cannot tell apart."
    )
    return PhotoBlock(caption, rows, importance=4)


def confused_class_rows(searched: Searched) -> PhotoBlock:
    """Return the pairs of classes whose photos are most often retrieved for each other."""
    names = searched.queries.class_names
    rows = []
    for pair in confused_classes(searched.retrieval, FAILURES):
        title = f"{names[pair.first]} and {names[pair.second]}: {100 * pair.share:.0f} % of their results"
        tiles = [*_class_tiles(searched, pair.first), *_class_tiles(searched, pair.second)]
        rows.append(PhotoRow(title, tiles, leading=PER_CLASS))
    caption = (
        "Pairs of classes that are most often retrieved for each other, with some photos of both. The percentage: of the "
        "first R results of all queries of both classes, how many have the other class; R is the number of photos that a "
        "query should find."
    )
    return PhotoBlock(caption if rows else "No class is retrieved for another one.", rows, importance=3)


def hub_rows(searched: Searched) -> PhotoBlock:
    """Return the photos that occur most often in the results, with queries that find them wrongly."""
    hub_photos = hubs(searched.retrieval, len(searched.gallery), FAILURES)
    caption = (
        "Hubs: the photos (left) that are among the 10 nearest of the most queries, and queries of other classes that "
        "find them."
    )
    return PhotoBlock(caption, [_hub_row(searched, hub) for hub in hub_photos], importance=2)


def _query_row(searched: Searched, query: int) -> PhotoRow:
    retrieval = searched.retrieval
    label = int(retrieval.labels[query])
    name = searched.queries.class_names[label]
    # (rank,): the neighbours of one query, the nearest first; the query itself is not among them.
    items = retrieval.neighbors[query, :NEAREST].tolist()
    item_labels = retrieval.neighbor_labels[query, :NEAREST].tolist()
    tiles = [
        PhotoTile(photo(searched.gallery, item), searched.gallery.class_names[other], f"result {rank}", other == label)
        for rank, (item, other) in enumerate(zip(items, item_labels, strict=True), 1)
    ]
    correct = sum(other == label for other in item_labels)
    title = f"{name}: {correct} of the {len(tiles)} nearest are correct"
    return PhotoRow(title, [PhotoTile(photo(searched.queries, query), name, "query"), *tiles])


def _class_tiles(searched: Searched, label: int) -> Sequence[PhotoTile]:
    photos = (searched.queries.labels == label).nonzero().squeeze(1)[:PER_CLASS].tolist()
    return [PhotoTile(photo(searched.queries, index), searched.queries.class_names[label]) for index in photos]


def _hub_row(searched: Searched, hub: Hub) -> PhotoRow:
    name = searched.gallery.class_names[int(searched.gallery.labels[hub.item])]
    first = PhotoTile(photo(searched.gallery, hub.item), name, "hub")
    # Only queries of another class are shown: for these the hub is a wrong result.
    tiles = [
        PhotoTile(photo(searched.queries, query), _class_of(searched, query), "query", is_correct=False)
        for query in hub.queries[:NEAREST]
    ]
    title = f"{name}: near {hub.occurrences} queries, {hub.wrong} of them of another class"
    return PhotoRow(title, [first, *tiles])


def _class_of(searched: Searched, query: int) -> str:
    return searched.queries.class_names[int(searched.retrieval.labels[query])]


def ordinal(number: int) -> str:
    """Return a number as an ordinal.

    >>> [ordinal(n) for n in (1, 2, 3, 11, 112, 192)]
    ['1st', '2nd', '3rd', '11th', '112th', '192nd']
    """
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
