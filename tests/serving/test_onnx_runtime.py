"""A model of PyTorch that is served with onnxruntime: the same vectors, and PyTorch where it cannot be."""

import numpy as np
import pytest

from pairlens.cli.main import main
from pairlens.collection.collection import Collection
from pairlens.serving import onnx_runtime
from pairlens.serving.onnx_runtime import OnnxRuntime, as_onnx
from support.served_collection import picture, serving, tiny_model

for package in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def converted():
    return as_onnx(tiny_model())


def test_the_vectors_are_those_of_pytorch(converted):
    model = tiny_model()
    assert (converted.kind, converted.fingerprint, converted.view) == ("onnx", model.fingerprint, model.view)
    seen = np.stack([model.read(picture(number)).seen for number in range(3)])
    np.testing.assert_allclose(converted.embed(seen), model.embed(seen), atol=1e-5)


def test_a_served_photo_is_embedded_searched_and_explained(converted, shop_folder, tmp_path, monkeypatch):
    calls = []

    def counted(model):
        calls.append(model.fingerprint)
        return converted

    monkeypatch.setattr(onnx_runtime, "as_onnx", counted)
    shop = Collection.open(shop_folder)
    with serving(shop, tmp_path / "queries", runtime="onnx") as client:
        assert calls == [shop.model.fingerprint]
        monkeypatch.setattr(type(shop.model), "embed", _only_onnx(type(shop.model).embed))
        answer = client.post("/api/search", files={"photo": picture(3)}).json()
        assert answer["matches"][0]["score"] == pytest.approx(1, abs=1e-5)
        asked = {"photo": answer["photos"][0], "match": answer["matches"][1]["id"]}
        assert client.post("/api/explanation", json=asked).json()["is_exact"]
    assert len(calls) == 1


def _only_onnx(embed):
    def checked(model, seen):
        assert model.kind == "onnx"
        return embed(model, seen)

    return checked


def test_what_onnx_cannot_express_is_served_with_pytorch(converted, monkeypatch, caplog):
    model = tiny_model()

    def impossible(model):
        raise ValueError("resnet10t cannot be expressed in ONNX (no such operator)")

    monkeypatch.setattr(onnx_runtime, "as_onnx", impossible)
    runtime = OnnxRuntime()
    assert runtime.of(model) is model
    assert "is served with PyTorch: resnet10t cannot be expressed in ONNX" in caplog.text
    # A file is what it is.
    assert runtime.of(converted) is converted


def test_other_vectors_are_refused(converted, monkeypatch):
    monkeypatch.setattr(onnx_runtime.OnnxEmbedder, "from_bytes", lambda *given: _Turned(converted.network))
    monkeypatch.setattr("pairlens.export.onnx_model.onnx_contents", lambda network: b"")
    with pytest.raises(ValueError, match="computes other vectors"):
        as_onnx(tiny_model())


class _Turned:
    def __init__(self, network):
        self.network = network

    def embed_pixels(self, pixels):
        return np.roll(self.network.embed_pixels(pixels), 1, axis=1)


def test_a_missing_package_is_said_before_anything_starts(monkeypatch, shop_folder, capsys):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(SystemExit) as ended:
        main(["serve", str(shop_folder), "--runtime", "onnx"])
    assert ended.value.code == 2
    assert "pip install 'pairlens[onnx]'" in capsys.readouterr().err
