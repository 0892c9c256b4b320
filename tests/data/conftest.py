import tarfile
from pathlib import Path

import pytest
from PIL import Image

SHARED = Path(__file__).parents[3] / "shared" / "data"


def _unpacked(archive: str, folder: Path) -> Path:
    if not (SHARED / archive).is_file():
        pytest.skip(f"needs shared/data/{archive}")
    with tarfile.open(SHARED / archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def annotations(tmp_path_factory):
    """The real annotation files of CUB-200-2011, Cars196 and In-Shop."""
    return _unpacked("annotations.tar.gz", tmp_path_factory.mktemp("annotations")) / "annotations"


@pytest.fixture(scope="session")
def birds(tmp_path_factory):
    """294 real bird photos in ten class folders."""
    return _unpacked("cub200_2010_ten.tar", tmp_path_factory.mktemp("birds")) / "cub200_2010_ten"


@pytest.fixture
def class_folders(tmp_path):
    """Five class folders with two photos each; a photo has 40 × 30 pixels of one colour."""
    root = tmp_path / "photos"
    for number, name in enumerate("abcde"):
        (root / name).mkdir(parents=True)
        for copy in range(2):
            Image.new("RGB", (40, 30), (50 * number, 100, 20 * copy)).save(root / name / f"{copy}.png")
    return root
