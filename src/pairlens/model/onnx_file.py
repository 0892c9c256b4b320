"""A model as one ONNX file: what its metadata says, and the checks before an untrusted file is run."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pairlens.core.photo_reading import PhotoReading
from pairlens.core.records import from_plain
from pairlens.core.untrusted import parse_json, read_bytes

# The package onnx is needed only where a file is written or opened.
if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

Precision = Literal["float32", "float16", "int8"]

METADATA_KEY = "pairlens"
# No ONNX file with its weights inside can be larger, because Protocol Buffers count its bytes in 31 bits.
MAX_ONNX_BYTES = (1 << 31) - 1
MAX_METADATA_CHARACTERS = 1 << 20
MAX_SIDE = 4096
MAX_DIM = 1 << 24
# A constant of more values is no weight, but an attempt to exhaust the memory.
MAX_FILLED = 1 << 28
# ONNX's own operators; what is outside is the code of one runtime or of a library that it would load.
_OWN_DOMAINS = ("", "ai.onnx")
_FINGERPRINT = re.compile(r"[0-9a-f]{8}(-float16|-int8-[0-9a-f]{8})?")


@dataclass(frozen=True)
class OnnxDescription:
    """What the metadata of an exported model says: how photos become its pixels, which model it is, and under which terms.

    Attributes:
        fingerprint: that of the model in PyTorch for float32, whose vectors are the same up to rounding; with `-float16`, or
            `-int8-` and a check sum of its weights, for another precision, whose vectors are those of another model.
        precision: the numbers that its backbone computes with.
        dim: dimension of the embedding.
        image_size: height and width of the photos that the network sees.
        stored_size: side of the JPEG to which a photo is reduced first.
        stored_quality: quality of that JPEG.
        stored_reading: how the files of photos become pixels, if not as usual.
        backbone: name of the backbone.
        descriptors: its global descriptors, as letters; empty for a backbone as it comes.
        mean: mean of each colour, for values from 0 to 1; the normalisation is part of the graph.
        std: standard deviation of each colour.
        version: version of Pairlens that wrote the file.
        weights_licence: licence of the weights that training started from.
        data_licence: licence of the training photos.

    Raises:
        ValueError: if a number is out of range, or the fingerprint is none.
    """

    fingerprint: str
    precision: Precision
    dim: int
    image_size: int
    stored_size: int
    stored_quality: int
    stored_reading: PhotoReading | None
    backbone: str
    descriptors: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    version: str
    weights_licence: str = "unknown"
    data_licence: str = "unknown"

    def __post_init__(self) -> None:
        limits = {"dim": MAX_DIM, "image_size": MAX_SIDE, "stored_size": MAX_SIDE, "stored_quality": 100}
        for name, limit in limits.items():
            value = getattr(self, name)
            if not 1 <= value <= limit:
                raise ValueError(f"{name} {value} is not from 1 to {limit}")
        if not _FINGERPRINT.fullmatch(self.fingerprint):
            raise ValueError(f"the fingerprint {self.fingerprint[:40]!r} is none")
        if len(self.mean) != 3 or len(self.std) != 3:
            raise ValueError("mean and std are not one number per colour")


@dataclass(frozen=True)
class OnnxFile:
    """A checked ONNX file: its bytes, and its description."""

    contents: bytes
    description: OnnxDescription


def read_onnx(file: Path) -> OnnxFile:
    """Read and check an ONNX file that `pairlens export` wrote.

    Raises:
        FileNotFoundError: if it does not exist.
        ValueError: if it is too large, damaged, not one of Pairlens, or asks for what no exported model needs.
    """
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist; check the path")
    return check_onnx(read_bytes(file, MAX_ONNX_BYTES), str(file))


def check_onnx(contents: bytes, name: str) -> OnnxFile:
    """Check the contents of an ONNX file before a runtime sees them; raises ValueError that names the file.

    What could reach outside is refused: weights in other files, operators that are not ONNX's own, and functions. So are
    loops and branches, which no exported model has and which may run without end.
    """
    onnx = import_onnx()
    try:
        model = onnx.load_model_from_string(contents)
        _check_graph(model)
        description = _read_description(model)
    # The decoder raises errors of its own type, which differs between versions of the library.
    except Exception as error:
        reason = str(error).split("\n")[0][:200] or type(error).__name__
        raise ValueError(f"{name} is not a usable ONNX model of Pairlens ({reason}); export it again") from error
    return OnnxFile(contents, description)


def import_onnx() -> Any:
    """Return the package onnx; raises ValueError that says how to install it."""
    try:
        import onnx
    except ImportError as error:
        raise ValueError("ONNX models need the packages of an extra: pip install 'pairlens[onnx]'") from error
    return onnx


def _read_description(model: "ModelProto") -> OnnxDescription:
    stored = {entry.key: entry.value for entry in model.metadata_props}
    text = stored.get(METADATA_KEY)
    if text is None:
        raise ValueError("it has no description of Pairlens in its metadata")
    if len(text) > MAX_METADATA_CHARACTERS:
        raise ValueError(f"its metadata has {len(text):,} characters")
    return from_plain(OnnxDescription, parse_json(text), "its metadata")


def _check_graph(model: "ModelProto") -> None:
    if model.functions or model.training_info:
        raise ValueError("it defines functions or training steps")
    foreign = {entry.domain for entry in model.opset_import} - set(_OWN_DOMAINS)
    foreign |= {node.domain for node in model.graph.node} - set(_OWN_DOMAINS)
    if foreign:
        raise ValueError(f"it has operators that are not ONNX's own: {', '.join(sorted(foreign))[:80]}")
    for node in model.graph.node:
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise ValueError(f"it has a loop or a branch ({node.op_type[:40]})")
    if model.graph.sparse_initializer:
        raise ValueError("it has sparse weights")
    for tensor in _tensors(model.graph):
        # 1 is TensorProto.EXTERNAL.
        if tensor.data_location == 1 or tensor.external_data:
            raise ValueError("its weights lie in another file; export it as one file")
    _check_fillings(model.graph)


def _tensors(graph: "GraphProto") -> Iterator["TensorProto"]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                raise ValueError("it has sparse weights")
            yield from attribute.tensors


def _check_fillings(graph: "GraphProto") -> None:
    """Raise ValueError if a constant of a few bytes asks for a tensor of any size, which is made when a model is loaded."""
    shapes = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for tensor in _constant(node):
            shapes[node.output[0]] = tensor
    for node in graph.node:
        if node.op_type in ("ConstantOfShape", "Expand", "Tile", "Range", "Resize", "OneHot", "Pad", "Upsample"):
            for name in node.input:
                if name in shapes and _product(shapes[name]) > MAX_FILLED:
                    raise ValueError(f"its operator {node.op_type} makes more than {MAX_FILLED:,} values")


def _constant(node: "NodeProto") -> Iterator["TensorProto"]:
    if node.op_type == "Constant" and node.output:
        yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def _product(tensor: "TensorProto") -> float:
    """Return the product of the whole numbers of a short constant, which may be a shape; 0 for any other tensor."""
    from onnx import numpy_helper

    # 7 is TensorProto.INT64, the type of every shape.
    if tensor.data_type != 7 or len(tensor.dims) > 1 or (tensor.dims and tensor.dims[0] > 8):
        return 0
    product = 1.0
    for value in numpy_helper.to_array(tensor).reshape(-1).tolist():
        product *= max(1, abs(value))
    return product
