"""Computing in evaluation mode with a module that is left in the modes that it had."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode, and give each of its parts its own mode back afterwards.

    `train()` at the end would also unfreeze the parts that are frozen, such as a BatchNorm in evaluation mode.

    >>> layers = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2).eval())
    >>> with in_evaluation_mode(layers):
    ...     layers.training
    False
    >>> layers.training, layers[1].training
    (True, False)
    """
    in_training = [part for part in module.modules() if part.training]
    # A model that several threads use is not touched if there is nothing to change.
    if in_training:
        module.eval()
    try:
        yield
    finally:
        for part in in_training:
            part.training = True
