"""Search, metrics and embeddings on a GPU are those of the CPU, with equal scores in the same order."""

import pytest
import torch

from neighbors.test_exact import EXACT
from pairlens.data.catalog import Catalog
from pairlens.evaluation.embeddings import embed
from pairlens.evaluation.evaluate import evaluate
from pairlens.model.embedder import Embedder
from pairlens.neighbors import exact
from pairlens.neighbors.exact import ExactIndex, nearest
from support.fake_gpu import taken_for_gpu
from support.tiny_training import SIZE, tiny_model


def vectors(count, dim=6, seed=0):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


# All products of these vectors are exact, so equal scores have equal bits on every device.
TIED = torch.tensor(EXACT)[torch.arange(70) * 5 % 6]
GALLERIES = {
    "random": vectors(300),
    "duplicates": vectors(60)[torch.arange(80) % 60],
    "ties": TIED,
    "negative ties": -TIED[:20],
    "collapsed": torch.ones(50, 4),
}


@pytest.mark.parametrize("k", [1, 7, 19])
@pytest.mark.parametrize("name", GALLERIES)
def test_neighbours_are_in_the_order_of_the_cpu(name, k, device):
    gallery = GALLERIES[name]
    itself = torch.arange(len(gallery))
    expected = nearest(gallery, gallery, k, itself)
    with taken_for_gpu(device):
        found = nearest(gallery.to(device), gallery.to(device), k, itself.to(device))
    assert found.indices.device.type == device.type
    assert torch.equal(found.indices.cpu(), expected.indices)
    assert torch.allclose(found.scores.cpu(), expected.scores, atol=1e-6)


def test_small_chunks_find_the_neighbours_of_large_chunks(device, monkeypatch):
    expected = nearest(TIED, TIED, 9, torch.arange(len(TIED)))
    monkeypatch.setattr(exact, "GPU_BYTES", 16 * 4 * len(TIED))
    monkeypatch.setattr(exact, "FULL_RANKING_BYTES", 8 * exact.BYTES_PER_KEY * len(TIED))
    with taken_for_gpu(device):
        found = nearest(TIED.to(device), TIED.to(device), 9, torch.arange(len(TIED)))
    assert torch.equal(found.indices.cpu(), expected.indices)


def test_queries_and_gallery_may_lie_on_different_devices(device):
    queries, gallery = vectors(9, seed=1), vectors(40)
    expected = nearest(queries, gallery, 5).indices
    with taken_for_gpu(device):
        on_gpu = ExactIndex(gallery.to(device)).search(queries, 5).indices
    on_cpu = ExactIndex(gallery).search(queries.to(device), 5).indices
    assert on_gpu.device.type == "cpu"
    assert on_cpu.device.type == device.type
    assert torch.equal(on_gpu, expected)
    assert torch.equal(on_cpu.cpu(), expected)


@pytest.mark.parametrize("index", ["exact", "ivf", "hnsw"])
@pytest.mark.parametrize("apart", [False, True], ids=["one set", "queries and gallery"])
def test_a_report_is_that_of_the_cpu(apart, index, device):
    labels, others = torch.arange(60) % 7, torch.arange(200) % 9
    sets = [vectors(60), labels, vectors(200, seed=1), others] if apart else [vectors(60), labels]
    expected = evaluate(*sets, recalls=(1, 3), index=index)
    with taken_for_gpu(device):
        found = evaluate(*(one.to(device) for one in sets), recalls=(1, 3), index=index)
    assert (found.queries, found.left_out, found.gallery, found.classes) == (
        expected.queries,
        expected.left_out,
        expected.gallery,
        expected.classes,
    )
    for one, other in zip(found.metrics, expected.metrics, strict=True):
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), abs=1e-6)


def test_a_photo_is_embedded_as_on_the_cpu(device):
    model = tiny_model().eval()
    photos = torch.rand(6, 3, SIZE, SIZE, dtype=torch.float64)
    expected = model.double().embed_batch(photos)
    there = model.to(device).to(memory_format=torch.channels_last).train()
    found = there.embed_batch(photos.to(device))
    assert torch.allclose(found.cpu(), expected, atol=1e-9)
    assert there.training
    assert not found.is_inference()


def test_a_catalog_is_embedded_as_on_the_cpu(data_path, device):
    catalog = Catalog.open(data_path / "bars" / "uncropped.arrow").select("test")
    model = tiny_model().eval()
    expected = embed(model, catalog, batch_size=5)
    found = embed(model.to(device).to(memory_format=torch.channels_last), catalog, batch_size=5)
    assert found.vectors.device.type == "cpu"
    # A GPU computes float32 convolutions in TF32, whose mantissa has ten bits.
    assert torch.nn.functional.cosine_similarity(found.vectors, expected.vectors).min() > 0.999
    assert found.paths == expected.paths


def test_a_saved_model_opens_on_either_device(tmp_path, device):
    model = tiny_model().to(device).to(memory_format=torch.channels_last)
    model.save(tmp_path)
    here, there = Embedder.load(tmp_path), Embedder.load(tmp_path, str(device))
    assert next(there.parameters()).device.type == device.type
    assert here.fingerprint() == there.fingerprint() == model.fingerprint()
