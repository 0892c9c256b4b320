"""Files of strangers: none runs code, none takes all memory by what it says of itself, no path in one leaves its folder."""

import ast
import io
import json
import pickle
import struct
import sys
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from safetensors.torch import load_file, save, save_file
from scipy.io import savemat

from conftest import write_bars
from pairlens.cli.console import say
from pairlens.cli.launch import guard
from pairlens.comparison.run_study import Plan
from pairlens.comparison.study import Arm, Field, Study, read_study, write_study
from pairlens.core.records import to_plain
from pairlens.data.annotations import Listing, Photo
from pairlens.data.arrow_checks import SCHEMA
from pairlens.data.catalog import Catalog
from pairlens.data.images import decode, load_image
from pairlens.data.readers import read
from pairlens.evaluation.embeddings import Embeddings
from pairlens.experiments.build import make_learner
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run_folder import RunFolder
from pairlens.losses.protocols import wrap
from pairlens.model.embedder import Architecture, Embedder
from pairlens.training.checkpoint import load_checkpoint, save_checkpoint

SOURCE = Path(__file__).parent.parent / "src" / "pairlens"
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
# Where a person writes module:callable on a command line or in a study; test_opening_a_run_imports_nothing_it_names.
MAY_IMPORT = {"loss_spec.py"}


def dotted(node):
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def calls_that_run_code(text, name=""):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (m for m in modules if m.split(".")[0] in FORBIDDEN_MODULES | {"subprocess"})
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
            only = keywords.get("weights_only")
            if not (isinstance(only, ast.Constant) and only.value is True):
                yield called
        if isinstance(keywords.get("allow_pickle"), ast.Constant) and keywords["allow_pickle"].value:
            yield f"{called}(allow_pickle)"


def test_nothing_in_the_source_can_run_what_it_reads():
    found = {f.name: list(calls_that_run_code(f.read_text(), f.name)) for f in SOURCE.rglob("*.py")}
    assert not {name: calls for name, calls in found.items() if calls}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from pickle import loads", "eval(x)", "exec(x)", "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "np.load(f)", "import subprocess", "os.system(x)", "x.load(f, allow_pickle=True)", "importlib.import_module(x)",
    ],
)  # fmt: skip
def test_the_search_finds_what_it_looks_for(line):
    assert list(calls_that_run_code(line))


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, sentinel):
        self.sentinel = sentinel

    def __reduce__(self):
        return Path.touch, (self.sentinel,)


@pytest.fixture
def sentinel(tmp_path):
    file = tmp_path / "sentinel"
    pickle.loads(pickle.dumps(Bomb(file)))
    assert file.exists()
    file.unlink()
    yield file
    assert not file.exists()


@pytest.fixture
def model(tmp_path):
    made = Embedder(backbone="test_resnet", descriptors="SM", dim=8, weights="none", stride="none", image_size=32)
    folder = tmp_path / "model"
    folder.mkdir()
    made.save(folder)
    return folder


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


def test_weights_that_unpack_to_more_than_they_are_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(10**6))
    with pytest.raises(ValueError, match="could not be read as weights"):
        Embedder(backbone="test_resnet", weights=str(tmp_path / "w.pth"), stride="none", image_size=32)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="does not hold tensors by their names"):
        Embedder(backbone="test_resnet", weights=str(tmp_path / "list.pth"), stride="none", image_size=32)


