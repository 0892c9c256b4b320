"""A model of a collection whose vectors are whitened or reduced, fitted to the photos of its run or of the collection."""

from pathlib import Path

import numpy as np

from pairlens.collection.collection_model import CollectionModel, run_model
from pairlens.collection.store import Store
from pairlens.collection.vector_map import MAX_FITTED, fit_map, steps_in_words


def model_of_run(run: str | Path, whiten: bool, reduce: int | None) -> CollectionModel:
    """Return the model of a run with a map that is fitted to its training photos.

    Args:
        run: the folder of the run.
        whiten: whether each component gets unit variance.
        reduce: how many components are kept; None for all.

    Raises:
        ValueError: if it is no run, or has too few components.
        FileNotFoundError: if its data set is gone.
    """
    from pairlens.experiments.embed_photos import embed_photos
    from pairlens.experiments.run_folder import open_run

    folder = Path(run)
    if not folder.is_dir():
        raise ValueError(
            f"{run} is no folder of a run, whose training photos whitening is fitted to; index the photos without --post "
            "and --reduce, and then fit it to them with pairlens collection migrate NAME --post whiten"
        )
    model, opened = run_model(folder), open_run(folder)
    (train,) = embed_photos(opened, model.network, [opened.splits.train])
    return model.through(fit_map(train.vectors.numpy(), whiten, reduce))


def model_of_collection(store: Store, model: CollectionModel, whiten: bool, reduce: int | None) -> CollectionModel:
    """Return the active model of a collection with a map that is fitted to the vectors of the collection.

    Args:
        store: of the collection.
        model: its active model.
        whiten: whether each component gets unit variance.
        reduce: how many components are kept; None for all.

    Raises:
        ValueError: if the vectors are mapped already, or have too few components.
    """
    if model.mapped is not None:
        raise ValueError(
            f"{store.name} has vectors after {model.mapped.steps} already; go back first with pairlens collection migrate "
            "--back"
        )
    blocks = [vectors for _, vectors in store.vector_blocks()]
    if not blocks:
        raise ValueError(f"{store.name} has no vectors to fit to; index photos first")
    count = sum(len(block) for block in blocks)
    # Every n-th vector of each block, so that no part of a large collection is left out.
    vectors = np.concatenate([block[:: -(-count // MAX_FITTED)] for block in blocks])
    return model.through(fit_map(vectors.astype(np.float32), whiten, reduce))


def is_of_run(active: CollectionModel, run: str | Path, whiten: bool, reduce: int | None) -> bool:
    """Return whether an active model is that of a run after these steps, whatever photos the map was fitted to."""
    mapped = active.mapped
    if mapped is None or mapped.steps != steps_in_words(whiten, reduce):
        return False
    return active.fingerprint == f"{run_model(Path(run)).fingerprint}-{mapped.digest}"
