"""What the tests of untrusted files share."""

import pytest

from pairlens.model.embedder import Embedder


@pytest.fixture
def model(tmp_path):
    made = Embedder(backbone="test_resnet", descriptors="SM", dim=8, weights="none", stride="none", image_size=32)
    folder = tmp_path / "model"
    folder.mkdir()
    made.save(folder)
    return folder
