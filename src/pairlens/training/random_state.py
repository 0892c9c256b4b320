"""State of all random number generators of a run: seeded, saved and restored together."""

import random
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed PyTorch, and also NumPy and Python, which third-party losses may use."""
    torch.manual_seed(seed)
    # NumPy accepts seeds of 32 bits only.
    np.random.seed(seed % 2**32)
    random.seed(seed)


def random_state() -> dict[str, Any]:
    """Return the state of every generator, including that of the current GPU, as tensors and plain data."""
    version, words, gauss = random.getstate()
    kind, keys, *rest = np.random.get_state()
    # The long parts (625 and 624 words) are stored as tensors, because JSON would take many times their size.
    state = {
        "torch": torch.get_rng_state(),
        "python": [version, torch.tensor(words), gauss],
        "numpy": [kind, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest],
    }
    return {**state, "cuda": torch.cuda.get_rng_state()} if torch.cuda.is_initialized() else state


def set_random_state(state: dict[str, Any]) -> None:
    """Restore the state that `random_state` returned."""
    torch.set_rng_state(state["torch"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    # A run that was started on a GPU can be resumed on a machine without one.
    if "cuda" in state and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(state["cuda"])
