"""The last part of the demonstration: the test photos become a collection, and photos that it does not hold are searched."""

from pathlib import Path

from pairlens.collection.collection import Collection
from pairlens.collection.result_pictures import result_sheet, verdict_sentence
from pairlens.core.files import write_picture
from pairlens.core.images import load_image
from pairlens.retrieval.gallery import Gallery

COLLECTION, SHEET = "collection", "search.png"
# One photo in ten is kept out of the collection, so that it can be searched for.
KEPT_OUT = 10
RESULTS = 11


def make_demo_collection(run: Path, folder: Path) -> list[str]:
    """Index the test photos of a run, search for one that was kept out, draw what is found; returns what is to be said.

    Args:
        run: the folder of a run, whose model embeds the photos.
        folder: where the collection and the picture of the search are written.
    """
    catalog = Gallery.open(run).catalog
    inside = [row for row in range(len(catalog)) if row % KEPT_OUT]
    names = [catalog.class_names[label] for label in catalog.labels.tolist()]
    with Collection.create(folder / COLLECTION, run) as collection:
        done = collection.add([bytes(catalog.jpeg(row)) for row in inside], labels=[names[row] for row in inside])
        calibrated = _calibrated(collection)
        query = bytes(catalog.jpeg(0))
        result = collection.search(query, k=RESULTS)
        write_picture(folder / SHEET, result_sheet(load_image(query), result))
        right = sum(match.label == names[0] for match in result)
    made = f"Collection: {done.added:,} test photos are searchable in {folder / COLLECTION}. {calibrated}"
    found = (
        f"Searched for a photo of {names[0]} that the collection does not hold: {right} of {RESULTS} results show the same "
        f"model. {verdict_sentence(result)}"
    )
    return [made, found, f"What was found: {folder / SHEET}"]


def _calibrated(collection: Collection) -> str:
    try:
        calibration = collection.calibrate(rates=(0.05,))
    except ValueError as error:
        return f"No verdicts: {error}."
    return f'It was calibrated on {calibration.size.classes} models, so that it can say "no match".'
