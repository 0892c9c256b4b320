from itertools import permutations

import pytest
import torch

from pairlens.model.descriptors import GEM_FLOOR, GeneralizedMean, descriptor, letters


def test_each_letter_is_its_pooling_function():
    features = torch.rand(2, 3, 4, 5)
    assert torch.allclose(descriptor("S")(features), features.flatten(2).mean(2))
    assert torch.allclose(descriptor("M")(features), features.flatten(2).max(2).values)
    assert torch.allclose(descriptor("G")(features), features.flatten(2).pow(3).mean(2) ** (1 / 3), atol=1e-5)


def test_gem_has_a_finite_gradient_on_a_dead_channel():
    features = torch.zeros(1, 2, 3, 3, requires_grad=True)
    pooled = GeneralizedMean()(features)
    pooled.sum().backward()
    assert torch.allclose(pooled, torch.full((1, 2), GEM_FLOOR))
    assert torch.isfinite(features.grad).all()


def test_gem_does_not_overflow_in_half_precision():
    assert GeneralizedMean()(torch.full((1, 1, 2, 2), 100.0, dtype=torch.float16)).item() == pytest.approx(100)


def test_the_power_is_a_parameter_only_if_learned():
    assert not list(GeneralizedMean().parameters())
    pool = GeneralizedMean(learn=True)
    pool(torch.rand(1, 2, 3, 3)).sum().backward()
    assert pool.power.grad is not None
    assert pool.power.grad != 0


def test_the_fifteen_configurations_are_accepted_and_others_are_errors():
    for count in (1, 2, 3):
        for chosen in permutations("SMG", count):
            assert letters("".join(chosen)) == chosen
    for wrong in ("", "SS", "SX", "sg", "SMGS"):
        with pytest.raises(ValueError, match="--descriptors"):
            letters(wrong)
