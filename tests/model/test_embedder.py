import json

import pytest
import torch
from torch import nn

from pairlens.model.embedder import Architecture, Embedder


def small(descriptors="SG", dim=8, classes=3, **settings):
    defaults = {"backbone": "resnet10t", "weights": "none", "stride": "none", "image_size": 32}
    return Embedder(descriptors=descriptors, dim=dim, classes=classes, **(defaults | settings))


PHOTOS = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_embedding_is_the_concatenation_of_unit_parts_scaled_to_unit_length():
    model = small().eval()
    features = model.backbone(model.normalize(PHOTOS))
    parts = []
    for pool, project in zip(model.descriptors, model.projections, strict=True):
        part = pool(features) @ project.weight.T
        parts.append(part / part.norm(dim=1, keepdim=True))
    expected = torch.cat(parts, dim=1)
    assert torch.allclose(model(PHOTOS)[0], expected / 2**0.5, atol=1e-5)


def test_the_head_uses_the_first_unprojected_descriptor_so_the_order_matters():
    sg, gs = small("SG").eval(), small("GS").eval()
    gs.load_state_dict(sg.state_dict())
    features = sg.backbone(sg.normalize(PHOTOS))
    assert torch.allclose(sg(PHOTOS)[1], sg.head(features.mean(dim=(2, 3))), atol=1e-5)
    assert not torch.allclose(sg(PHOTOS)[1], gs(PHOTOS)[1])
    assert isinstance(sg.head[0], nn.BatchNorm1d)
    assert sg.head[1].bias is not None
    assert all(project.bias is None for project in sg.projections)


def test_photos_are_normalised_with_the_mean_and_std_of_the_backbone():
    white = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(small().normalize(white)[0, :, 0, 0], (1 - mean) / std, atol=1e-6)
    assert torch.equal(small(backbone="efficientnet_lite0").normalize(white)[0, :, 0, 0], torch.ones(3))
    assert torch.equal(small().normalize(white.float()), white.float())


def test_embed_batch_keeps_the_training_mode_and_returns_plain_tensors():
    model = small().train()
    embeddings = model.embed_batch(PHOTOS)
    assert model.training
    assert not embeddings.requires_grad
    assert not embeddings.is_inference()
    assert torch.equal(embeddings, model.eval()(PHOTOS)[0].detach())


def test_embed_batch_does_not_unfreeze_a_frozen_batchnorm():
    model = small().train()
    model.freeze_batchnorm("statistics")
    modes = [part.training for part in model.modules()]
    assert set(modes) == {True, False}
    model.embed_batch(PHOTOS)
    assert [part.training for part in model.modules()] == modes
    before = {name: buffer.clone() for name, buffer in model.backbone.named_buffers()}
    model(PHOTOS)
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.backbone.named_buffers())


def test_a_model_gets_its_modes_back_when_embedding_fails():
    model = small().train()
    model.freeze_batchnorm("statistics")
    modes = [part.training for part in model.modules()]
    with pytest.raises(ValueError, match="a model takes photos"):
        model.embed_batch(PHOTOS[0])
    assert [part.training for part in model.modules()] == modes


@pytest.mark.parametrize(
    ("mode", "moves", "learns"), [("statistics", False, True), ("all", False, False), ("none", True, True)]
)
def test_batchnorm_of_the_backbone_is_frozen_by_mode(mode, moves, learns):
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
    assert torch.equal(opened.embed_batch(PHOTOS), model.embed_batch(PHOTOS))


def test_opening_a_model_draws_no_random_number(tmp_path):
    small().save(tmp_path)
    before = torch.get_rng_state()
    Embedder.load(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_damaged_missing_or_mismatched_model_is_an_error_in_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        Embedder.load(tmp_path)
    small().save(tmp_path)
    config = tmp_path / "model.json"
    valid = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**valid, "dim": 16}), encoding="utf-8")
    with pytest.raises(ValueError, match="damaged or of another shape"):
        Embedder.load(tmp_path)
    config.write_text(json.dumps({**valid, "depth": 16}), encoding="utf-8")
    with pytest.raises(ValueError, match="unknown key 'depth'"):
        Embedder.load(tmp_path)
    config.write_text(json.dumps(valid), encoding="utf-8")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match="damaged"):
        Embedder.load(tmp_path)


def test_a_model_of_an_architecture_has_all_its_settings():
    settings = {"stride": "paper", "image_size": 64, "learn_power": True, "classes": 2, "dim": 6, "descriptors": "GS"}
    architecture = Architecture(backbone="test_resnet", **settings)
    model = Embedder.from_architecture(architecture)
    assert model.architecture == architecture
    assert model.backbone.changed_layers
    assert isinstance(model.descriptors[0].power, nn.Parameter)
    assert [layer.out_features for layer in model.projections] == [3, 3]
    assert model.head[1].out_features == 2


def test_a_dimension_that_is_not_divisible_names_ones_that_are():
    with pytest.raises(ValueError, match=r"divisible by the 3 descriptors.*use 510 or 513"):
        Architecture(descriptors="SMG", dim=512)


def test_no_head_without_classes():
    assert small(classes=0)(PHOTOS)[1] is None
