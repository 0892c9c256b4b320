"""`python -m pairlens` runs nothing that lies in the current folder, which somebody else may have made."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pairlens
from pairlens import _module_path

# Libraries that commands import, some of them optional.
SHADOWED = (
    *("numpy", "tyro", "torch", "rich", "PIL", "matplotlib", "typing", "dataclasses", "pathlib", "shutil", "textwrap"),
    *(
        "safetensors",
        "filelock",
        "tomllib",
        "jinja2",
        "timm",
        "optuna",
        "faiss",
        "ray",
        "simplejpeg",
        "pyarrow",
        "scipy",
    ),
)
COMMANDS = (["report", "."], ["compare", "--resume", "."], ["query", "."], ["losses"], ["--version"])


def started(words, folder):
    # The source of this checkout, also where another copy is installed.
    environment = {**os.environ, "PYTHONPATH": str(Path(pairlens.__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pairlens", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=120)


@pytest.fixture
def planted(tmp_path):
    sentinel = tmp_path / "sentinel"
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in SHADOWED:
        (folder / f"{name}.py").write_text(f"open({str(sentinel)!r}, 'w').close()\n", encoding="utf-8")
    yield folder
    assert not sentinel.exists()


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_library_is_taken_from_the_current_folder(planted, words):
    done = started(words, planted)
    assert done.returncode == (0 if words[0] in ("losses", "--version") else 2)
    assert "Traceback" not in done.stderr


def test_a_module_that_is_typed_is_found_there_and_replaces_no_library(planted):
    code = "def loss(embeddings, labels): return (embeddings * 0).sum()\n"
    (planted / "my_code.py").write_text(code, encoding="utf-8")
    done = started(["compare", "--losses", "my_code:loss", "--data_path", "nowhere"], planted)
    # Two losses are needed; the sentence shows that the command came so far.
    assert "a comparison needs two losses" in done.stderr
    done = started(["audit", "my_code:none"], planted)
    assert "has no attribute 'none'" in done.stderr


@pytest.mark.parametrize(
    ("program", "words", "left"),
    [
        (["python", "-m", "pairlens"], ["report", "."], ["lib"]),
        (["python", "-u", "-m", "pairlens.cli.main"], ["report", "."], ["lib"]),
        (["python", "-m", "pairlens"], ["train", "my_code:loss"], ["lib", "here"]),
        (["python", "-m", "pairlens"], ["train", "circle+0.5*my.code:Loss(a=1)"], ["lib", "here"]),
        (["python", "-m", "pairlens"], ["report", ".", "--trust", "my_code"], ["lib", "here"]),
        (["python", "-m", "pairlens"], ["report", ".", "--trust=my_code"], ["lib", "here"]),
        (["python", "-m", "pairlens"], ["report", "C:/runs"], ["lib"]),
        (["python", "-m", "pytest"], ["my_code:loss"], ["here", "lib"]),
        (["python"], [], ["here", "lib"]),
    ],
)
def test_where_the_current_folder_is_searched(monkeypatch, program, words, left):
    monkeypatch.setattr(sys, "orig_argv", [*program, *words])
    monkeypatch.setattr(sys, "argv", ["-m", *words])
    monkeypatch.setattr(sys, "path", ["here", "lib"])
    _module_path.protect_module_path()
    assert sys.path == left


def test_figure_settings_of_the_current_folder_are_not_read(tmp_path):
    """Such a file could make Matplotlib run LaTeX."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.size: 99\n", encoding="utf-8")
    code = (
        "from pairlens.cli.main import _ignore_figure_settings; _ignore_figure_settings(); import matplotlib; "
        "print(matplotlib.rcParams['text.usetex'], matplotlib.rcParams['font.size'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(pairlens.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", timeout=60
    )
    assert done.stdout.split() == ["False", "10.0"]
