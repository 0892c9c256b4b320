"""Training on the labelled photos of a collection: `pairlens train --data_name collection --source NAME`."""

from collections.abc import Collection as Names
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pairlens.cli.collection_options import open_collection
from pairlens.cli.terminal import say
from pairlens.collection.collection import Collection
from pairlens.collection.item import Item
from pairlens.core.distributed import barrier, rank
from pairlens.core.files import atomic_write, make_folder
from pairlens.core.settings import with_settings
from pairlens.data.augmentation import working_size
from pairlens.data.data_config import COLLECTION
from pairlens.data.preparation import RECORDS, Preparation
from pairlens.data.prepare import prepare
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run_folder import RunFolder
from pairlens.losses.loss_text import loss_name

_ORIGINALS = "originals"
_PAGE = 1024


def with_photos_of(source: str, experiment: Experiment, named: Names[str]) -> Experiment:
    """Prepare the labelled photos of a collection, unless that was done from the same photos, and return the experiment.

    The first half of the labels, sorted, is for training, and the other half for testing. A collection with regions is
    cropped to them.

    Args:
        source: the collection.
        experiment: its settings; its data set is named collection.
        named: the options that the user gave.

    Raises:
        ValueError: if there are no labels, or their photos are gone.
    """
    with open_collection(source, 30.0, read_only=True) as collection:
        has_regions = any(item.region is not None for item in _labelled(collection))
        if has_regions and "crop_type" not in named:
            experiment = with_settings(experiment, {"crop_type": "cropped"})
        # Under torchrun, one process prepares and the others wait.
        if not rank():
            _prepare(collection, source, experiment)
    barrier()
    return experiment


def lack_of_gain(run_folder: RunFolder) -> str:
    """Return the sentence of the report if training has not improved on what the run started from; else nothing."""
    # Imported here, because the help text of `train` needs none of them.
    from pairlens.analysis.training_gain import gain_headline, unpaired_gain
    from pairlens.comparison.study import METRIC

    gain = unpaired_gain(run_folder.read_outcome(), METRIC)
    if gain.after > gain.before:
        return ""
    return gain_headline(gain, loss_name(run_folder.experiment().loss), "its test classes")


def _prepare(collection: Collection, source: str, experiment: Experiment) -> None:
    folder = make_folder(experiment.data.path / COLLECTION)
    files = [(item, _file_of(collection, item, folder)) for item in _labelled(collection)]
    records = [_record(item, file) for item, file in files if file is not None]
    gone = len(files) - len(records)
    if not records:
        why = "the files of its labelled photos are gone" if gone else "none of its photos has a label"
        raise ValueError(f"{source} cannot be trained on: {why}")
    unlabelled = len(collection) - len(files)
    say(
        f"{source}: {len(records):,} labelled photos; left out are {unlabelled:,} without a label and {gone:,} without "
        "a file"
    )
    options = Preparation(
        RECORDS,
        experiment.data.path,
        name=COLLECTION,
        crop_type=experiment.data.crop,
        size=working_size(experiment.model.image_size),
        # Which links are followed was decided when the photos were indexed.
        follow_links=True,
    )
    prepare(options, say, records=records)


def _labelled(collection: Collection) -> Iterator[Item]:
    after = 0
    while page := collection.photos(after=after, limit=_PAGE):
        after = page[-1].id
        yield from (item for item in page if item.label is not None)


def _file_of(collection: Collection, item: Item, folder: Path) -> Path | None:
    """Return the file of a photo; one that the collection keeps is written beside the prepared data set."""
    if not item.has_original:
        return Path(item.file) if item.root and Path(item.file).is_file() else None
    file = make_folder(folder / _ORIGINALS, below=folder) / item.digest
    contents = None if file.is_file() else collection.store.original(item.id)
    if contents is not None:
        with atomic_write(file) as part:
            part.write(contents)
    return file if file.is_file() else None


def _record(item: Item, file: Path) -> dict[str, Any]:
    return {"path": file, "label": item.label, "box": None if item.region is None else item.region.box}