@pytest.fixture
def trap(sentinel, tmp_path, monkeypatch):
    """A module that leaves a mark when it is imported."""
    (tmp_path / "trap_of_a_stranger.py").write_text(
        f"from pathlib import Path\nPath({str(sentinel)!r}).touch()\nloss = len\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "trap_of_a_stranger:loss"
    sys.modules.pop("trap_of_a_stranger", None)


def test_opening_a_run_imports_nothing_it_names(trap, tmp_path):
    experiment = replace(Experiment(), loss=wrap(len, trap))
    (tmp_path / "config.json").write_text(json.dumps(to_plain(experiment)))
    opened = RunFolder(tmp_path).experiment()
    with pytest.raises(ValueError, match="not stored with its run"):
        opened.loss.of_embeddings(torch.eye(2), torch.arange(2))
    plain = to_plain(experiment) | {"loss": trap}
    (tmp_path / "config.json").write_text(json.dumps(plain))
    with pytest.raises(ValueError, match="must be"):
        RunFolder(tmp_path).experiment()


def test_reading_a_study_and_its_results_imports_nothing_it_names(trap, tmp_path):
    from pairlens.comparison.statistics import measure

    write_study(Study((Arm("a", trap), Arm("b", "triplet")), (Field("f", Experiment()),)), tmp_path)
    with pytest.raises(ValueError, match="nothing is finished"):
        measure(tmp_path)


# Sizes that lie.


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, '{"seed": 1e400}', "\ud7ff", '{"loss": {"type": []}}']
)
@pytest.mark.parametrize("name", ["config.json", "outcome.json", "study.json", "results.json", "model.json"])
def test_json_that_python_cannot_hold_is_refused(name, text, model):
    from pairlens.comparison.results import read_results

    (model / name).write_text(text)
    place = RunFolder(model)
    opened = {
        "config.json": place.experiment,
        "outcome.json": place.read_outcome,
        "study.json": lambda: read_study(model),
        "results.json": lambda: read_results(model),
        "model.json": lambda: Embedder.load(model),
    }
    with pytest.raises(ValueError, match=r"\w+ .*(;|\.)") as refusal:
        opened[name]()
    assert len(str(refusal.value)) < 1500


def test_a_file_of_a_terabyte_of_nothing_is_refused(tmp_path):
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(ValueError, match="at most"):
        RunFolder(tmp_path).experiment()


def test_a_header_that_promises_too_much_is_refused(tmp_path, model):
    header = json.dumps({"vectors": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    for length in (len(header), 10**9, 2**63):
        (tmp_path / "g").write_bytes(struct.pack("<Q", length) + header + bytes(64))
        with pytest.raises(ValueError, match="not a readable file of embeddings"):
            Embeddings.load(tmp_path / "g")
        (model / "model.safetensors").write_bytes((tmp_path / "g").read_bytes())
        with pytest.raises(ValueError, match="damaged or of another shape"):
            Embedder.load(model)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dim": 2**24}, r"projections.0.weight is of shape"),
        ({"dim": 2**40}, "are too many"),
        ({"classes": 2**24}, "head.0.weight is missing"),
        ({"image_size": 10**6}, "are too many"),
        ({"backbone": "vit_giant_patch14_224", "image_size": 224}, "is missing"),
        ({"backbone": "hf-hub:stranger/model"}, "not a timm model"),
    ],
)
def test_a_model_that_is_larger_than_its_weights_is_never_built(model, change, said, monkeypatch):
    plain = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps(plain | change))
    devices = []
    untrained = Embedder.untrained.__func__

    def watched(kind, architecture, weights="none"):
        devices.append(torch.zeros(()).device.type)
        return untrained(kind, architecture, weights)

    monkeypatch.setattr(Embedder, "untrained", classmethod(watched))
    with pytest.raises(ValueError, match=said):
        Embedder.load(model)
    assert set(devices) <= {"meta"}


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"vectors": torch.eye(2).long()}, "int64 of shape"),
        ({"vectors": torch.zeros(2)}, "of shape"),
        ({"vectors": torch.full((2, 2), float("nan"))}, "not finite"),
        ({"labels": torch.zeros(2)}, "float32"),
        ({"vectors": torch.zeros(2, 0)}, "no vectors"),
    ],
)
def test_embeddings_of_another_kind_are_refused(tmp_path, tensors, said):
    names = {"paths": '["a", "b"]', "class_names": "[]"}
    good = {"vectors": torch.eye(2), "labels": torch.zeros(2, dtype=torch.int64)}
    (tmp_path / "g").write_bytes(save(good, names))
    assert len(Embeddings.load(tmp_path / "g").paths) == 2
    (tmp_path / "g").write_bytes(save(good | tensors, names))
    with pytest.raises(ValueError, match=said):
        Embeddings.load(tmp_path / "g")


