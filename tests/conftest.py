"""A tiny prepared data set, drawn once, on which every room above data is tried."""

import gc
import io
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pairlens.comparison.run_study import run_study
from pairlens.comparison.study import Arm, Benchmark, Study
from pairlens.core.files import atomic_write
from pairlens.data.annotations import Photo
from pairlens.data.catalog import Catalog
from pairlens.data.catalog_writer import write_catalog
from pairlens.experiments import learning_curves
from pairlens.experiments.experiment import Experiment
from pairlens.losses import Circle
from pairlens.plotting import style
from pairlens.plotting.panel_layout import PanelLayout
from pairlens.report import sections
from pairlens.report.write import write_report
from support.experiments import changed
from support.made_once import made_once
from support.seeding import seed

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"
# Files that take longest, at the end of which no other process should be waiting; the others follow as they are.
LONGEST = (
    "tests/tools/test_faults.py",
    "tests/report/test_reports.py",
    "tests/examples/test_your_own_loop.py",
    "tests/benches/test_gpu.py",
    "tests/cli/test_launch.py",
    "tests/experiments/test_run.py",
    "tests/serving/test_run_server.py",
    "tests/serving/test_page_browser.py",
    "tests/report/test_report_browser.py",
    "tests/losses/test_compile.py",
    "tests/training/test_one_rank.py",
    "tests/cli/test_little_memory.py",
)


def pytest_addoption(parser):
    parser.addoption(
        "--cuda_on",
        choices=["cuda", "cpu"],
        default="cuda",
        help="where the tests of tests/cuda run without a GPU: cuda skips them, cpu runs on the CPU what can run there",
    )


def pytest_configure():
    """Let Ctrl-C interrupt this process and those that it starts, also where the suite runs in the background.

    A shell starts a background job with the signal of Ctrl-C ignored, and its processes keep that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_itemcollected(item):
    """Leave addresses of functions out of test ids, because the processes that share the tests must agree on them."""
    item._nodeid = re.sub(r" at 0x[0-9a-f]+", "", item.nodeid)


def pytest_collection_modifyitems(items):
    """Put the files that take longest first."""
    places = {file: place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(LONGEST)))


def pytest_collection_finish():
    """Leave the libraries and the collected tests out of garbage collection, and look for garbage less often.

    They are millions of objects that stay until the end; a collection that looks at all of them takes half a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 20)


def pytest_unconfigure():
    """Let everything be freed at the end of the process: a library reports what is not."""
    gc.unfreeze()


@pytest.fixture(scope="module", autouse=True)
def garbage_collected_after_each_file():
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def seeded():
    seed(0)


@pytest.fixture(scope="session", autouse=True)
def files_not_flushed_to_disk():
    """Leave written files to the system, because a test ends with its process and not with the power of the machine.

    Waiting for the disk, thousands of times, would take a tenth of the time of the suite.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def curves_drawn_once_of_each_kind():
    """Draw learning curves once per number of epochs and kind of rows, and write that picture again for other runs.

    Drawing them would take half of the time of a tiny run.
    """
    drawn_before, draw = {}, learning_curves.draw_learning_curves

    def draw_or_repeat(outcome, title, file):
        # `without_rendering` replaces the function that renders, whose empty pictures are no curves.
        kind = (len(outcome.rows), outcome.rows[-1].validation is None, not outcome.baselines, style._write.__name__)
        if kind not in drawn_before:
            draw(outcome, title, file)
            drawn_before[kind] = file.read_bytes()
            return
        with atomic_write(file) as part:
            part.write(drawn_before[kind])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning_curves, "draw_learning_curves", draw_or_repeat)
        yield


@pytest.fixture
def without_rendering(monkeypatch):
    """Make every figure, but write an empty picture in its place: rendering takes most of the time of a report.

    For tests of what else is in a report; `reports` and tests/report look at rendered figures.
    """

    def write_empty(_figure, file, _salt):
        with atomic_write(file) as part:
            if file.suffix == ".svg":
                part.write(b'<svg xmlns="http://www.w3.org/2000/svg" width="720pt" height="360pt"></svg>')
            else:
                Image.new("RGB", (8, 8)).save(part, file.suffix[1:])

    monkeypatch.setattr(sections, "PLANE_POINTS", 9)
    monkeypatch.setattr(PanelLayout, "fit_width", lambda *_: None)
    monkeypatch.setattr(style, "_write", write_empty)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real files; tests that need it are skipped where it is not."""
    if not SHARED.is_dir():
        pytest.skip("the real files of ../shared/data are not here")
    return SHARED


