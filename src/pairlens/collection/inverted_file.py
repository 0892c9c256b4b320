"""The file beside a SQLite collection that keeps what the training of its approximate index has found.

It is a cache: centres of the lists, and the list of every item. Vectors are not in it, it is bound to one collection, one
model and one number of changes, and whatever is wrong with it only means that the index is trained again.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from pairlens.core.files import check_not_linked, make_folder, remove_folder, write_tensors
from pairlens.core.untrusted import TensorForm, read_forms, regular_file

VERSION = "1"
FOLDER, NAME = "index", "ivf.safetensors"
MAX_LISTS = 1 << 20


@dataclass(frozen=True, eq=False)
class InvertedLists:
    """The lists of an approximate index.

    Attributes:
        identity: of the collection.
        model: fingerprint of the model of the vectors.
        change: number of the change after which the lists were made.
        centres: float32 (list, dim).
        ids: int64 (item,).
        lists: int32 (item,) the list of each item.
    """

    identity: str
    model: str
    change: int
    centres: np.ndarray
    ids: np.ndarray
    lists: np.ndarray


def lists_file(database: Path) -> Path:
    """Return the path of the file that belongs to a database."""
    return database.parent / FOLDER / NAME


def write_lists(database: Path, lists: InvertedLists) -> None:
    """Write the file; raises ValueError or OSError if it cannot be written."""
    file = lists_file(database)
    make_folder(file.parent, below=database.parent)
    check_not_linked(file, below=database.parent)
    names = {"version": VERSION, "identity": lists.identity, "model": lists.model, "change": str(lists.change)}
    arrays = {"centres": lists.centres, "ids": lists.ids, "lists": lists.lists}
    # Imported here, because a search needs PyTorch for nothing else.
    from torch import from_numpy

    write_tensors(file, {name: from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}, names)


def drop_lists(database: Path) -> bool:
    """Remove the file with its folder, and return whether it is gone."""
    folder = lists_file(database).parent
    with suppress(ValueError):
        remove_folder(folder, below=database.parent)
    return not folder.exists()


def read_lists(database: Path) -> InvertedLists | None:
    """Return the contents of the file, None if there is none.

    Raises:
        ValueError: saying what is wrong with it.
        OSError: if it cannot be read.
    """
    file = lists_file(database)
    check_not_linked(file, below=database.parent)
    if not file.exists():
        return None
    try:
        forms = read_forms(file)
        _check_forms(forms)
        with safe_open(regular_file(file), framework="numpy") as stored:
            names = stored.metadata() or {}
            arrays = {name: stored.get_tensor(name) for name in forms}
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged ({error})") from error
    if names.get("version") != VERSION or not names.get("change", "").isdecimal():
        raise ValueError(f"{file} is of another version")
    lists = InvertedLists(
        names.get("identity", ""), names.get("model", ""), int(names["change"][:18]), arrays["centres"], arrays["ids"],
        arrays["lists"],
    )  # fmt: skip
    _check_values(file, lists)
    return lists


def _check_forms(forms: dict[str, TensorForm]) -> None:
    items = forms["ids"].shape if "ids" in forms else ()
    expected = {"ids": (items, "integers"), "lists": (items, "integers")}
    centres = forms.pop("centres", TensorForm((), ""))
    is_matrix = len(centres.shape) == 2 and centres.numbers == "floats" and 1 <= centres.shape[0] <= MAX_LISTS
    others = {name: (form.shape, form.numbers) for name, form in forms.items()}
    if not is_matrix or len(items) != 1 or others != expected:
        raise ValueError("the file of the approximate index has other tensors than centres, ids and lists")
    forms["centres"] = centres


def _check_values(file: Path, lists: InvertedLists) -> None:
    kinds = (lists.centres.dtype, lists.ids.dtype, lists.lists.dtype)
    if kinds != (np.float32, np.int64, np.int32) or not np.isfinite(lists.centres).all():
        raise ValueError(f"{file} has other numbers than an approximate index")
    if len(lists.lists) and not 0 <= lists.lists.min() <= lists.lists.max() < len(lists.centres):
        raise ValueError(f"{file} names lists that do not exist")