@pytest.mark.parametrize("paths", ["[" * 10**5, "3", '"ab"', "[1, 2]", '["a", "b\\u001b[31m"]', '{"a": 1, "b": 2}'])
def test_names_of_embeddings_that_are_no_list_of_texts_are_refused(tmp_path, paths):
    tensors = {"vectors": torch.eye(2), "labels": torch.zeros(2, dtype=torch.int64)}
    (tmp_path / "g").write_bytes(save(tensors, {"paths": paths, "class_names": "[]"}))
    with pytest.raises(ValueError, match="not a readable file of embeddings"):
        Embeddings.load(tmp_path / "g")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("feature_dim", 10**9),
        ("image_size", 10**6),
        ("workers", 10**6),
        ("batch_size", 10**9),
        ("seed", 2**64),
        ("data_name", "../x"),
    ],
)
def test_settings_beyond_reason_are_refused(tmp_path, name, value):
    (tmp_path / "config.json").write_text(json.dumps(to_plain(Experiment()) | {name: value}))
    with pytest.raises(ValueError, match=name):
        RunFolder(tmp_path).experiment()


def test_a_checkpoint_cannot_put_anything_into_the_schedule(tiny, tmp_path):
    learner = make_learner(tiny, 4)
    save_checkpoint(learner, tmp_path)
    file = tmp_path / "checkpoint.safetensors"
    load_checkpoint(learner, tmp_path)
    from safetensors import safe_open

    with safe_open(file, "pt") as stored:
        names = stored.metadata()
    tensors = load_file(file)
    for part, name, value in (
        ("schedule", "step", "now"),
        ("schedule", "last_epoch", "1"),
        ("optimizer", "param_groups", []),
    ):
        tree = json.loads(names["tree"])
        tree[part][name] = value
        save_file(tensors, file, {**names, "tree": json.dumps(tree)})
        with pytest.raises(ValueError, match="damaged or of another"):
            load_checkpoint(learner, tmp_path)


# Annotations and pictures.


def element(kind, body):
    return struct.pack("<II", kind, len(body)) + body + bytes(-len(body) % 8)


def head(kind, sides=(1, 1), name=b""):
    return (
        element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack(f"<{len(sides)}i", *sides)) + element(1, name)
    )


def mat(*bodies):
    return b"MATLAB 5.0".ljust(124) + struct.pack("<HH", 0x0100, 0x4D49) + b"".join(bodies)


def nested(depth):
    inner, length, heads = element(14, head(6) + element(9, bytes(8))), 0, []
    length = len(inner)
    for _ in range(depth):
        heads.append(struct.pack("<II", 14, len(head(1)) + length) + head(1))
        length += len(heads[-1])
    return b"".join([*reversed(heads), inner])


# A depth of thousands ends the process inside scipy; a length of 0 hides the depth from whoever believes lengths.
HIDDEN = struct.pack("<II", 14, 8) + head(1)


@pytest.mark.parametrize(
    "contents",
    {
        "deep": mat(nested(50_000)),
        "deep, lengths hidden": mat(struct.pack("<II", 14, 56 * 50_001) + head(1) + HIDDEN * 50_000),
        "deep, compressed": mat(
            struct.pack("<II", 15, len(zlib.compress(nested(50_000)))) + zlib.compress(nested(50_000))
        ),
        "letters without end": mat(element(14, head(4, (2**31 - 1, 2**31 - 1)) + element(4, b""))),
        "cells without end": mat(element(14, head(1, (2**24, 1)))),
        "a function": mat(element(14, head(16) + element(14, b""))),
        "an old version": bytes(40),
    }.items(),
    ids=lambda item: item[0],
)
def test_a_mat_file_that_lies_is_refused_before_scipy_reads_it(tmp_path, contents, monkeypatch):
    (tmp_path / "cars_annos.mat").write_bytes(contents[1])
    monkeypatch.setattr("pairlens.data.readers.cars196.loadmat", lambda *_, **__: pytest.fail("scipy was asked"))
    with pytest.raises(ValueError, match="not Cars196's annotation file"):
        read("car", tmp_path)


