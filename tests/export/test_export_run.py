"""`pairlens export` of a run and of a backbone, and its model card."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from pairlens.experiments.run import run as train
from pairlens.experiments.run_folder import RunFolder
from pairlens.export import export_run as exporting
from pairlens.export.export_run import export_backbone, export_run
from pairlens.export.model_card import plain_program
from pairlens.model.embedder import Embedder
from pairlens.model.onnx_embedder import OnnxEmbedder
from support.commands import run
from support.experiments import changed

# Python starts as usual, but neither PyTorch nor Pairlens can be imported.
WITHOUT_BOTH = """
import runpy, sys
for name in ("torch", "torchvision", "pairlens", "onnx"):
    sys.modules[name] = None
file = sys.argv.pop(1)
runpy.run_path(file, run_name="__main__")
"""


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    return train(changed(tiny, num_epochs=1), tmp_path_factory.mktemp("runs") / "r").folder


@pytest.fixture(scope="module")
def file(trained):
    """The model of the run, exported by the command into the folder of the run."""
    assert run("export", trained, "--photos", 9, "--data_licence", "CC0") == 0
    return trained / "model.onnx"


def test_a_run_on_stored_features_is_exported_with_its_backbone(tiny_with_own_data, tmp_path):
    settings = changed(tiny_with_own_data, num_epochs=1, freeze="backbone", freeze_bn="statistics")
    folder = train(settings, tmp_path / "r").folder
    assert run("export", folder, "--photos", 9) == 0
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    photos = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    found = OnnxEmbedder.load(folder / "model.onnx").embed_pixels(pixels)
    assert found == pytest.approx(Embedder.load(folder).embed_batch(photos).numpy(), abs=1e-5)


def test_a_run_is_exported_with_a_card_beside_it(trained, file, capsys):
    model = OnnxEmbedder.load(file)
    assert model.fingerprint() == Embedder.load(trained).fingerprint()
    card = file.with_suffix(".md").read_text(encoding="utf-8")
    outcome = RunFolder(trained).read_outcome()
    metric = outcome.report.metrics[0]
    parts = [
        "# model.onnx",
        f"| fingerprint | `{model.fingerprint()}` |",
        "| licence of the pretrained weights | none: trained from random weights |",
        "| licence of the training photos | CC0 |",
        "- data: bars, uncropped",
        "- loss: `circle:margin=0.4,gamma=80.0`",
        "- backbone weights at the start: none",
        "- epochs: 1, seed 0",
        metric.with_interval,
        outcome.selection,
        "9 photos: cosine of the vectors of PyTorch and ONNX at least 1.0000000",
        "the same 10 nearest of 24 photos: for 100.0% of the photos",
        plain_program(),
    ]
    for part in parts:
        assert part in card


def test_the_plain_program_embeds_a_photo_without_pytorch_and_pairlens(trained, file, tmp_path):
    program = tmp_path / "embed_photo.py"
    program.write_text(plain_program(), encoding="utf-8")
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    photo = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).resize((301, 403), Image.Resampling.BICUBIC).save(photo, quality=90, exif=exif)
    command = [sys.executable, "-c", WITHOUT_BOTH, str(program), str(file), str(photo)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, env=environment)
    assert done.returncode == 0, done.stderr
    vector = np.array(json.loads(done.stdout))
    assert vector @ Embedder.load(trained).embed(photo).numpy() >= 0.9999
    assert vector @ OnnxEmbedder.load(file).embed(photo) >= 0.9999


def test_the_block_of_that_test_blocks(tmp_path):
    for name in ("torch", "pairlens"):
        program = tmp_path / "program.py"
        program.write_text(f"import {name}\n", encoding="utf-8")
        command = [sys.executable, "-c", WITHOUT_BOTH, str(program)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        assert f"import of {name} halted" in done.stderr


def test_the_command_prints_the_check_and_the_files(trained, tmp_path, capsys, monkeypatch, file):
    contents = file.read_bytes()
    monkeypatch.setattr("pairlens.export.onnx_model.onnx_contents", lambda *_: contents)
    assert run("export", trained, "--out", tmp_path / "a.onnx", "--photos", 3) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("3 photos: cosine of the vectors of PyTorch and ONNX at least ")
    assert lines[-2:] == [f"model: {tmp_path / 'a.onnx'}", f"card:  {tmp_path / 'a.md'}"]
    assert (tmp_path / "a.onnx").read_bytes() == contents


def test_training_photos_calibrate_an_int8_model(trained, file, tmp_path, capsys, monkeypatch):
    contents = file.read_bytes()
    monkeypatch.setattr("pairlens.export.onnx_model.onnx_contents", lambda *_: contents)
    assert run("export", trained, "--out", tmp_path / "i.onnx", "--calibrate", 6) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("24 photos: ")
    assert OnnxEmbedder.load(tmp_path / "i.onnx").description.precision == "int8"
    assert "| precision | int8 |" in (tmp_path / "i.md").read_text(encoding="utf-8")


def test_a_backbone_is_exported_by_its_name(tmp_path, monkeypatch):
    given = {}

    def record(model, file, photos, **_named):
        given.update(model=model, file=file, photos=photos)
        raise ValueError("as far as here")

    # The export itself is tested in test_onnx_model.py.
    monkeypatch.setattr(exporting, "export_onnx", record)
    with pytest.raises(ValueError, match="as far as here"):
        export_backbone("test_resnet", tmp_path / "b.onnx", weights="none", image_size=32, photos=5)
    assert given["photos"].pixels.shape == (5, 32, 32, 3)
    assert given["photos"].stored.shape == (5, 252, 252, 3)
    assert given["model"].architecture.backbone == "test_resnet"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["{run}", "--out", "model.txt"], "model.txt must end in .onnx"),
        (["{run}", "--photos", "0"], "photos 0 must be a whole number, 1 or more"),
        (["{run}", "--precision", "float16", "--calibrate", "9"], "--calibrate makes an int8 model; leave out"),
        (["resnet18", "--calibrate", "9"], "int8 is for the model of a run"),
        (["no/run"], "no/run is not the folder of a run: it has no config.json"),
        (["resnet_1000"], "backbone_type 'resnet_1000' is not a timm model"),
        (["{run}", "--data_path", "nowhere"], "nowhere"),
    ],
)
def test_wrong_words_are_one_sentence(trained, words, sentence, capsys):
    assert run("export", *(word.format(run=trained) for word in words)) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_a_gallery_of_another_model_is_refused(trained, tmp_path):
    gallery = RunFolder(trained).gallery
    kept = gallery.read_bytes()
    try:
        gallery.write_bytes(b"nothing")
        with pytest.raises(ValueError, match="not a readable file of embeddings"):
            export_run(trained, tmp_path / "a.onnx")
    finally:
        gallery.write_bytes(kept)
