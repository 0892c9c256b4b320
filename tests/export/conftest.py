"""One exported model for all tests of the package, because an export takes seconds."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from pairlens.export.onnx_model import export_onnx
from pairlens.export.parity import ComparedPhotos, Parity
from pairlens.model.embedder import Embedder
from support.onnx_models import PHOTOS, small_model


@dataclass(frozen=True)
class Exported:
    model: Embedder
    file: Path
    parity: Parity


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Exported:
    """A model in training mode, exported in float32."""
    model = small_model().train()
    file = tmp_path_factory.mktemp("onnx") / "model.onnx"
    return Exported(model, file, export_onnx(model, file, ComparedPhotos(PHOTOS), licences=("MIT", "CC BY 4.0")))
