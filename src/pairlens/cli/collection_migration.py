"""The command `pairlens collection migrate`, also called `pairlens migrate`: a better model for a collection."""

from pathlib import Path
from typing import Literal

import tyro

from pairlens.cli.collection_options import Name, open_collection
from pairlens.cli.interruption import say_how_to_go_on
from pairlens.cli.photo_progress import PhotoProgress
from pairlens.cli.terminal import open_console, say
from pairlens.collection.calibrated_verdict import NOT_CALIBRATED
from pairlens.collection.collection import Collection
from pairlens.collection.collection_model import CollectionModel
from pairlens.collection.processed_model import model_of_collection, model_of_run
from pairlens.collection.stored_calibration import DOCUMENT
from pairlens.core.files import make_folder, write_picture


def migrate(
    name: Name,
    model: tyro.conf.Positional[str | None] = None,
    post: tuple[Literal["whiten"], ...] = (),
    reduce: int | None = None,
    back: bool = False,
    out: Path | None = None,
    workers: int | None = None,
    wait: float = 30.0,
) -> None:
    """Embed a collection again with another model; searches answer from the old vectors until one change-over.

    Args:
        name: the folder of the collection, or the address of its PostgreSQL database.
        model: the folder of a run, an ONNX file or the name of a backbone; with --post or --reduce the folder of a run, or
            nothing for the model that the collection has.
        post: whiten divides each principal component of the vectors by its standard deviation. It is fitted to the training
            photos of the run, or, without a model, to the vectors of the collection.
        reduce: how many principal components are kept.
        back: return to the model before the last migration.
        out: a folder for a contact sheet of the photos whose nearest photos changed most.
        workers: number of threads that read and embed photos; by default one for each core.
        wait: seconds to wait for another process.
    """
    is_processed = bool(post) or reduce is not None
    if back == (model is not None or is_processed):
        raise ValueError("migrate needs either a model or --back, as in pairlens collection migrate NAME runs/mine")
    with open_collection(name, wait) as collection:
        was_calibrated = DOCUMENT in collection.store.documents()
        if back:
            say(_returned(collection, name, was_calibrated))
            return
        if model is not None and (Path(model) / "outcome.json").is_file():
            _warn_without_gain(Path(model))
        with (
            say_how_to_go_on(lambda: "interrupted; searches answer as before. Give the same command again to go on"),
            PhotoProgress(open_console(), "embedding") as progress,
        ):
            target = _target(collection, model, bool(post), reduce)
            migrated = collection.migrate(target, workers=workers, progress=progress)
        say(migrated.sentence())
        if out is not None and migrated.examples:
            from pairlens.collection.result_pictures import change_sheet

            sheet = make_folder(out) / "changes.png"
            write_picture(sheet, change_sheet(collection.store, migrated.examples))
            say(f"the photos that changed most: {sheet}")
        say(_calibrated_again(collection) if was_calibrated else f"no verdicts yet: {NOT_CALIBRATED} {name}")
        say(f"go back with: pairlens collection migrate {name} --back")


def _warn_without_gain(run: Path) -> None:
    # Imported here, because a collection with an ONNX model needs no PyTorch, and a run does.
    from pairlens.cli.collection_training import lack_of_gain
    from pairlens.experiments.run_folder import RunFolder

    sentence = lack_of_gain(RunFolder(run))
    if sentence:
        say(sentence)


def _returned(collection: Collection, name: str, was_calibrated: bool) -> str:
    """Return to the former model, or give up a migration that is not finished, and say which."""
    before = collection.active.fingerprint
    active = collection.return_to_former_model().fingerprint
    if active == before:
        return f"the unfinished migration of {name} is given up; searches use the vectors of {active}, as before"
    said = f"{name} searches the vectors of {active} again"
    if not was_calibrated:
        return said
    return (
        f"{said}; its calibration was for the other model and is removed, so make a new one with pairlens collection "
        f"calibrate {name}"
    )


def _target(collection: Collection, model: str | None, whiten: bool, reduce: int | None) -> str | CollectionModel:
    if not whiten and reduce is None:
        assert model is not None, "a migration has a model, or a map for its vectors"
        return model
    if model is None:
        return model_of_collection(collection.store, collection.model, whiten, reduce)
    return model_of_run(model, whiten, reduce)


def _calibrated_again(collection: Collection) -> str:
    try:
        calibration = collection.calibrate()
    except ValueError as error:
        return f"the calibration for the former model is removed, and a new one is not possible: {error}"
    return f"calibrated for the new model on {calibration.size.classes:,} classes"
