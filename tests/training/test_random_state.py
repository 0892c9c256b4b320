import random

import numpy as np
import torch

from pairlens.training.random_state import random_state, seed_everything, set_random_state


def draw():
    return torch.rand(1).item(), float(np.random.rand()), np.random.randn(), random.random()


def test_all_generators_go_on_from_where_they_were():
    seed_everything(3)
    np.random.randn()
    state = random_state()
    first = draw()
    assert draw() != first
    set_random_state(state)
    assert draw() == first


def test_the_same_seed_gives_the_same_numbers_however_large():
    seed_everything(2**40 + 1)
    first = draw()
    seed_everything(2**40 + 1)
    assert draw() == first
