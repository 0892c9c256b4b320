"""Fixture of the security tests: the folder of a saved model."""

import pytest

from pairlens.model.embedder import Embedder


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    embedder = Embedder(backbone="test_resnet", descriptors="SM", dim=8, weights="none", stride="none", image_size=32)
    embedder.save(folder)
    return folder
