"""The command that writes a prepared data set, for the sentences about one that is missing or damaged."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from pairlens.core.suggestion import closest

# Data names whose raw files have a known layout, so that `prepare` needs no --source.
_PUBLISHED = ("car", "cub", "sop", "isc")
# Data names whose --source is a file.
_FILES = {"csv": "TABLE", "coco": "ANNOTATIONS.json"}
# Those that a name can mean before any data set is prepared; minicars is drawn when it is needed.
_KNOWN = (*_PUBLISHED, "minicars")


def similar_data_set(file: Path) -> str | None:
    """Return the name of a known or prepared data set that a missing one was probably meant to be."""
    name = file.parent.name
    prepared = [other.parent.name for other in file.parent.parent.glob(f"*/{file.name}")]
    return None if name in _KNOWN else closest(name, [*prepared, *_KNOWN])


def prepare_command(file: Path) -> str:
    """Return the command line that writes a prepared file; words in capitals are for the user to replace."""
    name = file.parent.name
    options = {"data_name": name, "data_path": str(file.parent.parent)}
    if name == "minicars":
        # It is drawn when a training needs it; without epochs, nothing is trained.
        options["num_epochs"] = "0"
        return _command_line("pairlens train triplet", options)
    if name in _FILES:
        options["source"] = _FILES[name]
    elif name not in _PUBLISHED:
        options |= {"data_name": "folder", "name": name, "source": "FOLDER_OF_PHOTOS"}
    if file.stem == "cropped":
        options["crop_type"] = "cropped"
    return _command_line("pairlens prepare", options)


def _command_line(command: str, options: Mapping[str, str]) -> str:
    return " ".join([command, *(f"--{option} {shlex.quote(value)}" for option, value in options.items())])


def remedy(file: Path) -> str:
    """Return how a damaged prepared file is written again, as the end of a sentence."""
    # A damaged drawing is drawn again by every training.
    force = "" if file.parent.name == "minicars" else " --force"
    return f"prepare it again with: {prepare_command(file)}{force}"
