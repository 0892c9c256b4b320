import copy

import pytest
import torch
from torch import nn

from pairlens.losses import Circle
from pairlens.model.embedder import Embedder
from pairlens.model.given_module import GivenBackbone, GivenModule
from pairlens.training.criterion import Criterion
from pairlens.training.fit import Epoch, fit
from pairlens.training.learner import Learner, Objective
from pairlens.training.optimizers import OptimizerConfig, make_optimizer, make_schedule
from support.training_setup import Photos

PHOTOS = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Map(nn.Sequential):
    """A small network of somebody else, whose result is a map of 6 channels."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 6, 3, stride=4), nn.BatchNorm2d(6), nn.Tanh())


class Vector(nn.Sequential):
    """The same with a vector of 6 channels as its result."""

    def __init__(self):
        super().__init__(Map(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Failing(nn.Module):
    """A module whose result is given."""

    def __init__(self, result):
        super().__init__()
        self.result = result

    def forward(self, photos):
        return self.result(photos)


def test_a_map_is_pooled_by_the_descriptors_and_projected():
    module = Map()
    model = Embedder.of(module, dim=8, descriptors="SM", image_size=32).eval()
    features = module(model.normalize(PHOTOS))
    parts = [features.mean(dim=(2, 3)), features.amax(dim=(2, 3))]
    projected = [nn.functional.normalize(p(part)) for p, part in zip(model.projections, parts, strict=True)]
    assert torch.allclose(model(PHOTOS)[0], torch.cat(projected, dim=1) / 2**0.5, atol=1e-5)


@pytest.mark.parametrize("descriptors", ["S", "M", "G"])
def test_a_vector_is_not_pooled_not_even_by_gem_which_would_cut_off_its_negative_values(descriptors):
    module = Vector()
    model = Embedder.of(module, dim=8, descriptors=descriptors, image_size=32).eval()
    vectors = module(model.normalize(PHOTOS))
    assert (vectors < 0).any()
    assert torch.allclose(model(PHOTOS)[0], nn.functional.normalize(model.projections[0](vectors)), atol=1e-5)


def test_photos_are_normalised_with_the_given_mean_and_std():
    white = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    model = Embedder.of(Map(), dim=8, image_size=32, mean=(0.5, 0.5, 0.25), std=[0.5, 1, 0.25])
    assert torch.allclose(model.normalize(white)[0, :, 0, 0], torch.tensor([1.0, 0.5, 3.0]))


def test_the_module_is_used_itself_and_left_as_it_was():
    module = Map().train()
    module[1].eval()
    before = copy.deepcopy(module.state_dict())
    model = Embedder.of(module, dim=8, image_size=32)
    assert model.backbone.network is module
    assert [part.training for part in module] == [True, False, True]
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("kind", [Map, Vector])
def test_a_model_around_a_module_trains_embeds_is_saved_and_opened(kind, tmp_path):
    torch.manual_seed(0)
    module = kind()
    before = copy.deepcopy(module.state_dict())
    model = Embedder.of(module, dim=8, descriptors="SG", classes=4, image_size=32)
    criterion = Criterion(Circle())
    optimizer = make_optimizer(model, criterion, OptimizerConfig(learning_rate=1e-2))
    learner = Learner(model, criterion, optimizer, make_schedule(optimizer, 2))
    epochs = [
        record for record in fit(learner, Photos(), Objective(precision="float32"), 2) if isinstance(record, Epoch)
    ]
    assert epochs[1].loss < epochs[0].loss
    assert not torch.equal(before["0.weight" if kind is Map else "0.0.weight"], next(module.parameters()))
    model.save(tmp_path)
    opened = Embedder.load(tmp_path, module=kind())
    assert opened.architecture == model.architecture
    assert torch.equal(opened.embed(PHOTOS), model.embed(PHOTOS))


def test_what_the_folder_lacks_or_does_not_need_is_one_sentence(tmp_path):
    Embedder.of(Map(), dim=8, image_size=32).save(tmp_path)
    with pytest.raises(ValueError, match=r"a module from outside \(.*:Map\).* Embedder.load\(folder, module=...\)"):
        Embedder.load(tmp_path)
    with pytest.raises(ValueError, match=r"another shape \(.*is missing.*give a module of the same shape"):
        Embedder.load(tmp_path, module=Vector())
    Embedder(backbone="test_resnet", descriptors="S", dim=8, weights="none", image_size=32).save(tmp_path)
    with pytest.raises(ValueError, match="is test_resnet, built by its name; leave module out"):
        Embedder.load(tmp_path, module=Map())


def test_a_stored_dimension_that_is_too_large_is_not_allocated(tmp_path):
    Embedder.of(Map(), dim=8, image_size=32).save(tmp_path)
    config = tmp_path / "model.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"dim": 8', '"dim": 16777216'), encoding="utf-8")
    with pytest.raises(ValueError, match=r"projections.0.weight is of shape"):
        Embedder.load(tmp_path, module=Map())


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Linear(5, 5), r"Linear does not take photos of shape \(1, 3, 32, 32\) \(RuntimeError"),
        (Failing(lambda photos: (photos, photos)), "Failing returns a tuple for one photo; a module must return a map"),
        (Failing(lambda photos: photos.flatten(2)), r"returns a tensor of shape \(1, 3, 1024\)"),
        (Failing(lambda photos: photos.mean(dim=(0, 2, 3))[None].expand(2, 3)), r"tensor of shape \(2, 3\)"),
    ],
)
def test_a_module_that_does_not_fit_is_named(module, message):
    with pytest.raises(ValueError, match=message):
        Embedder.of(module, dim=8, image_size=32)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": (0.5,)}, r"mean \(0.5,\) must be three finite numbers"),
        ({"std": (1.0, 0.0, 1.0)}, "must be above 0 for each colour"),
        ({"mean": (0.5, float("nan"), 0.5)}, "three finite numbers"),
        ({"dim": 9, "descriptors": "SM"}, "divisible by the 2 descriptors"),
    ],
)
def test_settings_that_are_not_possible_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Embedder.of(Map(), image_size=32, **settings)


def test_a_module_without_parameters_has_a_backbone_too():
    backbone = GivenBackbone(nn.AvgPool2d(8), GivenModule(), 32)
    assert (backbone.channels, backbone.gives_vector) == (3, False)
