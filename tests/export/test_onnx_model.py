import json

import numpy as np
import onnx
import pytest
import torch

from pairlens.export import onnx_model
from pairlens.export.onnx_model import ARCHITECTURE_KEY, export_onnx
from pairlens.export.parity import ComparedPhotos
from pairlens.model.backbone import Backbone
from pairlens.model.check_sum import check_sum
from pairlens.model.embedder import Embedder
from pairlens.model.onnx_embedder import OnnxEmbedder
from pairlens.model.onnx_file import METADATA_KEY
from pairlens.model.plain_backbone import PlainBackbone
from support.onnx_models import PHOTOS, SIZE, small_model


def vectors_of(model, pixels):
    return model.embed_batch(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()


@pytest.mark.parametrize("photos", [1, 2, 13])
def test_the_file_computes_the_vectors_of_the_model_for_any_number_of_photos(exported, photos):
    vectors = OnnxEmbedder.load(exported.file).embed_pixels(PHOTOS[:photos])
    assert np.abs(vectors - vectors_of(exported.model, PHOTOS[:photos])).max() < 2e-6
    # The check would pass if all photos had one vector.
    assert photos == 1 or np.abs(vectors[0] - vectors[1]).max() > 1e-3


def test_an_export_changes_nothing_of_the_model(exported):
    assert exported.model.training
    assert exported.model.backbone.network.training
    assert exported.model.fingerprint() == small_model().fingerprint()


def test_the_file_says_how_photos_become_pixels_and_which_model_it_is(exported):
    told = OnnxEmbedder.load(exported.file).description
    shape = exported.model.architecture
    assert told.fingerprint == exported.model.fingerprint()
    assert (told.dim, told.image_size, told.stored_size, told.stored_quality) == (12, SIZE, 252, 95)
    assert (told.backbone, told.descriptors, told.precision) == ("test_resnet", "SMG", "float32")
    assert (told.weights_licence, told.data_licence) == ("MIT", "CC BY 4.0")
    assert np.allclose(told.std, exported.model.backbone.std)
    stored = {entry.key: json.loads(entry.value) for entry in onnx.load(exported.file).metadata_props}
    assert set(stored) == {METADATA_KEY, ARCHITECTURE_KEY}
    assert stored[ARCHITECTURE_KEY]["learn_power"] is shape.learn_power


def test_the_file_names_no_path_and_no_line_of_this_machine(exported):
    contents = exported.file.read_bytes()
    assert b".py" not in contents
    assert b"stack_trace" not in contents


def test_a_photo_of_another_size_is_resized_in_the_graph(exported):
    model = OnnxEmbedder.load(exported.file)
    large = PHOTOS[:2].repeat(3, axis=1).repeat(2, axis=2)  # (2, 96, 64, 3)
    vectors = model.embed_pixels(large)
    assert vectors.shape == (2, 12)
    # The same resizing by torch, in floats, is not rounded to whole levels.
    planes = torch.from_numpy(large).permute(0, 3, 1, 2).float()
    resized = torch.nn.functional.interpolate(planes, (SIZE, SIZE), mode="bilinear", antialias=True)
    expected = vectors_of(exported.model, resized.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy())
    assert (vectors * expected).sum(axis=1).min() > 0.999


def test_half_precision_is_another_model_of_half_the_size(exported, tmp_path):
    file = tmp_path / "half.onnx"
    parity = export_onnx(exported.model, file, ComparedPhotos(PHOTOS), precision="float16")
    half = OnnxEmbedder.load(file)
    assert half.fingerprint() == exported.model.fingerprint() + "-float16"
    assert file.stat().st_size < 0.7 * exported.file.stat().st_size
    assert 0.999 <= parity.least_cosine < 1 - 1e-9
    assert half.embed_pixels(PHOTOS[:3]).dtype == np.float32


def test_a_backbone_as_it_comes_and_a_module_from_outside_are_exported_too(tmp_path):
    plain = PlainBackbone(Backbone("test_resnet", "none", "none", SIZE), "test_resnet", SIZE)
    export_onnx(plain, tmp_path / "plain.onnx", ComparedPhotos(PHOTOS))
    told = OnnxEmbedder.load(tmp_path / "plain.onnx").description
    assert told.fingerprint == check_sum(plain.state_dict())
    assert told.descriptors == ""
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3, stride=2), torch.nn.ReLU())
    given = Embedder.of(layers, dim=4, image_size=SIZE)
    assert export_onnx(given, tmp_path / "given.onnx", ComparedPhotos(PHOTOS)).least_cosine > 0.99999


def test_a_file_that_computes_something_else_is_not_written(exported, tmp_path, monkeypatch):
    other = small_model(descriptors="S")
    monkeypatch.setattr(onnx_model, "onnx_contents", lambda *_: exported.file.read_bytes())
    with pytest.raises(ValueError, match=r"does not compute what the model computes: the least cosine .* nothing is"):
        export_onnx(other, tmp_path / "model.onnx", ComparedPhotos(PHOTOS))
    assert list(tmp_path.iterdir()) == []


class BranchOnAValue(torch.nn.Module):
    def forward(self, photos):
        # The exporter has no values, so it cannot follow one of the two branches.
        return photos if float(photos.sum()) >= 0 else -photos


def test_what_onnx_cannot_express_is_one_sentence(tmp_path):
    model = Embedder.of(BranchOnAValue(), dim=4, image_size=SIZE)
    with pytest.raises(ValueError, match=r"BranchOnAValue cannot be expressed in ONNX \([^\n]+\)$"):
        export_onnx(model, tmp_path / "model.onnx", ComparedPhotos(PHOTOS))
    assert list(tmp_path.iterdir()) == []
