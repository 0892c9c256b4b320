import pytest
import torch
from safetensors.torch import save_file

from pairlens.model.backbone import Backbone
from pairlens.model.weights_file import load_weights_file


def network():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.BatchNorm2d(2))


def state(value=1.0):
    return {name: torch.full_like(tensor, value) for name, tensor in network().state_dict().items()}


def prefixed(prefix, weights=None):
    return {prefix + name: tensor for name, tensor in (weights or state()).items()}


def loaded(stored, file):
    torch.save(stored, file)
    made = network()
    load_weights_file(made, file)
    return made


LOOP: dict = {"epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}}
WRAPPED = {
    "plain": state(),
    "DataParallel": prefixed("module."),
    "compiled": prefixed("_orig_mod."),
    "compiled under DataParallel": prefixed("module._orig_mod."),
    "DataParallel under compiled": prefixed("_orig_mod.module."),
    "a compiled layer": {name.replace("0.", "0._orig_mod."): tensor for name, tensor in state().items()},
    "Embedder": prefixed("backbone.network.") | {"projections.0.weight": torch.zeros(2)},
    "compiled Embedder": prefixed("_orig_mod.backbone._orig_mod.network."),
    "state_dict": {"state_dict": state(), **LOOP},
    "model": {"model": prefixed("module."), **LOOP},
    "lightning": {"state_dict": prefixed("model.backbone."), "loops": LOOP},
    "two levels": {"checkpoint": {"model_state_dict": state()}},
    "twice the same": {"model": state(), "ema": state()},
    "with a classifier": state() | {"fc.weight": torch.zeros(5, 2)},
    "half precision": {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state().items()
    },
}


@pytest.mark.parametrize("wrapping", WRAPPED)
def test_weights_are_found_however_a_script_has_wrapped_them(wrapping, tmp_path):
    made = loaded(WRAPPED[wrapping], tmp_path / "w.pth")
    assert all(bool((tensor == 1).all()) for tensor in made.state_dict().values())
    assert made[0].weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"model": state(), "ema": state(2.0)}, r"holds several different weights that fit: 'model', 'ema'; save one"),
        (
            prefixed("student.") | prefixed("teacher.", state(2.0)),
            "several different weights that fit: 'student', 'teacher'",
        ),
        (
            {"model": {name: tensor.to(torch.int8) for name, tensor in state().items()}},
            "0.weight holds integers, not floats",
        ),
        ({name: tensor > 0 for name, tensor in state().items()}, "0.weight holds truth values, not floats"),
        (state() | {"0.bias": torch.zeros(2, dtype=torch.complex64)}, "0.bias holds complex numbers, not floats"),
        ({"model": state() | {"0.bias": torch.zeros(3)}}, r"0.bias is of shape \(3,\), not \(2,\)"),
        ({"model": {"0.weight": torch.zeros(2, 3, 1, 1)}}, "0.bias is missing"),
        ({"model": {"other": torch.zeros(2)}}, "0.weight is missing"),
        ({"epoch": 3, "model": "weights"}, "does not hold tensors by their names"),
        ([1, 2], "does not hold tensors by their names"),
    ],
)
def test_what_does_not_fit_is_named(stored, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        loaded(stored, tmp_path / "w.pth")


def test_a_dict_that_contains_itself_ends(tmp_path):
    # Each of thirty dicts holds the next one twice, which makes a thousand million ways through them.
    inner: dict = {"model": state()}
    for _ in range(30):
        inner = {"a": inner, "b": inner}
    inner["itself"] = inner
    assert loaded(inner, tmp_path / "w.pth")[0].bias.tolist() == [1, 1]


def test_the_backbone_takes_compiled_weights_from_safetensors(tmp_path):
    source = Backbone("resnet10t", "none", "none", 64)
    save_file(prefixed("_orig_mod.", source.network.state_dict()), tmp_path / "w.safetensors")
    made = Backbone("resnet10t", str(tmp_path / "w.safetensors"), "none", 64)
    assert torch.equal(made.network.conv1[0].weight, source.network.conv1[0].weight)
