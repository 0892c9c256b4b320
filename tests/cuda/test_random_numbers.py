"""Random numbers of a context on a GPU, beside those of the work around it."""

import torch

from pairlens.core.random_numbers import own_random_numbers


def test_a_gpu_goes_on_as_if_nothing_had_been_seeded(device):
    torch.manual_seed(1)
    first, second = torch.rand(3, device=device), torch.rand(3, device=device)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3, device=device), first)
    with own_random_numbers(7), own_random_numbers(8, gpu=device if device.type == "cuda" else None):
        drawn = torch.rand(3, device=device)
    assert torch.equal(torch.rand(3, device=device), second)
    with own_random_numbers(8, gpu=device if device.type == "cuda" else None):
        assert torch.equal(torch.rand(3, device=device), drawn)
