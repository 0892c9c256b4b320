import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pairlens.collection.match_explanation import explain_match, explanation_grid
from pairlens.model.backbone import Backbone
from pairlens.model.descriptors import CONFIGURATIONS, GEM_FLOOR
from pairlens.model.embedder import Embedder
from pairlens.model.plain_backbone import PlainBackbone
from support.naive import match_explanation as naive

PHOTOS = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
# Photos of the size of a model that is one layer.
SMALL = PHOTOS[:, :, :16, :16].contiguous()


class Signed(nn.Module):
    """A layer whose map has values of both signs, and channels that are the same everywhere."""

    def __init__(self, channels=6):
        super().__init__()
        self.layer = nn.Conv2d(3, channels, 4, stride=4)

    def forward(self, photos):
        features = self.layer(photos)
        return torch.cat([features, torch.zeros_like(features[:, :1])], dim=1)


def signed(descriptors="SG", dim=6, learn_power=False):
    model = Embedder.of(Signed(), descriptors=descriptors, dim=dim, image_size=16)
    return with_power(model, 4.5) if learn_power else model


def with_power(model, power):
    for pool in model.descriptors:
        if hasattr(pool, "power"):
            pool.power = nn.Parameter(torch.tensor(power))
    return model


def plain(name, image_size=64):
    return PlainBackbone(Backbone(name, "none", "none", image_size), name, image_size)


def check_sums(explanation, score):
    """Both maps, the descriptors and their shares add up to the score, which is the cosine of the embeddings."""
    assert explanation.is_exact
    assert explanation.score == pytest.approx(score, abs=1e-6)
    for photo, contributions in enumerate(explanation.maps):
        assert contributions.dtype == np.float32
        assert contributions.sum(dtype=np.float64) == pytest.approx(score, abs=1e-4)
        parts = [part.maps[photo] for part in explanation.by_descriptor.values()]
        assert np.sum(parts, axis=0) == pytest.approx(contributions, abs=1e-6)
        for part, share in zip(parts, explanation.by_descriptor.values(), strict=True):
            assert part.sum(dtype=np.float64) == pytest.approx(share.share, abs=1e-5)


@pytest.mark.parametrize("learn_power", [False, True])
@pytest.mark.parametrize("descriptors", CONFIGURATIONS)
def test_the_maps_add_up_to_the_score(descriptors, learn_power):
    model = signed(descriptors, learn_power=learn_power)
    explanation = explain_match(model, *SMALL)
    check_sums(explanation, float(torch.prod(model.embed(list(SMALL)), dim=0).sum()))
    assert list(explanation.by_descriptor) == list(descriptors)
    # The embeddings point in any direction, so some places lower the similarity.
    assert min(one.min() for one in explanation.maps) < 0
    assert explanation.maps[0].shape == (4, 4)


def test_the_maps_of_a_network_with_a_learned_power_add_up():
    model = Embedder(backbone="resnet10t", descriptors="SMG", dim=24, weights="none", image_size=64, learn_power=True)
    with_power(model, 2.2)
    explanation = explain_match(model, *PHOTOS)
    check_sums(explanation, float(torch.prod(model.embed(list(PHOTOS)), dim=0).sum()))
    assert explanation.maps[0].shape == (4, 4)


@pytest.mark.parametrize("descriptors", ["S", "M", "G", "SMG"])
def test_the_maps_follow_their_formula(descriptors):
    model = signed(descriptors)
    explanation = explain_match(model, *SMALL)
    mean, std = model.mean, model.std
    with torch.no_grad():
        features = model.backbone((SMALL / 255 - mean) / std).double().numpy()
    weights = [projection.weight.detach().double().numpy() for projection in model.projections]
    expected = naive.match_maps(features, weights, descriptors, power=3.0, floor=GEM_FLOOR)
    for found, twin in zip(explanation.maps, expected, strict=True):
        assert found == pytest.approx(twin, abs=1e-6)


def test_a_photo_beside_itself():
    explanation = explain_match(signed(), SMALL[0], SMALL[0])
    assert explanation.score == pytest.approx(1, abs=1e-6)
    assert explanation.maps[0] == pytest.approx(explanation.maps[1], abs=1e-7)


