"""Jobs for the engines; other processes import them from here."""

import os
import time

import torch


def work(number):
    return number, os.getpid(), torch.get_num_threads()


def die(number):
    os._exit(1)


def fail(number):
    raise FloatingPointError(f"job {number}")


def where(number):
    """Say which node of a cluster this is; long enough that both have to take part."""
    import ray

    time.sleep(0.3)
    return number, ray.get_runtime_context().get_node_id()
