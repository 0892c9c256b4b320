"""One process on the code path of several ranks: every message is sent, and comes back unchanged."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from torch import distributed as dist

from pairlens.core import distributed
from pairlens.training import data_parallel


class Several(int):
    """A world size that is 1 in arithmetic, but compares as larger than 1, so that the code communicates."""

    def __eq__(self, other: object) -> bool:
        return False

    def __gt__(self, other: int) -> bool:
        return True

    __hash__ = int.__hash__


@contextmanager
def one_rank(folder: Path, backend: str = "gloo") -> Iterator[None]:
    """Be the only rank of a process group, but take the code path of several ranks."""
    dist.init_process_group(backend, init_method=f"file://{folder}/meeting", rank=0, world_size=1)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for module in (distributed, data_parallel):
                patch.setattr(module, "world_size", lambda: Several(1))
            yield
    finally:
        dist.destroy_process_group()
