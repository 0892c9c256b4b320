import pytest
import torch

from pairlens.model.embedder import Embedder
from pairlens.training import precision
from pairlens.training.precision import choose_precision
from support.fake_gpu import FAKE_GPU, fake_gpu

DEPTHWISE = "test_efficientnet"


@pytest.mark.parametrize(
    ("multiplies", "backbone", "expected"),
    [
        (True, "resnet10t", "bfloat16"),
        (True, "resnext26ts", "bfloat16"),
        (True, DEPTHWISE, "float32"),
        (False, "resnet10t", "float32"),
    ],
)
def test_auto_is_bfloat16_where_that_is_faster(monkeypatch, multiplies, backbone, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": multiplies}, raising=False)
    assert choose_precision(Embedder(backbone=backbone, dim=4, weights="none", stride="none")) == expected


@pytest.mark.parametrize(("ampere", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_is_bfloat16_on_a_gpu_that_does_not_only_emulate_it(monkeypatch, ampere, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: ampere or including_emulation)
    with fake_gpu():
        assert choose_precision(torch.nn.Linear(2, 2, device=FAKE_GPU)) == expected


def test_without_known_cpu_capabilities_auto_is_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not precision._cpu_multiplies_bfloat16()
