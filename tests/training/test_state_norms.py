import math

import pytest
import torch

from pairlens.losses import Circle, SoftTriple
from pairlens.training.criterion import Criterion
from pairlens.training.divergence import DivergedError
from pairlens.training.fit import fit
from pairlens.training.learner import Objective
from pairlens.training.references import CrossBatchMemory
from pairlens.training.state_norms import MAX_GROWTH, MAX_GROWTH_OF_A_RUN, StateNorms
from support.training_setup import Photos, learner

OBJECTIVE = Objective(freeze_bn="none")


def trained(loss=None, memory=False):
    made = learner(loss)
    if memory:
        made.criterion = Criterion(Circle(), CrossBatchMemory(size=40, dim=8))
    start = StateNorms.of(made)
    list(fit(made, Photos(), OBJECTIVE, 1))
    return made, start


def first_moment(made):
    return made.optimizer.state[made.optimizer.param_groups[0]["params"][0]]["exp_avg"]


# One tensor of each part of the state.
PLACES = {
    "weights": lambda made: next(made.model.parameters()).data,
    "statistics": lambda made: next(b for n, b in made.model.named_buffers() if n.endswith("running_var")),
    "loss parameters": lambda made: made.criterion.references.vectors.data,
    "loss memory": lambda made: made.criterion.references.vectors,
    "optimizer": first_moment,
}


def made_for(part):
    return trained(SoftTriple(centers=2) if part == "loss parameters" else None, memory=part == "loss memory")


def test_an_ordinary_training_is_good():
    for part in ("loss parameters", "loss memory"):
        made, start = made_for(part)
        norms = start.next(made, start)
        assert norms.parts.keys() == MAX_GROWTH.keys()
        assert norms.parts["weights"] == pytest.approx(
            math.sqrt(sum(float(p.detach().double().square().sum()) for p in made.model.parameters()))
        )
        assert norms.parts["optimizer"] > 0


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("part", PLACES)
def test_one_value_that_is_not_finite_is_named(part, value):
    made, start = made_for(part)
    PLACES[part](made).view(-1)[-1] = value
    with pytest.raises(DivergedError, match=rf"the {part} became infinite or NaN, first in \S+ ?.*after 1 epochs"):
        start.next(made, start)


@pytest.mark.parametrize("part", PLACES)
def test_growth_beyond_the_limit_is_named_and_growth_below_it_is_not(part):
    made, start = made_for(part)
    norms = start.next(made, start)
    tensor = PLACES[part](made)
    original = tensor.clone()
    # The norm of the part becomes this many times larger than that of the last checkpoint, and than 1.
    unit = max(norms.parts[part], 1.0) / float(original.double().norm())
    tensor.copy_(original * unit * MAX_GROWTH[part] * 0.9)
    later = norms.next(made, start)
    assert later.parts[part] > norms.parts[part]
    tensor.copy_(original * unit * MAX_GROWTH[part] * 1.1)
    with pytest.raises(DivergedError, match=f"the norm of the {part} grew .* since the last good checkpoint"):
        norms.next(made, start)


def test_weights_that_grow_a_little_at_each_checkpoint_are_found_too():
    made, start = trained()
    norms = start

    def double():
        for parameter in made.model.parameters():
            parameter.data *= 2
        return norms.next(made, start)

    # 2^13 times the first norm is allowed, 2^15 times is not.
    for _ in range(13):
        norms = double()
    double()
    with pytest.raises(DivergedError, match=r"the norm of the weights grew .* since the start of the run"):
        double()
    assert norms.parts["weights"] <= MAX_GROWTH_OF_A_RUN["weights"] * start.parts["weights"]


def test_a_buffer_that_is_infinite_on_purpose_is_no_divergence():
    made = learner()
    made.model.register_buffer("mask", torch.tensor([0.0, -math.inf]))
    start = StateNorms.of(made)
    assert math.isfinite(start.next(made, start).parts["statistics"])
