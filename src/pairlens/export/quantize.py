"""Static quantisation of an exported model to 8-bit whole numbers: another model, with other vectors."""

import json
import logging
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from pairlens.core.records import to_plain
from pairlens.core.untrusted import read_bytes
from pairlens.export.onnx_graph import INPUT
from pairlens.model.onnx_file import MAX_ONNX_BYTES, METADATA_KEY, check_onnx, import_onnx

if TYPE_CHECKING:
    from onnx import ModelProto

# The operators of a backbone. What comes after its last convolution or product, such as the length of a vector, stays in
# float32.
_PRODUCTS = ("Conv", "Gemm", "MatMul")
_QUANTIZED = [*_PRODUCTS, "Add", "Clip", "Relu"]


def quantized_contents(contents: bytes, pixels: np.ndarray) -> bytes:
    """Return an exported float32 model with weights and activations of 8 bits.

    Each activation gets the range that it has on the given photos. The result has a fingerprint of its own.

    Args:
        contents: the float32 file.
        pixels: photos to calibrate on, uint8 (photo, image_size, image_size, 3); training photos, not those of a test.

    Raises:
        ValueError: if there is no photo, a package is missing, or the model cannot be quantised.
    """
    if not len(pixels):
        raise ValueError("int8 needs photos to calibrate on; give at least one")
    onnx = import_onnx()
    described = check_onnx(contents, "the model").description
    try:
        with TemporaryDirectory() as folder, _quiet():
            quantized = onnx.load_model_from_string(_quantize(contents, pixels, Path(folder)))
    # onnxruntime raises errors of many types.
    except Exception as error:
        raise ValueError(f"the model cannot be quantised ({str(error).splitlines()[0][:200]})") from error
    _drop_foreign_domains(quantized)
    del quantized.metadata_props[:]
    original = {entry.key: entry.value for entry in onnx.load_model_from_string(contents).metadata_props}
    check = zlib.crc32(quantized.SerializeToString(deterministic=True))
    changed = replace(described, precision="int8", fingerprint=f"{described.fingerprint}-int8-{check:08x}")
    for key, value in {**original, METADATA_KEY: json.dumps(to_plain(changed))}.items():
        quantized.metadata_props.add(key=key, value=value)
    return quantized.SerializeToString()


def _quantize(contents: bytes, pixels: np.ndarray, folder: Path) -> bytes:
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Photos(CalibrationDataReader):
        """The photos one by one, as the quantiser asks for them."""

        def __init__(self) -> None:
            self.photos: Iterator[np.ndarray] = iter(pixels)

        def get_next(self) -> dict[str, Any] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
            photo = next(self.photos, None)
            return None if photo is None else {INPUT: photo[None]}

    # Weights that are products of constants, such as those with their BatchNorm, become constants first.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folder / "folded.onnx")
    onnxruntime.InferenceSession(contents, options, providers=["CPUExecutionProvider"])
    names = _nodes_of_head(folder / "folded.onnx")
    quantize_static(
        folder / "folded.onnx",
        folder / "int8.onnx",
        Photos(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=_QUANTIZED,
        nodes_to_exclude=names,
        per_channel=True,
        # Without it, sums of two products overflow 16 bits on processors without VNNI.
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return read_bytes(folder / "int8.onnx", MAX_ONNX_BYTES)


def _nodes_of_head(file: Path) -> list[str]:
    """Return the names of the nodes behind the last convolution of a file, or behind its last product if it has none."""
    nodes = import_onnx().load_model_from_string(read_bytes(file, MAX_ONNX_BYTES)).graph.node
    kinds = [node.op_type for node in nodes]
    ends = [i for i, kind in enumerate(kinds) if kind == "Conv"] or [i for i, k in enumerate(kinds) if k in _PRODUCTS]
    return [node.name for node in nodes[ends[-1] + 1 :]] if ends else []


def _drop_foreign_domains(model: "ModelProto") -> None:
    """Remove the operator sets that onnxruntime lists in every file it writes, and of which no node makes use."""
    used = {node.domain for node in model.graph.node}
    kept = [entry for entry in model.opset_import if entry.domain in ("", *used)]
    del model.opset_import[:]
    model.opset_import.extend(kept)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the advice of the quantiser to optimise the model first, which is done, and deprecations inside it."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
