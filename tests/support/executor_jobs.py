"""Jobs for the engines; other processes import them from here."""

import os
import time

import torch

from pairlens.core.files import lock_folder


def work(number):
    return number, os.getpid(), torch.get_num_threads()


def die(number):
    os._exit(1)


def hold_lock(folder):
    """Hold the lock of a folder for a minute."""
    with lock_folder(folder):
        (folder / "held").touch()
        time.sleep(60)


def fail(number):
    raise FloatingPointError(f"job {number}")


def where(number):
    """Say which node of a cluster this is; long enough that both have to take part."""
    import ray

    time.sleep(0.3)
    return number, ray.get_runtime_context().get_node_id()