def test_a_mat_file_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("pairlens.data.readers.mat_checks.MOST_BYTES", 1 << 22)
    packed = zlib.compress(bytes((1 << 22) + 1), 9)
    (tmp_path / "cars_annos.mat").write_bytes(mat(struct.pack("<II", 15, len(packed)) + packed))
    assert len(packed) < 10_000
    with pytest.raises(ValueError, match="unpacks to more than"):
        read("car", tmp_path)


def test_objects_of_matlab_are_refused(tmp_path):
    savemat(
        tmp_path / "cars_annos.mat", {"annotations": np.array([[{"a": 1}]], dtype=object), "class_names": np.arange(3)}
    )
    with pytest.raises(ValueError, match="not Cars196's annotation file"):
        read("car", tmp_path)


@pytest.mark.parametrize(
    "path", ["../up.jpg", "/etc/passwd", "a/../../up.jpg", "..\\up.jpg", "C:\\up.jpg", "a/..", "a/", ""]
)
def test_no_list_leads_out_of_its_folder(tmp_path, path):
    with pytest.raises(ValueError, match="is not inside"):
        Listing("x", tmp_path, (Photo(path, "a", "train"), Photo("b.jpg", "b", "test")))


@pytest.mark.parametrize("text", ["a\x1b[2Jb", "a\nb", "a\x00", "caf\udce9", "\x9b31m"])
def test_no_name_commands_the_terminal(tmp_path, text):
    for photo in (Photo(f"{text}.jpg", "a", "train"), Photo("a.jpg", text, "train")):
        with pytest.raises(ValueError, match="control character or is not UTF-8"):
            Listing("x", tmp_path, (photo,))


def test_what_is_printed_commands_no_terminal(capsys):
    say("class \x1b[2J\x9b1m")
    with pytest.raises(SystemExit):
        guard(lambda: (_ for _ in ()).throw(ValueError("\x1b]0;owned\x07")))
    out, err = capsys.readouterr()
    assert out == "class \\x1b[2J\\x9b1m\n"
    assert "\x1b" not in err


def test_a_parquet_table_repeats_no_long_text_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("pairlens.data.readers.table.MOST_ROWS", 3000)
    for long, rows in (("x" * 20_000, 2000), ("x", 3001)):
        column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array([long]))
        table = pa.table({"label": column, "path": column, "split": column})
        parquet.write_table(table, tmp_path / "t.parquet", row_group_size=rows)
        assert (tmp_path / "t.parquet").stat().st_size < 200_000
        with pytest.raises(ValueError, match=r"letters|more than any list"):
            read("csv", tmp_path / "t.parquet")


def test_only_formats_of_photos_are_opened(tmp_path):
    """EPS would start Ghostscript, an external program, on the file's own program."""
    picture = Image.new("RGB", (8, 8), "red")
    for kind in ("EPS", "PDF", "ICNS", "ICO", "SPIDER"):
        buffer = io.BytesIO()
        (picture.convert("F") if kind == "SPIDER" else picture).save(buffer, kind)
        with pytest.raises(ValueError, match="cannot be read as a picture"):
            load_image(buffer.getvalue())


def test_a_jpeg_that_says_it_is_enormous_is_refused(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    at = buffer.getvalue().index(b"\xff\xc0") + 5
    for side in (5000, 9900, 65000):
        lying = buffer.getvalue()[:at] + struct.pack(">HH", side, side) + buffer.getvalue()[at + 4 :]
        with pytest.raises(ValueError, match="prepare the data set again"):
            decode([lying], 8)
    with pytest.raises(ValueError, match="more than"):
        load_image(lying)


# Catalogs.


def rewritten(file, change=None, options=None, schema=SCHEMA):
    """Write a catalog anew with a change in its first rows, and its JSON to suit."""
    table = pa.ipc.open_file(file.read_bytes()).read_all().to_pydict()
    for name, value in (change or {}).items():
        table[name][0] = value
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema, options=options) as writer:
        writer.write_table(pa.table(table, schema=schema))
    belongs(file)


