"""On a CPU a batch is embedded in passes, with the vectors that its photos have one by one."""

import pytest
import torch

from pairlens.experiments.feature_pass import pool_all
from pairlens.model.backbone import Backbone
from pairlens.model.embedder import Embedder
from pairlens.model.passes import passes_of
from pairlens.model.plain_backbone import PlainBackbone


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Embedder(backbone="resnet10t", descriptors="SG", dim=16, weights="none", image_size=128).eval()


@pytest.fixture(scope="module")
def photos():
    return torch.randint(0, 256, (35, 3, 128, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def sizes_seen(layer, compute):
    """Returns what `compute` returns, and how many photos the layer saw at a time."""
    sizes = []
    hook = layer.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    try:
        return compute(), sizes
    finally:
        hook.remove()


def test_an_embedder(model, photos):
    vectors, sizes = sizes_seen(model.backbone.network.conv1, lambda: model.embed_batch(photos))
    assert sizes == [16, 16, 3]
    alone = torch.cat([model.embed_batch(photo[None]) for photo in photos])
    torch.testing.assert_close(vectors, alone, atol=1e-5, rtol=0)
    # Vectors of inference mode could not take part in training.
    assert not vectors.is_inference()


def test_a_plain_backbone(photos):
    plain = PlainBackbone(Backbone("resnet10t", "none", "none", 128), "resnet10t", 128).eval()
    vectors, sizes = sizes_seen(plain.network.conv1, lambda: plain.embed_batch(photos))
    assert sizes == [16, 16, 3]
    torch.testing.assert_close(vectors[16:17], plain.embed_batch(photos[16:17]), atol=1e-5, rtol=0)
    assert not vectors.is_inference()


def test_the_features_of_a_frozen_backbone(model, photos):
    pooled, sizes = sizes_seen(model.backbone.network.conv1, lambda: pool_all(model, photos))
    assert sizes == [16, 16, 3]
    alone = pool_all(model, photos[20:21])
    for letter, features in pooled.items():
        assert len(features) == 35
        torch.testing.assert_close(features[20:21], alone[letter], atol=1e-4, rtol=1e-4)


def test_a_batch_without_photos(model, photos):
    assert model.embed_batch(photos[:0]).shape == (0, 16)


def test_what_is_one_pass():
    assert len(passes_of(torch.zeros(1000, 2, 512))) == 1
    assert len(passes_of(torch.empty(1000, 3, 224, 224, device="meta"))) == 1
    assert [len(part) for part in passes_of(torch.zeros(3, 3, 300, 300))] == [2, 1]
    assert [len(part) for part in passes_of(torch.zeros(2, 3, 3000, 2000))] == [1, 1]
