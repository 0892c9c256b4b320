"""How long the threads of PyTorch that wait for each other keep a core busy before they sleep."""

import os

# Variables with which a user sets this, for libgomp and for every OpenMP library.
_COUNT, _POLICY = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"
# How often a waiting thread looks before it sleeps: for a third of a millisecond on an Intel Xeon. Most operators of a
# network take less, so that a thread that has a core of its own seldom sleeps.
_LOOKS = 30_000


def let_waiting_threads_sleep() -> None:
    """Let a thread of PyTorch that waits for the others sleep within a millisecond, unless the environment says when.

    The threads of PyTorch share the work of an operator and wait for each other at its end. Its OpenMP library on Linux
    (libgomp) lets a waiting thread look 300,000 times whether the others are done, and so takes the core from them where
    other programs need the cores, too. docs/performance.md has figures. Processes that are started later inherit the
    setting; other OpenMP libraries do not read it. It has an effect only before PyTorch is imported.
    """
    if _COUNT not in os.environ and _POLICY not in os.environ:
        os.environ[_COUNT] = str(_LOOKS)
