"""Packed convolutions are the same function, are used where they may be, and leave every other pass as it is."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from pairlens.collection.collection_model import backbone_model, run_model
from pairlens.data.catalog import Catalog
from pairlens.evaluation.embeddings import embed
from pairlens.experiments import feature_pass
from pairlens.experiments.run import train_without_files
from pairlens.model import packed_convolution
from pairlens.model.backbone import Backbone
from pairlens.model.convolution import has_onednn
from pairlens.model.embedder import Embedder
from pairlens.model.packed_convolution import PackedConvolution, pack_convolutions, packed_convolutions
from pairlens.model.plain_backbone import PlainBackbone
from support.experiments import changed

pytestmark = pytest.mark.skipif(not has_onednn(), reason="packed weights are for processors of Intel and AMD")

# Activations: modules of their own, in BatchNorm as ReLU6, as SiLU, which is not computed with the convolution; none at all.
BACKBONES = ["test_resnet", "resnet50", "efficientnet_lite0", "test_efficientnet", "resnetv2_50", "convnext_atto"]


def backbone(name, stride="none"):
    """A backbone in evaluation mode whose BatchNorm changes its input."""
    torch.manual_seed(0)
    network = Backbone(name, "none", stride, 64).eval()
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.3)
    return network


def packed_layers(network):
    forwards = [vars(module).get("forward") for module in network.modules()]
    return [forward for forward in forwards if isinstance(forward, PackedConvolution)]


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_packed_network_is_the_same_function(name, threads):
    network = backbone(name)
    assert len(pack_convolutions(copy.deepcopy(network))) == network.fused_pairs
    for photos in (torch.randn(1, 3, 64, 64), torch.randn(5, 3, 64, 64), torch.randn(2, 3, 48, 80)):
        with torch.inference_mode():
            expected = network(photos)
            with packed_convolutions(network):
                # The second pass computes with the weights that the first one has packed.
                for _ in range(2):
                    assert torch.allclose(network(photos), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
                assert all(layer.packed and not layer.is_refused for layer in packed_layers(network))
            assert packed_layers(network) == []
            assert torch.equal(network(photos), expected)


def test_one_thread_has_one_layout_and_several_have_two(threads):
    network = backbone("test_resnet")
    layers = pack_convolutions(network)
    with torch.no_grad():
        for count in (1, 4, 1, 2):
            network(torch.randn(count, 3, 64, 64))
    assert {len(layer.packed) for layer in layers} == {threads}


def test_the_activation_of_a_batchnorm_is_computed_once():
    network = backbone("efficientnet_lite0")
    calls = []
    for module in network.modules():
        if isinstance(module, nn.ReLU6):
            module.register_forward_hook(lambda *_: calls.append(1))
    photo = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        network(photo)
        assert len(calls) == 33
        calls.clear()
        with packed_convolutions(network):
            network(photo)
    assert calls == []


@pytest.mark.parametrize("name", ["test_resnet", "efficientnet_lite0"])
def test_gradients_other_precisions_and_training_are_as_without_packed_weights(name):
    photos = torch.randn(2, 3, 64, 64)

    def passes(network):
        found = [network(photos).detach()]
        photo = photos.clone().requires_grad_()
        network(photo).square().sum().backward()
        found += [photo.grad, *(parameter.grad for parameter in network.parameters())]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            found.append(network(photos))
        with torch.no_grad():
            # In training mode with statistics of the batch, of a copy: they would be those of the next pass.
            found.append(copy.deepcopy(network).train()(photos))
            found.append(copy.deepcopy(network).double()(photos.double()))
            found.append(network(photos[:0]))
        return found

    expected = passes(backbone(name))
    network = backbone(name)
    layers = pack_convolutions(network)
    assert all(map(torch.equal, passes(network), expected))
    assert not any(layer.packed for layer in layers)


def test_a_copy_packs_its_own_weights():
    network = backbone("test_resnet")
    pack_convolutions(network)
    photo = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = network(photo)
        copied = copy.deepcopy(network)
        for parameter in copied.parameters():
            parameter.mul_(1.1)
        assert not torch.allclose(copied(photo), expected, rtol=1e-2)
        assert torch.equal(network(photo), expected)


def test_threads_may_pack_and_unpack_while_others_compute():
    network = backbone("efficientnet_lite0")
    photo = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = network(photo)

    def embed(packs):
        with torch.no_grad():
            for _ in range(12):
                if not packs:
                    yield network(photo)
                    continue
                with packed_convolutions(network):
                    yield network(photo)

    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(lambda packs: list(embed(packs)), [True, False, False]):
            assert all(torch.allclose(one, expected, rtol=1e-4, atol=1e-4) for one in found)


@pytest.mark.parametrize("error", [RuntimeError("unknown layout"), TypeError("another signature")])
def test_another_version_of_pytorch_computes_as_before(monkeypatch, error):
    def refuse(*_):
        raise error

    monkeypatch.setattr(PackedConvolution, "_pack", refuse)
    network = backbone("efficientnet_lite0")
    photo = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = network(photo)
        with packed_convolutions(network):
            assert torch.equal(network(photo), expected)


def test_what_cannot_be_packed_is_left_alone(monkeypatch):
    assert pack_convolutions(object()) == []
    assert pack_convolutions(nn.Conv2d(3, 4, 3)) == []
    compiled = backbone("test_resnet")
    compiled.network.compile()
    assert pack_convolutions(compiled) == []
    monkeypatch.setattr(packed_convolution, "has_onednn", lambda: False)
    assert pack_convolutions(backbone("test_resnet")) == []


def test_evaluation_packs_for_as_long_as_it_takes(data_path, monkeypatch):
    model = Embedder(backbone="test_resnet", descriptors="SM", dim=8, classes=2, weights="none", image_size=32)
    seen = []
    embed_batch = model.embed_batch
    monkeypatch.setattr(model, "embed_batch", lambda photos: seen.append(packed_layers(model)) or embed_batch(photos))
    embed(model, Catalog.open(data_path / "bars" / "uncropped.arrow").select("test"), batch_size=10, workers=0)
    assert [len(layers) for layers in seen] == [model.backbone.fused_pairs] * 3
    assert all(layer.packed for layer in seen[0])
    assert packed_layers(model) == []


def test_a_frozen_backbone_packs_while_it_computes_features(tiny_with_own_data, monkeypatch):
    seen = []
    pool_all = feature_pass.pool_all

    def watched(model, photos):
        seen.append(len(packed_layers(model)) == model.backbone.fused_pairs > 0)
        return pool_all(model, photos)

    monkeypatch.setattr(feature_pass, "pool_all", watched)
    train_without_files(changed(tiny_with_own_data, freeze="backbone", freeze_bn="statistics", num_epochs=1))
    assert seen
    assert all(seen)


@pytest.mark.parametrize("kind", ["backbone", "run"])
def test_the_network_of_a_collection_stays_packed_and_is_stored_as_it_was(kind, tmp_path):
    if kind == "run":
        made = Embedder(backbone="test_resnet", descriptors="SM", dim=8, classes=2, weights="none", image_size=32)
        (tmp_path / "run").mkdir()
        made.save(tmp_path / "run")
        model = run_model(tmp_path / "run")
    else:
        model = backbone_model("test_resnet", 32, "none")
    photos = torch.randint(256, (6, 32, 32, 3), dtype=torch.uint8).numpy()
    vectors = model.embed(photos)
    layers = packed_layers(model.network)
    assert layers
    assert all(layer.packed for layer in layers)
    (tmp_path / "saved").mkdir()
    model.network.save(tmp_path / "saved")
    again = (Embedder if kind == "run" else PlainBackbone).load(tmp_path / "saved")
    expected = again.embed_batch(torch.from_numpy(photos).permute(0, 3, 1, 2))
    assert torch.allclose(torch.from_numpy(vectors), expected, atol=1e-5)


def test_a_trace_of_a_packed_network_takes_any_number_of_photos():
    network = backbone("test_resnet")
    pack_convolutions(network)
    with torch.no_grad():
        shapes = {"photos": {0: torch.export.Dim("photo", min=1)}}
        program = torch.export.export(network, (torch.randn(2, 3, 64, 64),), dynamic_shapes=shapes)
        for count in (1, 2, 5):
            photos = torch.randn(count, 3, 64, 64)
            assert torch.allclose(program.module()(photos), network(photos), atol=1e-4)
