import json

import pytest
import torch
from torch import nn

from pairlens.model.embedder import Architecture, Embedder


def small(descriptors="SG", dim=8, classes=3, **settings):
    made = {"backbone": "resnet10t", "weights": "none", "stride": "none", "image_size": 32} | settings
    return Embedder(descriptors=descriptors, dim=dim, classes=classes, **made)


PHOTOS = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_embedding_is_the_joined_unit_parts_scaled_again():
    model = small().eval()
    features = model.backbone(model.normalize(PHOTOS))
    parts = []
    for pool, project in zip(model.descriptors, model.projections, strict=True):
        part = pool(features) @ project.weight.T
        parts.append(part / part.norm(dim=1, keepdim=True))
    expected = torch.cat(parts, dim=1)
    assert torch.allclose(model(PHOTOS)[0], expected / 2**0.5, atol=1e-5)


def test_the_head_sees_the_first_raw_descriptor_so_the_order_matters():
    sg, gs = small("SG").eval(), small("GS").eval()
    gs.load_state_dict(sg.state_dict())
    features = sg.backbone(sg.normalize(PHOTOS))
    assert torch.allclose(sg(PHOTOS)[1], sg.head(features.mean(dim=(2, 3))), atol=1e-5)
    assert not torch.allclose(sg(PHOTOS)[1], gs(PHOTOS)[1])
    assert isinstance(sg.head[0], nn.BatchNorm1d)
    assert sg.head[1].bias is not None
    assert all(project.bias is None for project in sg.projections)


def test_photos_are_normalised_by_the_backbone_own_figures():
    white = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(small().normalize(white)[0, :, 0, 0], (1 - mean) / std, atol=1e-6)
    assert torch.equal(small(backbone="efficientnet_lite0").normalize(white)[0, :, 0, 0], torch.ones(3))
    assert torch.equal(small().normalize(white.float()), white.float())


def test_embed_leaves_the_mode_as_it_was_and_gives_plain_tensors():
    model = small().train()
    embeddings = model.embed(PHOTOS)
    assert model.training
    assert not embeddings.requires_grad
    assert not embeddings.is_inference()
    assert torch.equal(embeddings, model.eval()(PHOTOS)[0].detach())


@pytest.mark.parametrize(
    ("mode", "moves", "learns"), [("statistics", False, True), ("all", False, False), ("none", True, True)]
)
def test_batchnorm_of_the_backbone_stands_still_as_asked(mode, moves, learns):
    model = small().train()
    model.freeze_batchnorm(mode)
    norm = next(m for m in model.backbone.modules() if isinstance(m, nn.BatchNorm2d))
    before = norm.running_mean.clone()
    head_before = model.head[0].running_mean.clone()
    model(PHOTOS)
    assert torch.equal(before, norm.running_mean) != moves
    assert not torch.equal(head_before, model.head[0].running_mean)
    assert norm.weight.requires_grad == learns


def test_a_saved_model_opens_with_the_same_embeddings(tmp_path):
    model = small("MSG", dim=9).eval()
    model.save(tmp_path)
    opened = Embedder.load(tmp_path)
    assert opened.architecture == model.architecture
    assert torch.equal(opened.embed(PHOTOS), model.embed(PHOTOS))


def test_opening_a_model_draws_no_random_number(tmp_path):
    small().save(tmp_path)
    before = torch.get_rng_state()
    Embedder.load(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_damaged_missing_or_foreign_model_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        Embedder.load(tmp_path)
    small().save(tmp_path)
    config = tmp_path / "model.json"
    right = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**right, "dim": 16}), encoding="utf-8")
    with pytest.raises(ValueError, match="damaged or of another shape"):
        Embedder.load(tmp_path)
    config.write_text(json.dumps({**right, "depth": 16}), encoding="utf-8")
    with pytest.raises(ValueError, match="unknown key 'depth'"):
        Embedder.load(tmp_path)
    config.write_text(json.dumps(right), encoding="utf-8")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match="damaged"):
        Embedder.load(tmp_path)


def test_a_dimension_that_does_not_divide_names_ones_that_do():
    with pytest.raises(ValueError, match=r"divisible by the 3 descriptors.*use 510 or 513"):
        Architecture(descriptors="SMG", dim=512)


def test_no_head_without_classes():
    assert small(classes=0)(PHOTOS)[1] is None
