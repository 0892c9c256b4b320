import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from pairlens.core.untrusted import form_of
from pairlens.model.backbone import Backbone


@pytest.mark.parametrize(
    ("name", "stride", "side", "changed"),
    [
        ("resnet50", "none", 2, ""),
        ("resnet50", "paper", 4, "layer4"),
        ("resnet50", "port", 4, "layer3"),
        ("efficientnet_lite0", "paper", 4, "blocks.5"),
        ("resnet50d", "port", 4, "layer3"),
    ],
)
def test_the_named_downsampling_is_removed(name, stride, side, changed):
    with torch.device("meta"):
        network = Backbone(name, "none", stride, 64)
        assert network(torch.zeros(1, 3, 64, 64)).shape[2:] == (side, side)
    assert all(layer.startswith(changed) for layer in network.changed_layers)
    assert bool(network.changed_layers) == bool(changed)


@pytest.mark.parametrize(
    "name", ["resnet50", "efficientnet_lite0", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"]
)
def test_a_network_that_never_ran_has_the_forms_of_its_weights(name, monkeypatch):
    with torch.device("meta"):
        ran = Backbone(name, "none", "port", 64)
        monkeypatch.setattr(type(ran.network), "forward_features", lambda *_: pytest.fail("it ran"))
        never_ran = Backbone(name, "none", "port", 64, runs_once=False)
    forms = [{key: form_of(tensor) for key, tensor in one.state_dict().items()} for one in (ran, never_ran)]
    assert forms[0] == forms[1]
    assert (never_ran.channels, never_ran.mean, never_ran.std) == (ran.channels, ran.mean, ran.std)


def test_removing_a_downsampling_keeps_the_training_mode():
    assert Backbone("resnet10t", "none", "port", 64).network.training


@pytest.mark.parametrize(("name", "tokens"), [("vit_tiny_patch16_224", 16), ("swin_tiny_patch4_window7_224", 4)])
def test_the_feature_map_of_a_transformer_holds_its_patch_tokens(name, tokens):
    with torch.device("meta"):
        features = Backbone(name, "none", "port", 64)(torch.zeros(2, 3, 64, 64))
    assert features.shape[:2] == (2, 192 if name.startswith("vit") else 768)
    assert features[0, 0].numel() == tokens


def test_an_unknown_backbone_names_the_most_similar_one():
    with pytest.raises(ValueError, match=r"resnet5O.*did you mean resnet50\?"):
        Backbone("resnet5O", "none", "none", 64)


def test_imagenet_without_a_network_connection_names_the_alternatives(monkeypatch):
    def no_network(*_args, **_settings):
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(timm, "create_model", no_network)
    with pytest.raises(ValueError, match=r"--weights FILE, or --weights none.*efficientnet_lite2"):
        Backbone("resnet50", "imagenet", "port", 224)


def test_weights_from_a_file(tmp_path):
    source = Backbone("resnet10t", "none", "none", 64)
    save_file(source.network.state_dict(), tmp_path / "w.safetensors")
    torch.save({f"module.{k}": v for k, v in source.network.state_dict().items()}, tmp_path / "w.pth")
    for file in ("w.safetensors", "w.pth"):
        loaded = Backbone("resnet10t", str(tmp_path / file), "none", 64)
        assert torch.equal(loaded.network.conv1[0].weight, source.network.conv1[0].weight)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    save_file({"conv1.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    (tmp_path / "noise.pth").write_bytes(b"not weights")
    for name, message in (
        ("other.safetensors", "does not fit"),
        ("noise.pth", "could not be read"),
        ("no", "nor a file"),
    ):
        with pytest.raises(ValueError, match=message):
            Backbone("resnet10t", str(tmp_path / name), "none", 64)


def test_a_network_of_a_fixed_size_loses_its_downsampling_at_that_size():
    with torch.device("meta"):
        assert Backbone("maxvit_rmlp_pico_rw_256", "none", "port", 256).changed_layers


def test_a_downsampling_that_cannot_be_removed_is_an_error():
    with pytest.raises(ValueError, match=r"no down-sampling of hrnet_w18_small can be removed.*--stride none"):
        Backbone("hrnet_w18_small", "none", "port", 64)


@pytest.mark.parametrize(
    ("name", "channels", "places"),
    [
        ("deit_tiny_distilled_patch16_224", 192, 196),
        ("deit_small_distilled_patch16_224", 384, 196),
        ("coat_lite_tiny", 320, 50),
        ("efficientvit_b0", 128, 49),
        ("inception_next_atto", 320, 49),
    ],
)
def test_a_network_that_insists_on_its_pooling_has_a_feature_map_too(name, channels, places):
    with torch.device("meta"):
        features = Backbone(name, "none", "none", 224)(torch.zeros(2, 3, 224, 224))
    assert features.shape[1] == channels
    assert features[0, 0].numel() == places


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("crossvit_tiny_240", 240, "returns 2 maps instead of one feature map"),
        ("coat_tiny", 224, "returns . maps instead of one feature map"),
        ("efficientvim_m1", 224, "returns 4 maps instead of one feature map"),
        ("coat_lite_tiny", 64, r"does not take photos of 64 px \(Input height \(64\) doesn't match model"),
        ("levit_128s", 64, "does not take photos of 64 px"),
        ("hiera_tiny_224", 64, "does not take photos of 64 px"),
    ],
)
def test_a_network_that_gives_no_map_or_takes_another_size_is_named(name, size, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message) as error:
        Backbone(name, "none", "none", size)
    assert "\n" not in str(error.value)
