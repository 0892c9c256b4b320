"""Writing a model as one ONNX file, which stays only if it computes what the model computes."""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

from pairlens.core.files import atomic_write
from pairlens.core.records import to_plain
from pairlens.export.onnx_graph import ExportableModel, onnx_graph
from pairlens.export.parity import LEAST_COSINES, ComparedPhotos, Parity, check_parity
from pairlens.export.quantize import quantized_contents
from pairlens.model.check_sum import check_sum
from pairlens.model.embedder import Embedder
from pairlens.model.evaluation_mode import in_evaluation_mode
from pairlens.model.onnx_embedder import OnnxEmbedder
from pairlens.model.onnx_file import METADATA_KEY, OnnxDescription, Precision

# The settings of the model in PyTorch, beside what `OnnxDescription` needs.
ARCHITECTURE_KEY = "pairlens_architecture"


def export_onnx(
    model: ExportableModel,
    file: Path,
    photos: ComparedPhotos,
    *,
    precision: Precision = "float32",
    licences: tuple[str, str] = ("unknown", "unknown"),
    calibration: np.ndarray | None = None,
) -> Parity:
    """Write a model as one ONNX file, after its vectors were compared with those of the model.

    Args:
        model: an `Embedder` or a `PlainBackbone`.
        file: what is written.
        photos: what the two are compared on.
        precision: the numbers that the backbone computes with. An int8 file is another model: it is written however far its
            vectors are from those of the model, and the comparison says how far.
        licences: of the weights that training started from, and of the training photos.
        calibration: for int8, training photos as pixels, uint8 (photo, image_size, image_size, 3).

    Raises:
        ValueError: if the model cannot be expressed in ONNX, or the vectors differ too much; then nothing is written.
        UnwritableError: if the file cannot be written.
    """
    if precision == "int8":
        calibrated = np.empty(0, np.uint8) if calibration is None else calibration
        contents = quantized_contents(onnx_contents(model, "float32", licences), calibrated)
    else:
        contents = onnx_contents(model, precision, licences)
    parity = check_parity(model, OnnxEmbedder.from_bytes(contents, str(file)), photos)
    least = LEAST_COSINES[precision]
    # Not `<`, which NaN would pass.
    if not parity.least_cosine >= least:
        raise ValueError(
            f"the exported model does not compute what the model computes: the least cosine of their vectors is "
            f"{parity.least_cosine:.6f}, below {least}; nothing is written"
        )
    write_onnx(file, contents)
    return parity


def write_onnx(file: Path, contents: bytes) -> None:
    """Write the contents of an ONNX file atomically; raises UnwritableError."""
    with atomic_write(file) as part:
        part.write(contents)


def onnx_contents(
    model: ExportableModel, precision: Precision = "float32", licences: tuple[str, str] = ("unknown", "unknown")
) -> bytes:
    """Return the contents of an ONNX file of a model with its metadata, unchecked; raises ValueError as `export_onnx`."""
    # In training mode BatchNorm would take the statistics of the batch.
    with in_evaluation_mode(model):
        graph = onnx_graph(model, precision)
    described = describe(model, precision, licences)
    texts = {METADATA_KEY: described, ARCHITECTURE_KEY: model.architecture}
    for key, record in texts.items():
        graph.metadata_props.add(key=key, value=json.dumps(to_plain(record)))
    graph.producer_name, graph.producer_version = "pairlens", version("pairlens")
    return graph.SerializeToString()


def describe(model: ExportableModel, precision: Precision, licences: tuple[str, str]) -> OnnxDescription:
    """Return what the metadata of an exported model says.

    A float32 file has the fingerprint of the model in PyTorch, because their vectors are the same up to rounding and may lie
    in one collection. Another precision is another model, and its fingerprint says so.

    >>> model = Embedder(backbone="test_resnet", descriptors="S", dim=8, weights="none", image_size=32)
    >>> described = describe(model, "float16", ("unknown", "unknown"))
    >>> described.fingerprint == model.fingerprint() + "-float16"
    True
    """
    shape = model.architecture
    fingerprint = check_sum(model.state_dict())
    mean, std = (tuple(buffer.flatten().tolist()) for buffer in (model.mean, model.std))  # pyright: ignore
    return OnnxDescription(
        fingerprint=fingerprint if precision == "float32" else f"{fingerprint}-{precision}",
        precision=precision,
        dim=shape.dim,
        image_size=shape.image_size,
        stored_size=shape.stored_size,
        stored_quality=shape.stored_quality,
        stored_reading=shape.stored_reading,
        backbone=shape.backbone,
        descriptors=shape.descriptors if isinstance(model, Embedder) else "",
        mean=mean,
        std=std,
        version=version("pairlens"),
        weights_licence=licences[0],
        data_licence=licences[1],
    )
