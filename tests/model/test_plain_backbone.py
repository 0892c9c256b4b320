import pytest
import timm
import torch

from pairlens.model.backbone import Backbone
from pairlens.model.check_sum import check_sum
from pairlens.model.plain_backbone import PlainBackbone

PHOTOS = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def plain(name, stride="port", image_size=64):
    backbone = Backbone(name, "none", stride, image_size)
    return PlainBackbone(backbone, name, image_size), backbone


def as_timm_pools(name, backbone, image_size=64):
    """What timm itself makes of photos with the same weights, as unit vectors."""
    network = timm.create_model(name, num_classes=0)
    if hasattr(network, "set_input_size"):
        network.set_input_size(img_size=(image_size, image_size))
    network.load_state_dict(backbone.network.state_dict())
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (backbone.mean, backbone.std))
    with torch.inference_mode():
        pooled = network.eval().forward_head(network.forward_features((PHOTOS / 255 - mean) / std), pre_logits=True)
    return torch.nn.functional.normalize(pooled)


@pytest.mark.parametrize(
    "name", ["resnet10t", "test_vit", "test_convnext", "mobilenetv3_small_050", "test_efficientnet"]
)
def test_it_is_the_backbone_as_timm_pools_it(name):
    model, backbone = plain(name)
    expected = as_timm_pools(name, backbone)
    assert model.embed_batch(PHOTOS) == pytest.approx(expected, abs=1e-5)
    assert model.architecture.dim == expected.shape[1]


def test_a_removed_stride_changes_nothing():
    vectors = []
    for stride in ("port", "paper", "none"):
        torch.manual_seed(0)
        vectors.append(plain("resnet10t", stride)[0].embed_batch(PHOTOS))
    assert torch.equal(vectors[0], vectors[2])
    assert torch.equal(vectors[1], vectors[2])


def test_a_pooling_with_weights_of_its_own_gives_way_to_the_mean_of_the_map():
    model, backbone = plain("test_vit3")
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (backbone.mean, backbone.std))
    with torch.inference_mode():
        features = backbone.eval()((PHOTOS / 255 - mean) / std)
    assert model.embed_batch(PHOTOS) == pytest.approx(
        torch.nn.functional.normalize(features.mean(dim=(2, 3))), abs=1e-5
    )


def test_the_backbone_keeps_its_weights_and_its_mode():
    backbone = Backbone("resnet10t", "none", "port", 64).train()
    before = check_sum(backbone.network.state_dict())
    PlainBackbone(backbone, "resnet10t", 64).embed_batch(PHOTOS)
    assert check_sum(backbone.network.state_dict()) == before
    assert backbone.training
