from typing import get_args

import pytest
import torch

from pairlens.core.records import from_plain, to_plain
from pairlens.data.sampler import ClassBatches
from pairlens.experiments.build import make_criterion, make_learner
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.recipes import RECIPES, find_recipe
from pairlens.losses import Loss
from pairlens.losses.protocols import parts_of
from support.experiments import changed

each_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)


def test_every_loss_has_a_recipe_and_names_are_unique():
    # A loss that its paper adds to another one has a recipe of the sum.
    assert {type(part) for recipe in RECIPES for _, part in parts_of(recipe.experiment.loss)} == set(get_args(Loss))
    assert len({recipe.name for recipe in RECIPES}) == len(RECIPES)


@each_recipe
def test_a_recipe_can_be_stored_and_its_criterion_learns(recipe):
    experiment = changed(recipe.experiment, dim=16, memory_size=recipe.experiment.batches.size)
    assert from_plain(Experiment, to_plain(recipe.experiment)) == recipe.experiment
    assert recipe.experiment.batches.size % recipe.experiment.batches.per_class == 0
    labels = torch.arange(6).repeat_interleave(2)
    embeddings = torch.randn(12, 16, requires_grad=True)
    make_criterion(experiment, 6)(embeddings, labels).backward()
    assert embeddings.grad.isfinite().all()
    assert embeddings.grad.abs().sum() > 0


def test_proxy_anchor_has_the_settings_of_its_code(tiny):
    experiment = find_recipe("proxy_anchor_cub").experiment
    e = changed(experiment, backbone="resnet10t", image_size=32, weights="none", dim=16)
    learner = make_learner(e, classes=4)
    rates = [group["lr"] for group in learner.optimizer.param_groups]
    assert isinstance(learner.optimizer, torch.optim.AdamW)
    assert rates == [1e-4, 1e-4, 1e-2]
    assert [group["weight_decay"] for group in learner.optimizer.param_groups] == [1e-4, 1e-4, 0.0]
    assert (e.objective.warm_up, e.objective.clip_value, e.objective.freeze_bn) == (5, 10.0, "all")


def test_an_unknown_recipe_gives_an_error_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no recipe 'x'; available are .*proxy_anchor_cub"):
        find_recipe("x")


@each_recipe
def test_a_recipe_draws_its_batches_and_takes_a_step(recipe):
    experiment = recipe.experiment
    classes = experiment.batches.size // experiment.batches.per_class
    # As many classes as a batch needs, with as many photos as it draws from each.
    labels = torch.arange(classes).repeat_interleave(experiment.batches.per_class)
    sampler = ClassBatches(labels, experiment.batches.size, experiment.batches.per_class, experiment.run.seed)
    photos = next(iter(sampler.epoch(1)))
    criterion = make_criterion(changed(experiment, dim=12, memory_size=experiment.batches.size), classes)
    embeddings = torch.randn(len(photos), 12, requires_grad=True)
    optimizer = torch.optim.SGD([embeddings, *criterion.parameters()], lr=1.0)
    before = embeddings.detach().clone()
    criterion(embeddings, labels[photos]).backward()
    optimizer.step()
    assert embeddings.isfinite().all()
    assert not torch.equal(embeddings, before)
