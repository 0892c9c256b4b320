"""Fuzz targets of ONNX files from anybody: damaged bytes, and an exported model whose parts are changed one by one."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
import onnxruntime
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from fuzz.mutate import FALSE_NUMBERS
from fuzz.target import Target, folder, written
from pairlens.model.onnx_embedder import OnnxEmbedder
from pairlens.model.onnx_file import METADATA_KEY

# What `pairlens export` wrote of a model with one convolution, which takes ten seconds.
EXPORTED = Path(__file__).parent / "exported.onnx"
PIXELS = np.full((2, 20, 24, 3), 9, np.uint8)
NUMBERS = (*FALSE_NUMBERS, -1, 2, 3, 4096, 1 << 20, 1 << 27, 1 << 28, 1 << 29)
# The sizes of what these make come from their inputs or attributes; the others reach outside or run other graphs.
OPERATORS = (
    *("ConstantOfShape", "Expand", "Tile", "Range", "Resize", "Upsample", "Pad", "OneHot", "EyeLike", "Constant"),
    *(
        "RandomNormal",
        "RandomUniform",
        "RandomNormalLike",
        "Multinomial",
        "HannWindow",
        "BlackmanWindow",
        "HammingWindow",
    ),
    *("MelWeightMatrix", "DFT", "STFT", "Reshape", "Slice", "Split", "Gather", "GatherND", "ScatterND", "Concat"),
    *("Conv", "ConvTranspose", "MaxPool", "AveragePool", "MaxUnpool", "Col2Im", "GridSample", "DepthToSpace", "LRN"),
    *("MatMul", "Gemm", "Einsum", "Div", "Mod", "Pow", "BitShift", "CumSum", "TopK", "NonZero", "Unique", "Where"),
    *("LSTM", "GRU", "Loop", "If", "Scan", "SequenceMap", "SequenceEmpty", "SplitToSequence", "ImageDecoder"),
    *("StringNormalizer", "TfIdfVectorizer", "StringSplit", "RegexFullMatch", "QuantizeLinear", "Cast", "Identity"),
)
PLACES = ("/etc/passwd", "../../../etc/passwd", "model.onnx", "/dev/zero", "/dev/stdin", "", "a\x00b")
VALUES = (None, True, -1, 0, 1 << 40, 1.5, float("nan"), "", "x" * 5000, "\x1b[31m", "../a", [], [[]], {}, [1] * 5000)


def _opened(data: bytes) -> None:
    """Open a file and embed with it; what the runtime gets to see names no other file."""
    seen = []
    session = onnxruntime.InferenceSession

    def noted(contents: bytes, *arguments: Any, **options: Any) -> Any:
        seen.append(contents)
        return session(contents, *arguments, **options)

    try:
        with mock.patch.object(onnxruntime, "InferenceSession", noted):
            model = OnnxEmbedder.load(written("onnx/model.onnx", data))
        assert model.embed_pixels(PIXELS).shape == (len(PIXELS), model.dim)
    finally:
        # Not in `noted`, because an error of the runtime, whatever it is, becomes one sentence.
        for contents in seen:
            assert not any(map(_is_elsewhere, _messages(onnx.load_model_from_string(contents))))
        assert {file.name for file in (folder(os.getpid()) / "onnx").iterdir()} == {"model.onnx"}


def _messages(message: Any) -> Iterator[Any]:
    """Yield a message of Protocol Buffers with all messages in it, however deep."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else [value]:
                yield from _messages(inner)


def _is_elsewhere(message: Any) -> bool:
    return isinstance(message, TensorProto) and (message.data_location == 1 or bool(message.external_data))


def _edited(data: bytes) -> None:
    """Take four bytes as one change of an exported model, and open what comes out."""
    model = onnx.load_model_from_string(EXPORTED.read_bytes())
    for start in range(0, min(len(data), 64) - 3, 4):
        _edit(model, *data[start : start + 4])
    _opened(model.SerializeToString())


def _edit(model: Any, kind: int, first: int, second: int, third: int) -> None:  # noqa: C901 (a list of changes)
    graph = model.graph
    if not graph.node or not graph.initializer:
        return
    node = graph.node[first % len(graph.node)]
    tensor = graph.initializer[first % len(graph.initializer)]
    number = NUMBERS[third % len(NUMBERS)]
    signed = (number + (1 << 63)) % (1 << 64) - (1 << 63)
    match kind % 13:
        case 0:
            node.op_type = OPERATORS[second % len(OPERATORS)]
        case 1 if node.input:
            names = [*(one.name for one in graph.initializer), *(one.output[0] for one in graph.node), "photos", ""]
            node.input[second % len(node.input)] = names[third % len(names)]
        case 2:
            tensor.CopyFrom(numpy_helper.from_array(np.full(second % 6, signed, np.int64), tensor.name))
        case 3:
            tensor.CopyFrom(numpy_helper.from_array(np.full(second % 6, float(signed), np.float32), tensor.name))
        case 4:
            tensor.dims.append(signed)
        case 5:
            tensor.data_type = second % 30
        case 6:
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=PLACES[second % len(PLACES)])
        case 7:
            name = (
                "shape",
                "size",
                "pads",
                "strides",
                "kernel_shape",
                "dilations",
                "output_shape",
                "axis",
                "value",
                "to",
            )
            node.attribute.append(helper.make_attribute(name[second % len(name)], [signed] if third % 2 else signed))
        case 8:
            _change_metadata(model, second, VALUES[third % len(VALUES)])
        case 9:
            graph.input[0].type.tensor_type.shape.dim[second % 4].dim_value = signed
        case 10:
            model.opset_import[0].version = signed if second % 2 else third % 30
        case 11:
            _insert(graph, first, second, signed)
        # The last kind changes nothing.
        case _:
            pass


def _change_metadata(model: Any, number: int, value: object) -> None:
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            known = json.loads(entry.value)
            names = [*known, "unknown"]
            entry.value = json.dumps({**known, names[number % len(names)]: value})


def _insert(graph: Any, first: int, second: int, value: int) -> None:
    """Add an operator whose inputs are new constants, and use its output."""
    operator, count = OPERATORS[second % len(OPERATORS)], len(graph.initializer)
    kind = np.float32 if first % 2 else np.int64
    added = numpy_helper.from_array(np.full((first // 2) % 5, value).astype(kind), f"added {count}")
    graph.initializer.append(added)
    made = helper.make_node(operator, [added.name] * (1 + first // 16 % 4), [f"made {count}"])
    graph.node.insert(0, made)
    if first % 3 == 0:
        graph.node[-1].input[0] = made.output[0]


ONNX = {
    "onnx": Target(_opened, lambda: [EXPORTED.read_bytes()]),
    # Up to three changes: a model with more of them is hardly ever one that the runtime accepts.
    "onnx_graph": Target(_edited, lambda: [b"\x0c\x00\x00\x00"], st.binary(min_size=4, max_size=12)),
}