def test_the_second_photo_first_gives_the_same_maps_the_other_way_around():
    model = signed()
    one, other = explain_match(model, *SMALL), explain_match(model, SMALL[1], SMALL[0])
    assert one.maps[0] == pytest.approx(other.maps[1], abs=1e-7)
    assert one.maps[1] == pytest.approx(other.maps[0], abs=1e-7)


def test_a_place_that_is_the_only_one_that_differs_has_the_maximum():
    """Where one patch is brighter, it holds the maximum of each channel with positive weights."""
    module = nn.Conv2d(3, 2, 4, stride=4, bias=False)
    nn.init.constant_(module.weight, 0.1)
    model = Embedder.of(module, descriptors="M", dim=2, image_size=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    photo = torch.full((3, 16, 16), 20, dtype=torch.uint8)
    photo[:, 4:8, 8:12] = 200
    contributions = explain_match(model, photo, photo).maps[0]
    assert contributions[1, 2] == pytest.approx(1, abs=1e-6)
    assert np.count_nonzero(contributions) == 1
    even = explain_match(model, torch.full_like(photo, 20), photo).maps[0]
    assert even == pytest.approx(np.full((4, 4), 1 / 16), abs=1e-6)


@pytest.mark.parametrize("name", ["resnet10t", "test_efficientnet", "test_vit3"])
def test_a_backbone_that_averages_its_map_is_divided(name):
    model = plain(name)
    explanation = explain_match(model, *PHOTOS)
    check_sums(explanation, float(torch.prod(model.embed_batch(PHOTOS), dim=0).sum()))
    assert list(explanation.by_descriptor) == ["S"]
    height, width = explanation.maps[0].shape
    assert height == width > 1


def test_tokens_are_put_where_they_are_in_the_photo():
    """Without attention between them, a token changes only where the photo does."""
    model = Embedder(backbone="test_vit", descriptors="S", dim=8, weights="none", image_size=64)
    model.backbone.network.blocks = nn.Identity()
    changed = PHOTOS[0].clone()
    changed[:, 16:32, 48:64] = 0
    one, other = (explain_match(model, photo, PHOTOS[1]) for photo in (PHOTOS[0], changed))
    check_sums(other, other.score)
    # Relative to the sum, because the length of the whole embedding changes as well.
    ratio = other.maps[0] / one.maps[0]
    differs = ~np.isclose(ratio, np.median(ratio), rtol=1e-4)
    assert np.argwhere(differs).tolist() == [[1, 3]]


@pytest.mark.parametrize("name", ["test_vit", "mobilenetv3_small_050", "test_convnext"])
def test_a_backbone_with_other_pooling_is_not_divided(name):
    explanation = explain_match(plain(name), *PHOTOS)
    assert not explanation.is_exact
    assert explanation.by_descriptor == {}
    assert max(np.abs(one).max() for one in explanation.maps) == pytest.approx(1)
    assert explanation.maps[0].shape == (14, 14)


class Vectors(nn.Module):
    """A linear layer on all pixels, so that gradient × input can be computed by hand."""

    def __init__(self, outputs=4):
        super().__init__()
        self.layer = nn.Linear(3 * 16 * 16, outputs, bias=False)

    def forward(self, photos):
        return self.layer(photos.flatten(1))


def test_gradient_times_input_follows_its_formula():
    model = Embedder.of(Vectors(), dim=4, image_size=16)
    explanation = explain_match(model, *SMALL)
    assert not explanation.is_exact
    inputs = ((SMALL / 255 - model.mean) / model.std).double().numpy()
    whole = (model.projections[0].weight @ model.backbone.network.layer.weight).detach().double().numpy()
    vectors = model.embed(list(SMALL)).double().numpy()
    expected = np.zeros((2, 4, 4))
    for photo in range(2):
        length = np.linalg.norm(whole @ inputs[photo].ravel())
        by_pixel = (vectors[1 - photo] @ whole).reshape(3, 16, 16) / length * inputs[photo]
        for y in range(16):
            for x in range(16):
                expected[photo, y // 4, x // 4] += by_pixel[:, y, x].sum() / 16
    expected /= np.abs(expected).max()
    assert np.stack(explanation.maps) == pytest.approx(expected, abs=1e-4)


def test_a_photo_beside_itself_has_a_gradient():
    """With the lengths held constant; the similarity itself is at its maximum there."""
    model = Embedder.of(Vectors(), dim=4, image_size=16)
    explanation = explain_match(model, SMALL[0], SMALL[0])
    assert explanation.score == pytest.approx(1, abs=1e-6)
    assert explanation.maps[0] == pytest.approx(explanation.maps[1], abs=1e-5)
    assert explanation.maps[0].sum() > 0


def test_the_model_is_left_as_it_was():
    model = Embedder(backbone="resnet10t", descriptors="S", dim=8, weights="none", image_size=64).train()
    model.freeze_batchnorm("statistics")
    modes = [part.training for part in model.modules()]
    statistics = {name: value.clone() for name, value in model.named_buffers()}
    explain_match(model, *PHOTOS)
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, statistics[name]) for name, value in model.named_buffers())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_photos_are_shown_as_the_model_sees_them(tmp_path):
    photo = Image.fromarray(PHOTOS[0, :, :, :40].permute(1, 2, 0).numpy())
    photo.save(tmp_path / "photo.png")
    explanation = explain_match(signed(), tmp_path / "photo.png", photo)
    assert explanation.first.shape == (16, 16, 3)
    assert explanation.first.dtype == np.uint8
    assert np.array_equal(explanation.first, explanation.second)
    assert explanation.score == pytest.approx(1, abs=1e-6)


