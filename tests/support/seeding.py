"""Seeding PyTorch in tests, thousands of times in a run of the suite."""

import torch


def seed(number: int) -> None:
    """Seed PyTorch as `torch.manual_seed` does.

    Without a GPU that function notes three times from where it was called, which costs more than a small test.
    """
    (torch.manual_seed if torch.cuda.is_available() else torch.default_generator.manual_seed)(number)
