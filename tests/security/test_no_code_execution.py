"""Opening an untrusted file runs no code."""

import ast
import io
import json
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import write_bars
from pairlens.comparison.study import Arm, Benchmark, Study
from pairlens.comparison.study_file import write_study
from pairlens.core.images import load_image
from pairlens.core.records import to_plain
from pairlens.data.catalog import Catalog
from pairlens.data.readers import read
from pairlens.evaluation.embeddings import Embeddings
from pairlens.experiments.build import make_learner
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run_folder import RunFolder
from pairlens.losses.third_party import wrap
from pairlens.model.embedder import Embedder
from pairlens.training.checkpoint import load_checkpoint

SOURCE = Path(__file__).parents[2] / "src" / "pairlens"
FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "marshal",
    "shelve",
    "joblib",
    "yaml",
    "code",
    "ctypes",
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_METHODS = {
    "os.system",
    "os.popen",
    "os.execv",
    "subprocess.run",
    "subprocess.Popen",
    "np.load",
    "numpy.load",
    "joblib.load",
}
# The first resolves module:callable; what it refuses is tested in test_names_in_files.py. The others import modules of
# Pairlens from tables of constants, and Matplotlib.
MAY_IMPORT = {"core/import_rules.py", "cli/main.py", "__init__.py"}


def dotted(node):
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else getattr(node, "id", "")


# Two functions of the C library keep freed memory and give it back; their names are fixed.
MAY_USE_CTYPES = {"core/freed_memory.py"}


def calls_that_run_code(text, name=""):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            allowed = {"ctypes"} if name in MAY_USE_CTYPES else set()
            yield from (m for m in modules if m.split(".")[0] in (FORBIDDEN_MODULES | {"subprocess"}) - allowed)
        if not isinstance(node, ast.Call):
            continue
        called, keywords = dotted(node.func), {k.arg: k.value for k in node.keywords}
        if called in FORBIDDEN_CALLS | FORBIDDEN_METHODS or called.rpartition(".")[2] in (
            "allow_pickle",
            "unsafe_load",
        ):
            yield called
        if called.endswith("import_module") and name not in MAY_IMPORT:
            yield called
        if called == "torch.load":
            weights_only = keywords.get("weights_only")
            if not (isinstance(weights_only, ast.Constant) and weights_only.value is True):
                yield called
        if isinstance(keywords.get("allow_pickle"), ast.Constant) and keywords["allow_pickle"].value:
            yield f"{called}(allow_pickle)"


def test_no_function_that_can_run_a_file_is_called():
    files = {file.relative_to(SOURCE).as_posix(): file for file in SOURCE.rglob("*.py")}
    calls = {name: list(calls_that_run_code(file.read_text(encoding="utf-8"), name)) for name, file in files.items()}
    assert not {name: names for name, names in calls.items() if names}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from pickle import loads", "eval(x)", "exec(x)", "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "np.load(f)", "import subprocess", "os.system(x)", "x.load(f, allow_pickle=True)", "importlib.import_module(x)",
    ],
)  # fmt: skip
def test_the_search_finds_each_forbidden_call(line):
    assert list(calls_that_run_code(line))


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, sentinel):
        self.sentinel = sentinel

    def __reduce__(self):
        return Path.touch, (self.sentinel,)


@pytest.fixture
def sentinel(tmp_path):
    """A file that exists only if code of an untrusted file was run; unpickling a `Bomb` creates it."""
    file = tmp_path / "sentinel"
    pickle.loads(pickle.dumps(Bomb(file)))
    assert file.exists()
    file.unlink()
    yield file
    assert not file.exists()


def payloads(bomb):
    buffer, npy = io.BytesIO(), io.BytesIO()
    torch.save({"weight": bomb}, buffer)
    np.save(npy, np.array([bomb], dtype=object), allow_pickle=True)
    return {"pickle": pickle.dumps(bomb), "torch": buffer.getvalue(), "npy": npy.getvalue()}


@pytest.mark.parametrize("kind", ["pickle", "torch", "npy"])
def test_no_file_runs_code_when_it_is_opened(kind, sentinel, model, tiny, tmp_path):
    payload = payloads(Bomb(sentinel))[kind]
    (model / "model.safetensors").write_bytes(payload)
    with pytest.raises(ValueError, match="damaged"):
        Embedder.load(model)
    for name in ("weights.pth", "weights.safetensors", "weights.npy"):
        (tmp_path / name).write_bytes(payload)
        with pytest.raises(ValueError, match="could not be read as weights"):
            Embedder(backbone="test_resnet", weights=str(tmp_path / name), stride="none", image_size=32)
    (tmp_path / "gallery.safetensors").write_bytes(payload)
    with pytest.raises(ValueError, match="not a readable file of embeddings"):
        Embeddings.load(tmp_path / "gallery.safetensors")
    (tmp_path / "checkpoint.safetensors").write_bytes(payload)
    with pytest.raises(ValueError, match="damaged or of another"):
        load_checkpoint(make_learner(tiny, 4), tmp_path)
    (tmp_path / "cars_annos.mat").write_bytes(payload)
    with pytest.raises(ValueError, match="not Cars196's annotation file"):
        read("car", tmp_path)
    write_bars(tmp_path / "bars" / "uncropped.arrow").file.write_bytes(payload)
    with pytest.raises(ValueError, match="prepare it again"):
        Catalog.open(tmp_path / "bars" / "uncropped.arrow")
    with pytest.raises(ValueError, match="cannot be read as a picture"):
        load_image(payload)
    (tmp_path / "config.json").write_bytes(payload)
    with pytest.raises(ValueError, match="damaged"):
        RunFolder(tmp_path).experiment()


@pytest.fixture
def trap(sentinel, tmp_path, monkeypatch):
    """The name of a loss whose module creates the sentinel file when it is imported."""
    code = f"from pathlib import Path\nPath({str(sentinel)!r}).touch()\nloss = len\n"
    (tmp_path / "untrusted_module.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield "untrusted_module:loss"
    sys.modules.pop("untrusted_module", None)


def test_opening_a_run_imports_nothing_it_names(trap, tmp_path):
    experiment = replace(Experiment(), loss=wrap(len, trap))
    (tmp_path / "config.json").write_text(json.dumps(to_plain(experiment)), encoding="utf-8")
    opened = RunFolder(tmp_path).experiment()
    with pytest.raises(ValueError, match="not stored with its run"):
        opened.loss.of_embeddings(torch.eye(2), torch.arange(2))
    plain = to_plain(experiment) | {"loss": trap}
    (tmp_path / "config.json").write_text(json.dumps(plain), encoding="utf-8")
    with pytest.raises(ValueError, match="must be"):
        RunFolder(tmp_path).experiment()


def test_reading_a_study_and_its_results_imports_nothing_it_names(trap, tmp_path):
    from pairlens.comparison.statistics import measure

    write_study(Study((Arm("a", trap), Arm("b", "triplet")), (Benchmark("f", Experiment()),)), tmp_path)
    with pytest.raises(ValueError, match="no run is finished"):
        measure(tmp_path)


def test_only_photo_formats_are_opened():
    """EPS, for example, would start Ghostscript, an external program, which runs the PostScript code of the file."""
    picture = Image.new("RGB", (8, 8), "red")
    for kind in ("EPS", "PDF", "ICNS", "ICO", "SPIDER"):
        buffer = io.BytesIO()
        (picture.convert("F") if kind == "SPIDER" else picture).save(buffer, kind)
        with pytest.raises(ValueError, match="cannot be read as a picture"):
            load_image(buffer.getvalue())
