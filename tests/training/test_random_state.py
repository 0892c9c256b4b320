import random

import numpy as np
import torch

from pairlens.training.random_state import random_state, seed_everything, set_random_state


def next_numbers():
    return torch.rand(1).item(), float(np.random.rand()), np.random.randn(), random.random()


def test_a_restored_state_repeats_the_numbers_of_all_generators():
    seed_everything(3)
    np.random.randn()
    state = random_state()
    first = next_numbers()
    assert next_numbers() != first
    set_random_state(state)
    assert next_numbers() == first


def test_a_large_seed_gives_reproducible_numbers():
    seed_everything(2**40 + 1)
    first = next_numbers()
    seed_everything(2**40 + 1)
    assert next_numbers() == first
