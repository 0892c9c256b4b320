"""What the wheel of the package contains."""

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MARKER = ROOT / "src" / "pairlens" / "py.typed"


def test_type_checkers_find_the_marker_of_a_typed_package_in_the_wheel():
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]
    # Hatch takes every file of the package that git does not ignore, unless a setting leaves some out.
    assert wheel == {"packages": ["src/pairlens"]}
    assert MARKER.is_file()


def test_git_does_not_ignore_the_marker():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "-C", str(ROOT), "check-ignore", "--quiet", str(MARKER)]
    assert subprocess.run(command, check=False).returncode == 1
