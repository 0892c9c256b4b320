"""Models, embeddings, checkpoints, runs and studies of strangers: none takes all memory by what it says of itself."""

import json
import struct
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from pairlens.comparison.run_study import Plan
from pairlens.comparison.study import Arm, Benchmark, Study, read_study
from pairlens.core.records import to_plain
from pairlens.evaluation.embeddings import Embeddings
from pairlens.experiments.build import make_learner
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run_folder import RunFolder
from pairlens.model.embedder import Architecture, Embedder
from pairlens.training.checkpoint import load_checkpoint, save_checkpoint


def test_weights_that_unpack_to_more_than_they_are_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(10**6))
    with pytest.raises(ValueError, match="could not be read as weights"):
        Embedder(backbone="test_resnet", weights=str(tmp_path / "w.pth"), stride="none", image_size=32)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="does not hold tensors by their names"):
        Embedder(backbone="test_resnet", weights=str(tmp_path / "list.pth"), stride="none", image_size=32)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, '{"seed": 1e400}', "\ud7ff", '{"loss": {"type": []}}']
)
@pytest.mark.parametrize("name", ["config.json", "outcome.json", "study.json", "results.json", "model.json"])
def test_json_that_python_cannot_hold_is_refused(name, text, model):
    from pairlens.comparison.results import read_results

    (model / name).write_text(text, encoding="utf-8")
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
    plain = json.loads((model / "model.json").read_text(encoding="utf-8"))
    (model / "model.json").write_text(json.dumps(plain | change), encoding="utf-8")
    devices = []
    untrained = Embedder.from_architecture.__func__

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
    (tmp_path / "config.json").write_text(json.dumps(to_plain(Experiment()) | {name: value}), encoding="utf-8")
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


def test_no_name_in_a_study_leads_out_of_its_folder(tmp_path):
    """A run that is not finished is removed and begun again, so its folder must be one of the study's own."""
    for name in ("..", "../..", "/", "...", ".", "a/../../..", "\\..\\"):
        study = Study((Arm(name, "triplet"), Arm("other", "circle")), (Benchmark(name, Experiment()),))
        plan = Plan(study, tmp_path / "study")
        place = plan.run_folder(study.fields[0], study.arms[0], 0).path.resolve()
        assert place.relative_to(tmp_path / "study" / "runs").parts[2:] == ("seed0",)
        tuning = plan.tuning_folder(study.fields[0], study.arms[0]).resolve()
        assert len(tuning.relative_to(tmp_path / "study" / "tuning").parts) == 2


def test_a_study_of_thousands_of_losses_is_checked_at_once():
    arms = tuple(Arm(f"loss {i}", "triplet") for i in range(5000))
    assert len(Study(arms, (Benchmark("a", Experiment()),)).arms) == 5000


def test_what_defines_a_model_is_bounded():
    with pytest.raises(ValueError, match="are too many"):
        Architecture(dim=2**40)