def drawn(label: int, shot: int, size: int) -> bytes:
    """A picture of a class: a bar of its own angle on a background of any colour."""
    draw = np.random.default_rng((label, shot))
    y, x = np.mgrid[:size, :size] / size - 0.5
    angle = label * np.pi / 8
    bar = np.abs(x * np.cos(angle) + y * np.sin(angle) + draw.uniform(-0.1, 0.1)) < 0.12
    pixels = np.where(bar[..., None], draw.integers(160, 255, 3), draw.integers(0, 120, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def write_bars(file: Path, splits=("train", "test"), shots: int = 6, size: int = 36) -> Catalog:
    """Write four training classes and four others as a prepared data set."""
    rows = [
        (Photo(f"{'train' if label < 4 else 'test'}/bar{label}/{split}{shot}.jpg", f"bar {label}", split), label, shot)
        for split in splits
        for label in (range(4) if split == "train" else range(4, 8))
        for shot in range(shots)
    ]
    return write_catalog(file, file.parent.name, [(photo, drawn(lb, s, size)) for photo, lb, s in rows], size)


@pytest.fixture(scope="session")
def data_path(tmp_path_factory) -> Iterator[Path]:
    """A data folder with `bars` (train and test) and `shop` (train, query and gallery)."""
    folder = tmp_path_factory.mktemp("data")
    write_bars(folder / "bars" / "uncropped.arrow")
    write_bars(folder / "shop" / "uncropped.arrow", ("train", "query", "gallery"))
    files = sorted(folder.rglob("*"))
    yield folder
    # Other tests copy the folder; a test that stores features beside the photos takes `tiny_with_own_data`.
    assert sorted(folder.rglob("*")) == files, "a test has written into the data that all tests share"


@pytest.fixture(scope="session")
def tiny(data_path) -> Experiment:
    """An experiment that takes a second or two."""
    return changed(
        Experiment(),
        loss=Circle(),
        data_path=data_path,
        data_name="bars",
        backbone="test_resnet",
        descriptors="SM",
        dim=16,
        batch_size=12,
        per_class=3,
        num_epochs=2,
        learning_rate=1e-3,
        weights="none",
        stride="none",
        freeze_bn="none",
        image_size=32,
        device="cpu",
        precision="float32",
        workers=0,
    )


@pytest.fixture(scope="module")
def tiny_with_own_data(tiny, data_path, tmp_path_factory) -> Experiment:
    """The same experiment on a copy of its data, beside which features may be stored."""
    return changed(tiny, data_path=shutil.copytree(data_path, tmp_path_factory.mktemp("own") / "data"))


@pytest.fixture(scope="session")
def compared(tiny, tmp_path_factory) -> Path:
    """A finished comparison of two losses on `bars`, three seeds."""
    settings = changed(tiny, num_epochs=1, backbone="test_resnet")
    study = Study((Arm("triplet", "triplet"), Arm("circle 10", "circle:gamma=10")), (Benchmark("bars", settings, 3),))
    folder = tmp_path_factory.mktemp("compared")
    list(run_study(study, folder))
    return folder


@pytest.fixture(scope="session")
def reports(request) -> dict[str, Path]:
    """The page of a run and of a comparison, their similarity planes coarse."""

    def write(out):
        # Only the process that writes the pages needs the runs.
        compared = request.getfixturevalue("compared")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sections, "PLANE_POINTS", 9)
            write_report(compared / "runs/bars/circle-10/seed0", out / "run.html")
            write_report(compared, out / "comparison.html")

    pages = made_once(request, "reports", write)
    return {name: pages / f"{name}.html" for name in ("run", "comparison")}
