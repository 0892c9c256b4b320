"""What importing the package does: on a system without POSIX modules, and before a name of it is used."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pairlens

SOURCE = Path(__file__).parent.parent / "src"
MODULES = sorted(
    ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for file in SOURCE.rglob("*.py")
    # This one runs the command line when it is imported.
    if file.name != "__main__.py"
)
# Libraries that take long to import and that few functions need.
HEAVY = ("scipy", "matplotlib", "timm", "sklearn", "torch._dynamo", "torchvision", "faiss", "pandas", "optuna", "ray")
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
    return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False)


def test_every_module_is_imported_without_posix_modules():
    done = import_all(MODULES)
    assert done.returncode == 0, done.stderr


def test_a_posix_module_cannot_be_imported_here():
    assert "ModuleNotFoundError: import of fcntl halted" in import_all(["fcntl"]).stderr


def run_python(code):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8", check=True
    )
    return done.stdout.split()


def test_importing_the_package_imports_no_library():
    modules = set(run_python("import sys, pairlens; print(*sys.modules)"))
    assert {name for name in modules if name.startswith("pairlens")} == {"pairlens", "pairlens._module_path"}
    assert modules & {"torch", "numpy", *HEAVY} == set()


def test_the_public_names_import_nothing_heavy():
    modules = set(run_python("from pairlens import *; import sys; print(*sys.modules)"))
    assert "torch" in modules
    assert modules & set(HEAVY) == set()


def test_the_names_for_type_checkers_are_those_of_the_table():
    tree = ast.parse((SOURCE / "pairlens" / "__init__.py").read_text(encoding="utf-8"))
    (checked,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    homes = {alias.name: node.module for node in checked.body for alias in node.names}
    assert homes.pop("losses") == "pairlens"
    assert homes.pop("miners") == "pairlens.losses"
    assert homes == pairlens._HOMES
    assert sorted([*homes, "losses", "miners"]) == pairlens.__all__


def test_every_public_name_is_there_and_listed():
    assert set(pairlens.__all__) <= set(dir(pairlens))
    assert pairlens.losses.Circle().gamma == 80
    for name, module in pairlens._HOMES.items():
        assert getattr(pairlens, name) is getattr(sys.modules[module], name)


def test_an_unknown_name_is_the_usual_error():
    with pytest.raises(AttributeError, match=r"module 'pairlens' has no attribute 'Galery'") as error:
        pairlens.Galery  # noqa: B018
    assert (error.value.name, error.value.obj) == ("Galery", pairlens)
    assert not hasattr(pairlens, "__path_of_nothing__")
