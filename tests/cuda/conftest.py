"""Tests that need a GPU.

Without a GPU they are skipped; with `--cuda_on cpu` they run on the CPU, as far as they can.
"""

from contextlib import contextmanager

import pytest
import torch

# Harmless warnings that PyTorch emits on a GPU only; every other warning is an error, as in all tests.
HARMLESS = (
    r"TensorFloat32 tensor cores for float32 matrix multiplication available but not enabled",
    r"\s*Online softmax is disabled on the fly",
    r"`torch.jit.script_method` is deprecated",
    r"TRITON_DEFAULT_FP_FUSION is unset",
    r"CUDA_HOME not set. using Triton's bundled libdevice",
    r"CUDA libdevice not found at",
    r"Synchronization debug mode is a prototype feature",
    r"barrier\(\). using the device under current context",
    r"No device id is provided via `init_process_group`",
    r"Grad strides do not match bucket view strides",
    r"Attempting to run cuBLAS, but there was no current CUDA context",
    r"Plan failed with a",
    r"Please use the new API settings to control TF32 behavior",
    r"This process \(pid=\d+\) is multi-threaded, use of fork\(\) may lead to deadlocks",
)


def pytest_itemcollected(item):
    item.add_marker(pytest.mark.cuda)
    for message in HARMLESS:
        item.add_marker(pytest.mark.filterwarnings(f"ignore:{message}"))


def pytest_collection_modifyitems(items):
    # Compiling takes longest, so it runs last; if the time is limited, all other tests have run.
    items.sort(key=lambda item: item.path.parent.name == "cuda" and item.path.stem == "test_compile")


@pytest.fixture(scope="session")
def device(pytestconfig) -> torch.device:
    """The GPU; without one the test is skipped, or runs on the CPU if `--cuda_on cpu` is given."""
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    if pytestconfig.getoption("cuda_on") == "cpu":
        return torch.device("cpu")
    pytest.skip("needs a GPU")


@pytest.fixture(scope="session")
def no_waiting(device):
    """A context in which blocking on the GPU is an error; it has no effect on the CPU."""

    @contextmanager
    def context():
        if device.type == "cpu":
            yield
            return
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")

    return context
