"""One process that takes the way of several: every message is sent, and comes back as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from torch import distributed as dist

from pairlens.core import ranks
from pairlens.training import distributed


class Several(int):
    """The number 1 for arithmetic, and yet more than 1 for whoever asks whether there are others to talk to."""

    def __eq__(self, other: object) -> bool:
        return False

    def __gt__(self, other: int) -> bool:
        return True

    __hash__ = int.__hash__


@contextmanager
def one_rank(folder: Path, backend: str = "gloo") -> Iterator[None]:
    """Be the only rank of a group, and send and gather all the same."""
    dist.init_process_group(backend, init_method=f"file://{folder}/meeting", rank=0, world_size=1)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for module in (ranks, distributed):
                patch.setattr(module, "world", lambda: Several(1))
            yield
    finally:
        dist.destroy_process_group()
