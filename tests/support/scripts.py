"""Scripts in processes of their own, forked from one that has imported PyTorch, timm and Pairlens and does nothing else."""

import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from support import ranks  # noqa: F401 - says what that process imports


@dataclass(frozen=True)
class Done:
    """How a script has ended."""

    returncode: int
    stdout: str
    stderr: str


def run_script(words: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None = None) -> Done:
    """Run a Python file with its arguments in a working folder; its output is written to `stdout` and `stderr` there."""
    files = [folder / "stdout", folder / "stderr"]
    arguments = (list(map(str, words)), folder, files, dict(environment or {}))
    process = get_context("forkserver").Process(target=_run, args=arguments)
    process.start()
    process.join()
    return Done(process.exitcode, *(file.read_text(encoding="utf-8") for file in files))


def _run(words: list[str], folder: Path, files: Sequence[Path], environment: dict[str, str]) -> None:
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")
