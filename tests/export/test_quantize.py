import numpy as np
import pytest

from pairlens.export.onnx_model import export_onnx
from pairlens.export.parity import ComparedPhotos
from pairlens.export.quantize import quantized_contents
from pairlens.model.onnx_embedder import OnnxEmbedder
from support.onnx_models import PHOTOS


def test_an_int8_file_is_another_model_and_its_distance_is_measured(exported, tmp_path, monkeypatch):
    contents = exported.file.read_bytes()
    monkeypatch.setattr("pairlens.export.onnx_model.onnx_contents", lambda *_: contents)
    file = tmp_path / "int8.onnx"
    parity = export_onnx(exported.model, file, ComparedPhotos(PHOTOS[6:]), precision="int8", calibration=PHOTOS[:6])
    model = OnnxEmbedder.load(file)
    assert model.description.precision == "int8"
    assert model.fingerprint().startswith(f"{exported.model.fingerprint()}-int8-")
    assert 0.5 < parity.least_cosine < 0.99999
    # The ranges of other photos give other weights of the activations, and so another model.
    other = OnnxEmbedder.from_bytes(quantized_contents(contents, PHOTOS[:1] // 4))
    assert other.fingerprint() != model.fingerprint()
    differences = np.abs(model.embed_pixels(PHOTOS) - OnnxEmbedder.load(exported.file).embed_pixels(PHOTOS))
    assert differences.max() > 1e-4


def test_without_photos_nothing_is_calibrated(exported):
    with pytest.raises(ValueError, match="int8 needs photos to calibrate on; give at least one"):
        quantized_contents(exported.file.read_bytes(), PHOTOS[:0])
