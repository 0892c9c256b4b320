"""A run, a comparison or a data set that somebody else has made changes and runs nothing outside its folder.

Each row plants something, runs a command, and checks that the command ends with one sentence within five seconds, that no
file outside of the folder is changed, and that nothing is written into it.
"""

import hashlib
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import drawn
from pairlens.cli.main import main
from pairlens.comparison.results import read_results
from pairlens.comparison.study_file import read_study, read_toml
from pairlens.comparison.tuning import read_trials
from pairlens.core.images import load_image, reduce_to_square
from pairlens.core.untrusted import read_json, read_text
from pairlens.data.annotations import Photo
from pairlens.data.catalog import Catalog, Origin
from pairlens.data.catalog_writer import write_catalog
from pairlens.data.minicars import dataset
from pairlens.data.minicars.dataset import draw_if_missing
from pairlens.data.readers import read
from pairlens.evaluation.embeddings import Embeddings
from pairlens.experiments.baseline import MeasuredBaseline
from pairlens.experiments.class_values import ClassValues
from pairlens.experiments.run_folder import RunFolder
from pairlens.model.embedder import Embedder
from pairlens.training.checkpoint import _read as read_checkpoint

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs pipes, sockets and alarms")
SECONDS = 5
RUN = "runs/bars/circle-10/seed0"


class TooLong(BaseException):
    """Raised by the alarm; no handler of Pairlens catches it."""


@pytest.fixture
def in_time():
    def ring(_signal, _frame):
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    # The alarm is for a process that waits for ever; seconds of work are counted without what other processes do.
    signal.alarm(6 * SECONDS)
    start = time.process_time()
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    assert time.process_time() - start < SECONDS


@dataclass(frozen=True)
class UntrustedFolder:
    """A comparison from somebody else, and the files of the user, which are elsewhere."""

    folder: Path
    home: Path

    @property
    def run(self) -> Path:
        return self.folder / RUN


@pytest.fixture
def untrusted(compared, tmp_path, monkeypatch):
    folder = tmp_path / "untrusted"
    shutil.copytree(compared, folder)
    home = tmp_path / "home"
    (home / "bars" / "circle-10" / "seed0").mkdir(parents=True)
    for name in ("precious.txt", "inspection.csv", "bars/circle-10/seed0/thesis.txt"):
        (home / name).write_text("precious", encoding="utf-8")
    monkeypatch.chdir(folder)
    return UntrustedFolder(folder, home)


def state(folder):
    """What a folder holds: each path with its kind, the target of a link, and its contents."""
    found = {}
    for path in sorted(folder.rglob("*")):
        kind = str(path.readlink()) if path.is_symlink() else ""
        contents = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[path.relative_to(folder).as_posix()] = (kind, contents)
    return found


