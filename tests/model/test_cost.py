import pytest

from pairlens.model.cost import profile
from pairlens.model.embedder import Architecture

# Backbone, classes, parameters in millions, multiply-adds in billions, by leftthomas/CGD.
PUBLISHED = [
    ("resnet50", 98, 26.86, 10.60),
    ("resnet50", 11318, 49.85, 10.63),
    ("resnet50", 3997, 34.85, 10.61),
    ("resnext50", 98, 26.33, 10.79),
    ("resnext50", 11318, 49.32, 10.81),
    ("resnext50", 3997, 34.32, 10.80),
]


@pytest.mark.parametrize(("backbone", "classes", "parameters", "multiply_adds"), PUBLISHED)
def test_costs_equal_the_published_costs_of_cgd(backbone, classes, parameters, multiply_adds):
    cost = profile(Architecture(backbone, "SG", 1536, classes, "port"))
    assert round(cost.parameters / 1e6, 2) == parameters
    assert round(cost.multiply_adds / 1e9, 2) == multiply_adds
    assert cost.map_size == (14, 14)


def test_a_removed_downsampling_raises_the_cost():
    costs = [profile(Architecture(classes=98, stride=s)).multiply_adds / 1e9 for s in ("none", "paper", "port")]
    assert costs == pytest.approx([4.09, 6.21, 10.60], abs=0.005)
