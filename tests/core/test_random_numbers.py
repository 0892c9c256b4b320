import random

import numpy as np
import pytest
import torch

from pairlens.core.random_numbers import own_random_numbers
from pairlens.data.augmentation import apply_function
from pairlens.training.gather import shared_random_numbers


def next_numbers():
    return torch.rand(1).item(), float(np.random.rand()), np.random.randn(), random.random()


def test_a_context_has_the_numbers_of_its_seed_and_the_rest_goes_on():
    with own_random_numbers(7):
        expected = next_numbers()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    first, second = next_numbers(), next_numbers()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    assert next_numbers() == first
    with own_random_numbers(7):
        assert next_numbers() == expected
    assert next_numbers() == second


def test_the_rest_goes_on_after_an_error():
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    with pytest.raises(ZeroDivisionError), own_random_numbers(2**40):
        raise ZeroDivisionError(next_numbers())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]


def augment():
    return apply_function(lambda photo: photo.float().add(torch.rand(1)).byte(), np.zeros((8, 8, 3), np.uint8), 8, 3)


def gather(monkeypatch):
    # A single process broadcasts to nobody.
    monkeypatch.setattr("pairlens.training.gather.broadcast_from_first", lambda tensors: None)
    with shared_random_numbers(torch.device("cpu")):
        torch.rand(1)


@pytest.mark.parametrize("work", [lambda _: augment(), gather], ids=["a function for augmentation", "a miner on ranks"])
def test_work_on_the_cpu_seeds_no_gpu(work, monkeypatch):
    seeded = []
    for name in ("manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, seeded.append)
    torch.manual_seed(5)
    # PyTorch itself seeds all GPUs with the CPU.
    assert seeded == [5]
    work(monkeypatch)
    assert seeded == [5]
