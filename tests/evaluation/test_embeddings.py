from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import pairlens as pl
from pairlens.core.images import decode
from pairlens.data.catalog import Catalog
from pairlens.evaluation.embeddings import Embeddings, embed
from pairlens.model.embedder import Embedder
from support.experiments import changed


def test_every_photo_is_embedded_in_its_order(data_path):
    catalog = Catalog.open(data_path / "bars" / "uncropped.arrow").select("test")
    model = Embedder(backbone="resnet10t", descriptors="S", dim=8, weights="none", stride="none", image_size=32).eval()
    embeddings = embed(model, catalog, batch_size=5, workers=0)
    assert embeddings.paths == catalog.paths
    assert torch.equal(embeddings.labels, catalog.labels)
    one = model.embed_batch(decode([catalog.jpeg(7)], 32))[0]
    assert torch.allclose(embeddings.vectors[7], one, atol=1e-5)


def test_saved_embeddings_are_loaded_unchanged(tmp_path):
    stored = Embeddings(torch.randn(2, 3), torch.tensor([1, 0]), ("a/ü.jpg", "b.jpg"), ("x", "y"))
    stored.save(tmp_path / "gallery.safetensors")
    opened = Embeddings.load(tmp_path / "gallery.safetensors")
    assert torch.equal(opened.vectors, stored.vectors)
    assert torch.equal(opened.labels, stored.labels)
    assert (opened.paths, opened.class_names) == (stored.paths, stored.class_names)


@pytest.mark.parametrize("label", [-1, 2, -(2**62)])
def test_a_label_without_a_class_gives_an_error(tmp_path, label):
    Embeddings(torch.ones(2, 3), torch.tensor([0, label]), ("a", "b"), ("x", "y")).save(tmp_path / "e")
    with pytest.raises(ValueError, match="its classes are 2"):
        Embeddings.load(tmp_path / "e")


def test_a_damaged_file_gives_an_error(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"\0" * 20)
    for name in ("bad.safetensors", "none.safetensors"):
        with pytest.raises(ValueError, match="not a readable file of embeddings"):
            Embeddings.load(tmp_path / name)


def test_parts_of_different_length_give_an_error():
    with pytest.raises(ValueError, match="do not belong together"):
        Embeddings(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long), ("a",))


@pytest.fixture
def photos(tmp_path):
    """Four classes of photos for training and four for testing, none of them square, as PNG files."""
    rng = np.random.default_rng(0)
    for split, classes in (("train", "abcd"), ("test", "efgh")):
        for name in classes:
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for shot in range(3):
                pixels = rng.integers(0, 256, (45 + shot, 60, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photos" / split / name / f"{shot}.png")
    return tmp_path / "photos"


def test_a_run_embeds_a_photo_as_its_evaluation_did(photos, tiny, tmp_path):
    # Neither size nor quality is the default, so a model that did not know them would give other vectors.
    pl.prepare(pl.Preparation("folder", tmp_path / "data", source=photos, size=40, quality=60), print)
    settings = {"data_path": tmp_path / "data", "data_name": "folder", "num_epochs": 1, "backbone": "test_resnet"}
    done = pl.run(changed(tiny, batch_size=6, **settings), tmp_path / "run")
    stored = Embeddings.load(done.folder / "gallery.safetensors")
    files = [photos / path for path in stored.paths]
    vectors = done.model().embed(files, batch_size=5)
    assert torch.allclose(vectors, stored.vectors, atol=1e-5)
    assert torch.allclose(done.model().embed(str(files[3])), stored.vectors[3], atol=1e-5)
    other = Embedder.load(done.folder)
    other.architecture = replace(other.architecture, stored_size=252, stored_quality=95)
    assert not torch.allclose(other.embed(files), stored.vectors, atol=1e-5)
