"""Untrusted models, embeddings, checkpoints, runs and studies cannot exhaust the memory by the sizes they state."""

import json
import struct
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from pairlens.comparison.study import Arm, Benchmark, Study
from pairlens.comparison.study_file import read_study
from pairlens.comparison.study_plan import Plan
from pairlens.core.records import to_plain
from pairlens.evaluation.embeddings import Embeddings
from pairlens.experiments.build import make_learner
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run_folder import RunFolder
from pairlens.model.embedder import Architecture, Embedder
from pairlens.training.checkpoint import PREVIOUS_CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from support.tiny_training import tiny_learner


def test_compressed_weights_are_an_error(tmp_path):
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
def test_json_that_python_cannot_parse_is_an_error(name, text, model):
    from pairlens.comparison.results import read_results

    (model / name).write_text(text, encoding="utf-8")
    run_folder = RunFolder(model)
    readers = {
        "config.json": run_folder.experiment,
        "outcome.json": run_folder.read_outcome,
        "study.json": lambda: read_study(model),
        "results.json": lambda: read_results(model),
        "model.json": lambda: Embedder.load(model),
    }
    with pytest.raises(ValueError, match=r"\w+ .*(;|\.)") as error:
        readers[name]()
    assert len(str(error.value)) < 1500


def test_a_sparse_file_of_a_terabyte_is_an_error(tmp_path):
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(ValueError, match="at most"):
        RunFolder(tmp_path).experiment()


def test_a_header_that_states_too_large_a_tensor_is_an_error(tmp_path, model):
    header = json.dumps({"vectors": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    for length in (len(header), 10**9, 2**63):
        (tmp_path / "g").write_bytes(struct.pack("<Q", length) + header + bytes(64))
        with pytest.raises(ValueError, match="not a readable file of embeddings"):
            Embeddings.load(tmp_path / "g")
        (model / "model.safetensors").write_bytes((tmp_path / "g").read_bytes())
        with pytest.raises(ValueError, match="damaged or of another shape"):
            Embedder.load(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": 2**24}, r"projections.0.weight is of shape"),
        ({"dim": 2**40}, "must be at most"),
        ({"classes": 2**24}, "head.0.weight is missing"),
        ({"image_size": 10**6}, "must be at most"),
        ({"backbone": "vit_giant_patch14_224", "image_size": 224}, "is missing"),
        ({"backbone": "hf-hub:untrusted/model"}, "not a timm model"),
    ],
)
def test_a_model_that_is_larger_than_its_weights_is_never_allocated(model, change, message, monkeypatch):
    plain = json.loads((model / "model.json").read_text(encoding="utf-8"))
    (model / "model.json").write_text(json.dumps(plain | change), encoding="utf-8")
    devices = []
    from_architecture = Embedder.from_architecture.__func__

    def watched(kind, architecture, weights="none", module=None, runs_once=True):
        devices.append(torch.zeros(()).device.type)
        return from_architecture(kind, architecture, weights, module, runs_once)

    monkeypatch.setattr(Embedder, "from_architecture", classmethod(watched))
    with pytest.raises(ValueError, match=message):
        Embedder.load(model)
    assert set(devices) <= {"meta"}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"vectors": torch.eye(2).long()}, "int64 of shape"),
        ({"vectors": torch.zeros(2)}, "of shape"),
        ({"vectors": torch.full((2, 2), float("nan"))}, "not finite"),
        ({"labels": torch.zeros(2)}, "float32"),
        ({"vectors": torch.zeros(2, 0)}, "no vectors"),
    ],
)
def test_embeddings_of_another_type_or_shape_are_an_error(tmp_path, tensors, message):
    names = {"paths": '["a", "b"]', "class_names": "[]"}
    valid = {"vectors": torch.eye(2), "labels": torch.zeros(2, dtype=torch.int64)}
    (tmp_path / "g").write_bytes(save(valid, names))
    assert len(Embeddings.load(tmp_path / "g").paths) == 2
    (tmp_path / "g").write_bytes(save(valid | tensors, names))
    with pytest.raises(ValueError, match=message):
        Embeddings.load(tmp_path / "g")


@pytest.mark.parametrize("paths", ["[" * 10**5, "3", '"ab"', "[1, 2]", '["a", "b\\u001b[31m"]', '{"a": 1, "b": 2}'])
def test_paths_of_embeddings_that_are_not_a_list_of_texts_are_an_error(tmp_path, paths):
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
def test_settings_out_of_range_are_an_error(tmp_path, name, value):
    (tmp_path / "config.json").write_text(json.dumps(to_plain(Experiment()) | {name: value}), encoding="utf-8")
    with pytest.raises(ValueError, match=name):
        RunFolder(tmp_path).experiment()


def test_a_checkpoint_with_a_changed_schedule_or_optimizer_is_an_error(tiny, tmp_path):
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


def test_a_name_in_a_study_cannot_lead_out_of_its_folder(tmp_path):
    """An unfinished run is removed and started again, so its folder must be inside the study."""
    for name in ("..", "../..", "/", "...", ".", "a/../../..", "\\..\\"):
        study = Study((Arm(name, "triplet"), Arm("other", "circle")), (Benchmark(name, Experiment()),))
        plan = Plan(study, tmp_path / "study")
        run_folder = plan.run_folder(study.fields[0], study.arms[0], 0).path.resolve()
        assert run_folder.relative_to(tmp_path / "study" / "runs").parts[2:] == ("seed0",)
        tuning_folder = plan.tuning_folder(study.fields[0], study.arms[0]).resolve()
        assert len(tuning_folder.relative_to(tmp_path / "study" / "tuning").parts) == 2


def test_a_study_of_thousands_of_losses_is_checked_quickly():
    arms = tuple(Arm(f"loss {i}", "triplet") for i in range(5000))
    assert len(Study(arms, (Benchmark("a", Experiment()),)).arms) == 5000


def test_the_dimension_of_a_model_is_bounded():
    with pytest.raises(ValueError, match="must be at most"):
        Architecture(dim=2**40)


@pytest.mark.parametrize(("kind", "words"), [(torch.int8, "integers"), (torch.bool, "truth values")])
def test_weights_of_other_numbers_than_floats_are_an_error(kind, words, model):
    weights = load_file(model / "model.safetensors")
    name = next(name for name in weights if name.startswith("projections"))
    save_file(weights | {name: weights[name].to(kind)}, model / "model.safetensors")
    with pytest.raises(ValueError, match=rf"{name} holds {words}, not floats"):
        Embedder.load(model)


def test_a_checkpoint_with_weights_of_other_numbers_than_floats_is_an_error(tmp_path):
    made = tiny_learner(torch.device("cpu"))
    save_checkpoint(made, tmp_path)
    parameter = made.model.projections[0].weight
    parameter.data = parameter.data.to(torch.float16)
    save_checkpoint(made, tmp_path)
    load_checkpoint(tiny_learner(torch.device("cpu")), tmp_path)  # a lower precision is no other kind of number
    parameter.requires_grad_(False).data = parameter.data.to(torch.int8)
    save_checkpoint(made, tmp_path)
    # Otherwise the learner would resume from the checkpoint before this one.
    (tmp_path / PREVIOUS_CHECKPOINT_FILE).unlink()
    with pytest.raises(ValueError, match=r"projections\.0\.weight holds integers, not floats"):
        load_checkpoint(tiny_learner(torch.device("cpu")), tmp_path)
