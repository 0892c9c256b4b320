"""The package and every module of it can be imported where the modules that only POSIX systems have do not exist."""

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src"
MODULES = sorted(
    ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for file in SOURCE.rglob("*.py")
    # This one runs the command line when it is imported.
    if file.name != "__main__.py"
)
POSIX_MODULES = ("fcntl", "resource", "pwd", "grp", "termios")
# What the modules os and signal have on POSIX systems only, and the package might want.
POSIX_NAMES = (
    "fork",
    "register_at_fork",
    "sched_getaffinity",
    "pread",
    "pwrite",
    "getuid",
    "killpg",
    "SIGKILL",
    "alarm",
)

IMPORT_ALL = """
import importlib, os, signal, sys
posix_modules, posix_names, modules = (words.split(",") for words in sys.argv[1:])
for name in posix_modules:
    sys.modules[name] = None  # an import of it raises ModuleNotFoundError
# PyTorch asks sys.platform before it uses the names that are removed next, and here it says that they exist.
import torch
for module in (os, signal):
    for name in posix_names:
        if hasattr(module, name):
            delattr(module, name)
for name in modules:
    importlib.import_module(name)
"""


def import_all(modules):
    arguments = [",".join(words) for words in (POSIX_MODULES, POSIX_NAMES, modules)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", IMPORT_ALL, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_every_module_is_imported_without_posix_modules():
    done = import_all(MODULES)
    assert done.returncode == 0, done.stderr


def test_a_posix_module_cannot_be_imported_here():
    assert "ModuleNotFoundError: import of fcntl halted" in import_all(["fcntl"]).stderr
