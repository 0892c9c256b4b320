import numpy as np
import pytest

from pairlens.export.parity import ComparedPhotos, check_parity
from pairlens.model.onnx_embedder import OnnxEmbedder
from support.onnx_models import PHOTOS, small_model


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Given:
    """An exported model that returns given vectors."""

    def __init__(self, vectors):
        self.vectors = vectors

    def embed_pixels(self, pixels):
        taken, self.vectors = self.vectors[: len(pixels)], self.vectors[len(pixels) :]
        return taken


def test_the_parity_of_a_float32_export(exported):
    parity = exported.parity
    assert parity.photos == parity.gallery == len(PHOTOS)
    assert parity.neighbors == 10
    assert 1 - 1e-9 < parity.least_cosine <= parity.mean_cosine < 1 + 1e-9
    assert 0 < parity.largest_difference < 2e-6
    assert (parity.same_neighbors, parity.same_nearest) == (1, 1)
    assert "the same 10 nearest of 13 photos: for 100.0% of the photos" in " ".join(parity.lines())


def test_differences_are_those_of_plain_loops(exported):
    ours = OnnxEmbedder.load(exported.file).embed_pixels(PHOTOS)
    rng = np.random.default_rng(1)
    theirs = unit(ours + rng.normal(0, 0.2, ours.shape)).astype(np.float32)
    gallery = unit(rng.normal(0, 1, (30, 12)).astype(np.float32))
    rows = np.arange(13) * 2
    parity = check_parity(exported.model, Given(theirs), ComparedPhotos(PHOTOS, gallery=gallery, rows=rows))
    same, nearest = 0, 0
    for i in range(13):
        others = [j for j in range(30) if j != rows[i]]
        found = [sorted(others, key=lambda j, v=v: -float(v[i] @ gallery[j]))[:10] for v in (ours, theirs)]
        same += set(found[0]) == set(found[1])
        nearest += found[0][0] == found[1][0]
    assert 0 < same < 13 or 0 < nearest < 13
    assert (parity.same_neighbors, parity.same_nearest) == (same / 13, nearest / 13)
    cosines = [float(a @ b) for a, b in zip(ours, theirs, strict=True)]
    assert parity.least_cosine == pytest.approx(min(cosines), abs=1e-6)
    assert parity.largest_difference == pytest.approx(np.abs(ours - theirs).max(), abs=2e-6)


def test_photos_that_are_equally_near_may_change_places(exported):
    ours = OnnxEmbedder.load(exported.file).embed_pixels(PHOTOS)
    # All items are copies of one another, so that every order of them is right.
    gallery = np.repeat(ours[:1], 25, axis=0)
    parity = check_parity(exported.model, Given(ours), ComparedPhotos(PHOTOS, gallery=gallery))
    assert (parity.same_neighbors, parity.same_nearest) == (1, 1)


def test_stored_pictures_are_resized_in_the_graph(exported):
    model = OnnxEmbedder.load(exported.file)
    parity = check_parity(exported.model, model, ComparedPhotos(PHOTOS, PHOTOS.repeat(2, axis=1).repeat(2, axis=2)))
    assert parity.least_resized_cosine is not None
    assert 0.9 < parity.least_resized_cosine < 1
    assert "resized in the graph" in parity.lines()[-1]


def test_without_a_photo_there_is_nothing_to_compare(exported):
    with pytest.raises(ValueError, match="there is no photo to compare the two models on; give at least one"):
        check_parity(small_model(), OnnxEmbedder.load(exported.file), ComparedPhotos(PHOTOS[:0]))
