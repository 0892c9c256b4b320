"""The calibration of a collection: learned from its labels or a run's held-out classes, and kept in its store."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pairlens.collection.calibration import Calibration
from pairlens.collection.collection_model import NoModelError, trained_classes
from pairlens.collection.store import Store
from pairlens.core.untrusted import parse_json

DOCUMENT = "calibration.json"


def read_calibration(contents: bytes | None, fingerprint: str) -> Calibration | None:
    """Return a stored calibration, None if there is none for this model.

    Raises:
        ValueError: if it is damaged or of a newer version.
    """
    if contents is None:
        return None
    try:
        calibration = Calibration.from_plain(parse_json(contents.decode("utf-8", "replace")), DOCUMENT)
    except ValueError as error:
        raise ValueError(
            f"the calibration is damaged or of a newer version ({error}); calibrate the collection again"
        ) from None
    return calibration if calibration.fingerprint == fingerprint else None


def write_calibration(store: Store, calibration: Calibration) -> None:
    """Keep a calibration in a store."""
    store.write_document(DOCUMENT, json.dumps(calibration.to_plain()).encode())


def drop_calibration(store: Store) -> None:
    """Remove the calibration of a store, because the model has changed."""
    store.remove_document(DOCUMENT)


def calibrate_collection(store: Store, rates: Sequence[float], seed: int = 0, run: Path | None = None) -> Calibration:
    """Learn the calibration of a collection, and keep it.

    Without a run, the labels of the collection are used by leaving classes out; labels that the model was trained on do not
    count. With a run, the classes that its training has held out are used; the run must have the model of the collection.

    Args:
        store: of the collection.
        rates: false accept rates, see `calibrate`.
        seed: of the divisions of the classes.
        run: the folder of a run.

    Raises:
        ValueError: if there are too few classes or photos, with the numbers, or the run has another model.
    """
    # Imported here, because it needs PyTorch, which a search by an ONNX model does not.
    from pairlens.collection.calibrate import calibrate

    models = store.models()
    if not models:
        raise ValueError(f"{store.name} has no photos yet, so there is nothing to calibrate with; index some first")
    fingerprint = models[0].fingerprint
    # Whether the items have labels decides which features a query has, wherever the calibration comes from.
    labelled = sum(count for label, count in store.labels().items() if label is not None) > 0
    vectors, labels = _held_out(run, fingerprint) if run is not None else _labelled_vectors(store, fingerprint)
    calibration = calibrate(vectors, labels, fingerprint, rates, seed, labelled)
    write_calibration(store, calibration)
    return calibration


def _labelled_vectors(store: Store, fingerprint: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors of the items whose label the model was not trained on, with numbers for the labels."""
    try:
        seen = trained_classes(store, fingerprint)
    except NoModelError:
        seen = frozenset()
    rows, names = store.label_array()
    usable = np.array([name is not None and name not in seen for name in names], bool)
    chosen = rows[usable[rows[:, 1]]] if len(rows) else rows
    if not len(chosen):
        trained = sum(name in seen for name in names)
        why = f"its {trained} labels are classes that the model was trained on" if trained else "it has no labels"
        raise ValueError(
            f"{store.name} cannot be calibrated: {why}; give a run with held-out classes as --run, or label photos"
        )
    return store.vectors(chosen[:, 0]), chosen[:, 1]


def _held_out(folder: Path, fingerprint: str) -> tuple[np.ndarray, np.ndarray]:
    from pairlens.collection.collection_model import run_model
    from pairlens.experiments.run_folder import RunFolder, open_run

    model = run_model(folder)
    if model.fingerprint != fingerprint:
        raise ValueError(
            f"the model of {folder} has the fingerprint {model.fingerprint}, but the collection speaks {fingerprint}; give "
            "the run whose model the collection has, or migrate to this one"
        )
    opened = open_run(folder)
    if opened.splits.seen_classes != "none":
        raise ValueError(f"{folder} was trained on the classes that it was tested on; calibrate with other classes")
    held_out = RunFolder(folder).read_embeddings()
    photos = held_out.queries if held_out.gallery is None else held_out.gallery
    return photos.vectors.float().numpy(), photos.labels.numpy()
