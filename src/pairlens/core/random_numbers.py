"""Random numbers of a part of the work that leave those of the rest alone."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def own_random_numbers(seed: int, gpu: torch.device | None = None) -> Iterator[None]:
    """Seed the generators of PyTorch on the CPU, NumPy and Python within a context, after which they go on as before.

    `torch.manual_seed` would seed the generators of all GPUs, too, and nothing would give them their states back: dropout
    and miners on a GPU would then depend on which photo was prepared last.

    Args:
        seed: of all generators.
        gpu: whose generator is seeded, too; the generators of other GPUs are never touched.

    >>> before = torch.get_rng_state()
    >>> with own_random_numbers(3):
    ...     _ = torch.rand(2), np.random.rand(), random.random()
    >>> torch.equal(torch.get_rng_state(), before)
    True
    """
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[] if gpu is None else [gpu]):
        torch.default_generator.manual_seed(seed)
        if gpu is not None:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        # NumPy accepts seeds of 32 bits only.
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
