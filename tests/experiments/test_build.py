from dataclasses import replace

import pytest
import torch

from pairlens.experiments import build as learners
from pairlens.experiments.build import make_learner, make_objective

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
def test_auto_is_bfloat16_where_that_is_faster(tiny, monkeypatch, multiplies, backbone, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": multiplies}, raising=False)
    asked = replace(tiny, precision="auto", backbone_type=backbone)
    assert make_objective(asked, make_learner(asked, 4).model).precision == expected
    named = replace(asked, precision="float32")
    assert make_objective(named, make_learner(named, 4).model).precision == "float32"


def test_a_pytorch_that_does_not_tell_means_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not learners._cpu_multiplies_bfloat16()