def belongs(file):
    beside = file.with_suffix(".json")
    beside.write_text(json.dumps(json.loads(beside.read_text()) | {"bytes": file.stat().st_size}))


@pytest.fixture
def bars(tmp_path):
    return write_bars(tmp_path / "bars" / "uncropped.arrow").file


def test_a_catalog_written_by_others_is_opened(bars):
    rewritten(bars)
    assert len(Catalog.open(bars)) == 48


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"path": "../../etc/passwd"}, "leads out of the folder"),
        ({"path": "/etc/passwd"}, "leads out of the folder"),
        ({"path": "a\x1b[31m"}, "leads out of the folder or is no text"),
        ({"path": None}, "empty cells"),
        ({"class_name": "another"}, "two names"),
        ({"label": 2**62}, "count 8 classes|count 9 classes"),
        ({"label": -1}, "labels run from -1"),
        ({"split": "holdout"}, "a split in it is unknown"),
        ({"jpeg": None}, "empty cells"),
    ],
)
def test_a_row_that_no_catalog_has_is_refused(bars, change, said):
    rewritten(bars, change)
    with pytest.raises(ValueError, match=said):
        Catalog.open(bars)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_a_compressed_catalog_is_refused_because_it_names_its_own_size(bars, codec):
    rewritten(bars, options=pa.ipc.IpcWriteOptions(compression=codec))
    with pytest.raises(ValueError, match="compressed"):
        Catalog.open(bars)


@pytest.mark.parametrize("kind", ["dictionary", "view", "large"])
def test_columns_of_another_kind_are_refused(bars, kind):
    types = {"dictionary": pa.dictionary(pa.int32(), pa.string()), "view": pa.string_view(), "large": pa.large_string()}
    at = SCHEMA.get_field_index("class_name")
    rewritten(bars, schema=SCHEMA.set(at, pa.field("class_name", types[kind])))
    with pytest.raises(ValueError, match=r"its columns are|not Pairlens's"):
        Catalog.open(bars)


def test_an_offset_beyond_its_buffer_is_refused(bars):
    """Arrow itself opens such a file, and reading the row ends the process."""
    data = bytearray(bars.read_bytes())
    first = Catalog.open(bars).jpeg(0).nbytes
    ends = struct.pack("<II", 0, first)
    at = data.index(ends, data.index(b"testtest"))
    for lie in (2**31 - 1, 2**32 - 1):
        data[at + 4 : at + 8] = struct.pack("<I", lie)
        bars.write_bytes(data)
        with pytest.raises(ValueError, match="is not a catalog of Pairlens"):
            Catalog.open(bars)


@pytest.mark.parametrize("change", [{"size": 10**6}, {"size": 0}])
def test_a_description_of_pictures_beyond_reason_is_refused(bars, change):
    beside = bars.with_suffix(".json")
    beside.write_text(json.dumps(json.loads(beside.read_text()) | change))
    with pytest.raises(ValueError, match="are never prepared"):
        Catalog.open(bars)


def test_no_name_in_a_study_leads_out_of_its_folder(tmp_path):
    """A run that is not finished is removed and begun again, so its folder must be one of the study's own."""
    for name in ("..", "../..", "/", "...", ".", "a/../../..", "\\..\\"):
        study = Study((Arm(name, "triplet"), Arm("other", "circle")), (Field(name, Experiment()),))
        plan = Plan(study, tmp_path / "study")
        place = plan.run_folder(study.fields[0], study.arms[0], 0).path.resolve()
        assert place.relative_to(tmp_path / "study" / "runs").parts[2:] == ("seed0",)
        tuning = plan.tuning_folder(study.fields[0], study.arms[0]).resolve()
        assert len(tuning.relative_to(tmp_path / "study" / "tuning").parts) == 2


def test_a_study_of_thousands_of_losses_is_checked_at_once():
    arms = tuple(Arm(f"loss {i}", "triplet") for i in range(5000))
    assert len(Study(arms, (Field("a", Experiment()),)).arms) == 5000


def test_what_defines_a_model_is_bounded():
    with pytest.raises(ValueError, match="are too many"):
        Architecture(dim=2**40)
