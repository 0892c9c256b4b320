"""Fuzz targets of the rules for files from anybody: names of code, cells, folders, costs, locks, the drawn data set."""

import contextlib
import csv
import io
import json
import os
import struct
from pathlib import Path
from unittest import mock

from PIL import Image

from fuzz.target import ALLOWED_ERRORS, catalog_parts, folder, written
from pairlens import _module_path
from pairlens.comparison.study import Arm, Benchmark, Study
from pairlens.comparison.study_file import read_study
from pairlens.core import decoding_budget, import_rules
from pairlens.core.files import check_folder_name, lock_folder
from pairlens.core.images import reduce_to_square
from pairlens.core.records import to_plain
from pairlens.core.table import FORMULA_STARTS, csv_text
from pairlens.data.minicars import dataset
from pairlens.experiments.experiment import Experiment
from support.experiments import changed


def _named_code(data: bytes) -> None:
    """Ask a study for its losses and metrics; without trust none may be imported, whatever they are called."""
    imported = []
    written("naming/study.json", data)
    study = read_study(folder(os.getpid()) / "naming")
    with mock.patch.object(import_rules, "import_module", side_effect=imported.append):
        for make in (*(arm.make for arm in study.arms), *(benchmark.metrics for benchmark in study.fields)):
            # A name of our own modules is looked up in what the replaced function returns, which is None.
            with contextlib.suppress(*ALLOWED_ERRORS):
                make()
    assert set(imported) <= set(import_rules.OWN_MODULES)


def _named_code_seeds() -> list[bytes]:
    names = (
        "os:system",
        "subprocess:Popen(args='x')",
        "my.code:Loss(a=1)+0.5*circle",
        "pairlens.comparison.controls:no_loss",
    )
    settings = changed(Experiment(), metrics=["my_metrics:first"])
    studies = [Study((Arm("a", name), Arm("b", "circle")), (Benchmark("f", settings),)) for name in names]
    return [json.dumps(to_plain(study)).encode() for study in studies]


def _cells(data: bytes) -> None:
    """Write any text as a cell: it is read back, and a spreadsheet would not run it."""
    text = data.decode(errors="replace").replace("\x00", "")
    (row,) = csv.reader(io.StringIO(csv_text([(text, "end")]), newline=""))
    assert row in ([text, "end"], [f"'{text}", "end"])
    if row[0].startswith(FORMULA_STARTS):
        float(row[0])


def _folder_name(data: bytes) -> None:
    name = data.decode(errors="surrogateescape")
    check_folder_name(Path(name))
    # What is accepted can be printed, and stored as JSON.
    name.encode()
    assert not {character for character in name if ord(character) < 32}


def _costly(data: bytes) -> None:
    """Count what a picture costs; a clock that has run out ends every decoder that reads piece by piece."""
    with mock.patch.object(decoding_budget, "SECONDS", 0.05):
        reduce_to_square(data, 8)


def _costly_seeds() -> list[bytes]:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "JPEG", progressive=True)
    jpeg = buffer.getvalue()
    qoi = b"qoif" + struct.pack(">IIBB", 64, 64, 3, 0) + b"\xfd" * 67 + bytes(7) + b"\1"
    return [jpeg[:-2] + jpeg[jpeg.rindex(b"\xff\xda") : -2] * 9 + jpeg[-2:], qoi, b"P3 4 4 255\n" + b"9 " * 48]


def _drawn_set(data: bytes) -> None:
    """Ask for minicars where somebody's JSON lies; only what says that it is the drawn set may be replaced."""
    file = folder(os.getpid()) / "drawn" / "uncropped.arrow"
    written("drawn/uncropped.json", data)
    with mock.patch.object(dataset, "draw_minicars") as draw:
        dataset.draw_if_missing(file)
    if draw.called:
        described = json.loads(data)
        assert (described["name"], described["origin"]["reader"]) == ("minicars", "minicars")


def _drawn_set_seeds() -> list[bytes]:
    described = json.loads(catalog_parts()[1]) | {"name": "minicars"}
    return [json.dumps(described | {"origin": {"reader": reader}}).encode() for reader in ("minicars", "folder")]


def _lock(data: bytes) -> None:
    """Lock a folder in which the lock is a file of somebody; only an empty one is taken, and none is changed."""
    file = written("locked/.lock", data)
    try:
        with lock_folder(file.parent):
            assert not data
    finally:
        assert file.read_bytes() == data


def _module_words(data: bytes) -> None:
    words = data.decode(errors="surrogateescape").split("\n")
    for word in words:
        assert isinstance(_module_path._names_code(word), bool)
    _module_path._runs_pairlens(words)


# Each with its name and its valid inputs.
RULES = (
    ("named_code", _named_code, _named_code_seeds),
    ("cells", _cells, lambda: [b"=1+1", b"-0.5", b"+x", b"@a", b"\t=1", b"\r\n=1", b'a,"b"']),
    ("folder_name", _folder_name, lambda: [b"mine", "größe".encode(), b"a/b"]),
    ("costly", _costly, _costly_seeds),
    ("drawn_set", _drawn_set, _drawn_set_seeds),
    ("lock", _lock, lambda: [b""]),
    ("module_words", _module_words, lambda: [b"-m\npairlens\nreport\n.", b"my_code:loss", b"--trust=a", b"C:/x"]),
)