def sentence_of(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def link(path: Path, target: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


# What is planted, the command, and what its sentence says.
LINKS: dict[str, tuple[Callable[[UntrustedFolder], object], list[str], str]] = {
    "lock": (lambda s: link(s.run / ".lock", s.home / "precious.txt"), ["evaluate", RUN], "not a lock file"),
    "hard-linked lock": (
        lambda s: ((s.run / ".lock").unlink(missing_ok=True), os.link(s.home / "precious.txt", s.run / ".lock")),
        ["train", "--resume", RUN],
        "not a lock file",
    ),
    "inspection": (lambda s: link(s.run / "inspection", s.home), ["inspect", RUN], "inspection is a link that leads out"),
    "figures": (lambda s: link(s.folder / "figures", s.home), ["compare", "--resume", "."], "figures is a link"),
    "runs": (lambda s: link(s.folder / "runs", s.home), ["compare", "--resume", "."], "runs is a link"),
    "benchmark": (lambda s: link(s.folder / "runs/bars", s.home / "bars"), ["compare", "--resume", "."], "bars is a link"),
    "run": (
        lambda s: link(s.folder / RUN, s.home / "bars/circle-10/seed0"), ["compare", "--resume", "."], "seed0 is a link",
    ),
    "tuning": (lambda s: link(s.folder / "tuning", s.home), ["compare", "--resume", "."], "tuning is a link"),
    "results": (lambda s: link(s.folder / "results", s.home), ["query", RUN], "results is a link"),
}  # fmt: skip


@pytest.mark.parametrize("row", LINKS)
def test_a_link_that_leads_out_is_refused_and_nothing_is_written(untrusted, row, capsys, in_time):
    plant, words, message = LINKS[row]
    plant(untrusted)
    before = state(untrusted.home), state(untrusted.folder)
    assert message in sentence_of(words, capsys)
    assert (state(untrusted.home), state(untrusted.folder)) == before


# Files of a run that a command replaces; as links they are replaced, too, and never followed.
REPLACED = ("gallery.safetensors", "outcome.json", ".lock_holder", "gallery.safetensors.part", "outcome.json.part")


@pytest.mark.parametrize("name", REPLACED)
def test_a_link_in_the_place_of_a_written_file_is_not_followed(untrusted, name, capsys):
    target = untrusted.home / "precious.txt"
    if (untrusted.run / name).is_file():
        shutil.copy(untrusted.run / name, target)
    link(untrusted.run / name, target)
    before = state(untrusted.home)
    main(["evaluate", RUN])
    assert state(untrusted.home) == before
    assert not any(
        path.is_symlink() for path in untrusted.run.iterdir() if path.name in ("gallery.safetensors", ".lock")
    )


def pipe(path):
    os.mkfifo(path)


def bound_socket(path):
    # A path of a socket is at most about 100 bytes long.
    here = Path.cwd()
    os.chdir(path.parent)
    server = socket.socket(socket.AF_UNIX)
    server.bind(path.name)
    server.close()
    os.chdir(here)


KINDS: dict[str, Callable[[Path], object]] = {
    "pipe": pipe,
    "socket": bound_socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": lambda path: path.mkdir(),
    "link to a pipe": lambda path: (pipe(path.with_name("p")), path.symlink_to(path.with_name("p"))),
}
# Every reader of a file, with the name that the file has.
READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "json": ("a.json", read_json),
    "text": ("a.txt", read_text),
    "experiment": ("config.json", lambda file: RunFolder(file.parent).experiment()),
    "outcome": ("outcome.json", lambda file: RunFolder(file.parent).read_outcome()),
    "gallery": ("gallery.safetensors", Embeddings.load),
    "embeddings": ("gallery.safetensors", lambda file: RunFolder(file.parent).read_embeddings()),
    "baseline": ("baseline.safetensors", MeasuredBaseline.load),
    "checkpoint": ("checkpoint.safetensors", read_checkpoint),
    "weights": ("model.safetensors", lambda file: Embedder.load(file.parent)),
    "architecture": ("model.json", lambda file: Embedder.load(file.parent)),
    "pth": ("w.pth", lambda file: Embedder(backbone="test_resnet", weights=str(file), stride="none", image_size=32)),
    "safetensors": (
        "w.safetensors",
        lambda file: Embedder(backbone="test_resnet", weights=str(file), stride="none", image_size=32),
    ),
    "study": ("study.json", lambda file: read_study(file.parent)),
    "toml": ("study.toml", read_toml),
    "results": ("results.json", lambda file: read_results(file.parent)),
    "catalog": ("uncropped.arrow", Catalog.open),
    "description": ("uncropped.json", lambda file: Catalog.open(file.with_suffix(".arrow"))),
    "csv": ("table.csv", lambda file: read("csv", file)),
    "parquet": ("table.parquet", lambda file: read("csv", file)),
    "coco": ("boxes.json", lambda file: read("coco", file)),
    "cars": ("cars_annos.mat", lambda file: read("car", file.parent)),
    "cub": ("images.txt", lambda file: read("cub", file.parent)),
    "sop": ("Ebay_train.txt", lambda file: read("sop", file.parent)),
    "photo": ("photo.jpg", load_image),
    "reduced photo": ("photo.png", lambda file: reduce_to_square(file, 8)),
}
# What may be missing is treated as missing: it is not opened, and the next write replaces it.
OPTIONAL: dict[str, tuple[str, Callable[[Path], object]]] = {
    "class values": ("class_values.json", ClassValues.load),
    "trials": ("trials.json", lambda file: read_trials(file.parent)),
}


@pytest.fixture
def beside(tmp_path, bars_file):
    """A folder in which every file that a reader wants first is valid."""
    folder = tmp_path / "beside"
    folder.mkdir()
    for file in bars_file.parent.iterdir():
        shutil.copy(file, folder)
    Embedder(backbone="test_resnet", descriptors="SM", dim=8, weights="none", stride="none", image_size=32).save(folder)
    return folder


@pytest.fixture(scope="module")
def bars_file(data_path):
    return data_path / "bars" / "uncropped.arrow"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", [*READERS, *OPTIONAL])
def test_what_is_no_file_is_refused_where_a_file_is_read(beside, reader, kind, in_time):
    name, opened = (READERS | OPTIONAL)[reader]
    (beside / name).unlink(missing_ok=True)
    KINDS[kind](beside / name)
    if reader in OPTIONAL:
        opened(beside / name)
        return
    with pytest.raises((ValueError, FileNotFoundError), match=r"\w+ .*"):
        opened(beside / name)


@pytest.mark.parametrize(
    "name", ["config.json", "outcome.json", "gallery.safetensors", "model.json", "model.safetensors"]
)
def test_a_pipe_in_a_run_hangs_no_command(untrusted, name, capsys, in_time):
    (untrusted.run / name).unlink()
    os.mkfifo(untrusted.run / name)
    photo = untrusted.home / "photo.jpg"
    drawn_photo = drawn(0, 0, 16)
    photo.write_bytes(drawn_photo)
    sentence_of(["query", RUN, "--query_img_name", str(photo), "--out", str(untrusted.home / "out")], capsys)
    assert not (untrusted.home / "out").exists()


READING = {
    "query": ["query", RUN],
    "evaluate": ["evaluate", RUN],
    "inspect": ["inspect", RUN],
    "resume": ["train", "--resume", RUN],
    "compare": ["compare", "--resume", "."],
}


@pytest.mark.parametrize("way", READING)
def test_stored_settings_make_no_command_draw_a_data_set(untrusted, way, capsys, in_time, monkeypatch):
    monkeypatch.setattr(dataset, "draw_minicars", lambda _file: pytest.fail("drawn"))
    for file in (untrusted.folder / "study.json", *untrusted.folder.rglob("config.json")):
        text = file.read_text(encoding="utf-8")
        plain = json.loads(text)
        for settings in [one["settings"] for one in plain.get("fields", [])] or [plain]:
            settings["data"] |= {"path": str(untrusted.home), "name": "minicars"}
        file.write_text(json.dumps(plain), encoding="utf-8")
    before = state(untrusted.home)
    assert "minicars" in sentence_of(READING[way], capsys)
    assert state(untrusted.home) == before


def test_a_study_file_draws_nothing_outside_the_current_folder(tmp_path, monkeypatch, capsys):
    drawings = []
    monkeypatch.setattr(dataset, "draw_minicars", drawings.append)
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path.parent / "elsewhere", tmp_path / "data"):
        text = f"losses = ['triplet', 'circle']\n[settings]\ndata_name = 'minicars'\ndata_path = '{path.as_posix()}'\n"
        (tmp_path / "study.toml").write_text(text, encoding="utf-8")
        sentence_of(["compare", "study.toml"], capsys)
    assert drawings == [tmp_path / "data" / "minicars" / "uncropped.arrow"]