def test_a_dark_photo_without_an_embedding_has_the_score_zero():
    module = nn.Conv2d(3, 2, 4, stride=4, bias=False)
    model = Embedder.of(module, descriptors="S", dim=2, image_size=16, mean=(0.0, 0.0, 0.0))
    explanation = explain_match(model, torch.zeros(3, 16, 16, dtype=torch.uint8), SMALL[0])
    assert explanation.score == 0
    assert explanation.is_exact
    assert not np.any(explanation.maps)


def test_the_grid_is_plain():
    explanation = explain_match(signed("SMG"), *SMALL)
    grid = json.loads(json.dumps(explanation_grid(explanation)))
    assert set(grid) == {"score", "is_exact", "maps", "shares"}
    assert np.array(grid["maps"]) == pytest.approx(np.stack(explanation.maps), abs=6e-7)
    assert all(len(str(abs(value))) <= 9 or abs(value) < 1e-4 for value in np.ravel(grid["maps"]))
    assert list(grid["shares"]) == ["S", "M", "G"]
    assert math.fsum(grid["shares"].values()) == pytest.approx(grid["score"], abs=1e-5)


class NoGradient(nn.Module):
    def forward(self, photos):
        return photos.detach().flatten(1)[:, :8]


def test_what_cannot_be_explained_is_said(tmp_path):
    model = signed()
    with pytest.raises(ValueError, match="a list is not a photo"):
        explain_match(model, [SMALL[0]], SMALL[1])
    with pytest.raises(ValueError, match="uint8"):
        explain_match(model, SMALL[0].float(), SMALL[1])
    with pytest.raises(FileNotFoundError, match=r"missing\.jpg"):
        explain_match(model, SMALL[0], tmp_path / "missing.jpg")
    with pytest.raises(ValueError, match="a Linear cannot be explained"):
        explain_match(nn.Linear(2, 2), *SMALL)
    with pytest.raises(ValueError, match="no gradient"):
        explain_match(Embedder.of(NoGradient(), dim=4, image_size=16), *SMALL)
    nn.init.constant_(model.projections[0].weight, math.nan)
    with pytest.raises(ValueError, match="not finite"):
        explain_match(model, *SMALL)


def test_a_large_power_does_not_overflow():
    model = with_power(signed("G", dim=4), 20.0)
    check_sums(explain_match(model, *SMALL), float(torch.prod(model.embed(list(SMALL)), dim=0).sum()))
