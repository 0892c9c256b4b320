"""Files that one process of a test run makes for all of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(request: pytest.FixtureRequest, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that the first process fills, for which the others wait.

    Args:
        request: of a fixture.
        name: of the folder.
        make: fills it.
    """
    own = request.getfixturevalue("tmp_path_factory").getbasetemp()
    # The temporary folders of the processes of one run are beside each other.
    shared = own.parent if hasattr(request.config, "workerinput") else own
    folder, finished = shared / name, shared / f"{name}.finished"
    with FileLock(shared / f"{name}.lock"):
        if not finished.exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            finished.touch()
    return folder