@pytest.mark.parametrize(
    "damage", ["none", "cut", "no json", "no arrow", "json of another kind", "link that leads nowhere"]
)
@pytest.mark.parametrize("reader", ["folder", "records", ""])
def test_a_data_set_of_the_user_called_minicars_is_never_replaced(tmp_path, monkeypatch, damage, reader):
    monkeypatch.setattr(dataset, "draw_minicars", lambda _file: pytest.fail("drawn"))
    file = tmp_path / "minicars" / "uncropped.arrow"
    rows = [
        (Photo(f"{name}/{i}.jpg", name, split), drawn(0, i, 8))
        for name, split in (("a", "train"), ("b", "test"))
        for i in (1, 2)
    ]
    write_catalog(file, "minicars", rows, 8, origin=Origin(reader=reader))
    act = {
        "none": lambda: None,
        "cut": lambda: file.write_bytes(file.read_bytes()[:100]),
        "no json": file.with_suffix(".json").unlink,
        "no arrow": file.unlink,
        "json of another kind": lambda: file.with_suffix(".json").write_text("{}", encoding="utf-8"),
        "link that leads nowhere": lambda: link(file, tmp_path / "nothing"),
    }
    act[damage]()
    before = state(tmp_path)
    draw_if_missing(file)
    assert state(tmp_path) == before


NAMES = ["a\nb", "a\rb", "a\tb", "a\x1b[31mb", "caf\udce9", "\x7f", "a\x9bb"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_cannot_be_shown_is_refused_before_training(tiny, tmp_path, monkeypatch, capsys, name, in_time):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pairlens.experiments.run.open_splits", lambda *_, **__: pytest.fail("opened"))
    data = ["--data_path", str(tiny.data.path), "--data_name", "bars"]
    for words in (["train", "circle", *data, "--name", name], ["train", "circle", *data, "--runs", name]):
        assert "choose another name" in sentence_of(words, capsys)
    losses = ["--losses", "triplet", f"circle as x{name}"]
    assert "choose another name" in sentence_of(["compare", *losses, *data], capsys)
    assert list(tmp_path.iterdir()) == []
