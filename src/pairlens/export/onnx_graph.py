"""A model as an ONNX graph: uint8 photos of any size in, unit vectors out."""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn

from pairlens.model.embedder import Embedder
from pairlens.model.onnx_file import Precision, import_onnx
from pairlens.model.plain_backbone import PlainBackbone

if TYPE_CHECKING:
    from onnx import ModelProto

ExportableModel: TypeAlias = Embedder | PlainBackbone

# The first version of ONNX's operators whose Resize has antialiasing.
OPSET = 18
INPUT, OUTPUT = "photos", "vectors"
# What the network's own input is called inside, after the resizing.
_PIXELS = "pixels"


def onnx_graph(model: ExportableModel, precision: Precision = "float32") -> "ModelProto":
    """Return a model as an ONNX graph without metadata.

    The graph resizes photos of any height and width to the size of the network (bilinear with antialiasing), normalises them
    and scales the vectors to length 1. Photos of the right size pass the resizing unchanged. With "float16" the backbone
    computes in half precision, its pooling and projections in single precision.

    Shapes:
        photos uint8 (photo, height, width, 3) to vectors float32 (photo, dim).

    Raises:
        ValueError: if a package is missing, or the model contains what ONNX cannot express.
    """
    import_onnx()
    network = _Vectors(_halved(model) if precision == "float16" else model).eval()
    size = model.architecture.image_size
    device = next(model.parameters()).device
    # Two photos, because the exporter takes a size of 1 for a constant.
    example = torch.zeros(2, 3, size, size, dtype=torch.uint8, device=device)
    try:
        with _quiet_exporter(), torch.no_grad():
            program: Any = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[_PIXELS],
                output_names=[OUTPUT],
                dynamic_shapes={"photos": {0: torch.export.Dim("photo", min=1)}},
                verbose=False,
            )
    except ImportError as error:
        raise ValueError("exporting needs the packages of an extra: pip install 'pairlens[onnx]'") from error
    # The exporter raises errors of many types, as does the code of a network that it traces.
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise ValueError(f"{model.architecture.backbone} cannot be expressed in ONNX ({reason})") from error
    return _with_resizing(_without_traces(program.model_proto), size, model.architecture.dim)


class _Vectors(nn.Module):
    """The unit vectors of a model alone, without the logits of its head."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, photos: Tensor) -> Tensor:
        result = self.model(photos)
        return result[0] if isinstance(result, tuple) else result


class _HalfPrecision(nn.Module):
    """A module that computes in float16, between float32 inputs and outputs."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner.half()

    def forward(self, photos: Tensor) -> Tensor:
        return self.inner(photos.half()).float()


def _halved(model: ExportableModel) -> ExportableModel:
    """Return a copy of a model whose backbone computes in float16.

    The rest stays in float32: the normalisation of pixels, the p-th power of GeM and the length of a vector leave the range
    of float16.
    """
    halved = copy.deepcopy(model)
    if isinstance(halved, PlainBackbone):
        halved.network = _HalfPrecision(halved.network)
    else:
        halved.backbone = _HalfPrecision(halved.backbone)  # pyright: ignore[reportAttributeAccessIssue]
    return halved


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Suppress what the exporter says about itself while it runs.

    torch, onnxscript and onnx warn that parts of each other are deprecated, which no user can change, and the exporter logs
    that the number of photos is dynamic. What it cannot export is an error and not a warning.
    """
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for category in (DeprecationWarning, FutureWarning, UserWarning):
                warnings.filterwarnings("ignore", category=category, module=r"(torch|onnx|copyreg|onnxscript)")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _without_traces(model: "ModelProto") -> "ModelProto":
    """Remove what the exporter notes about the source code, such as the paths of files on this machine."""
    graph = model.graph
    noted = (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info)
    for part in noted:
        del part.metadata_props[:]
        part.doc_string = ""
    return model


def _with_resizing(model: "ModelProto", size: int, dim: int) -> "ModelProto":
    """Put the layout and the size of the photos in front of the graph of a network, in place."""
    import numpy as np
    from onnx import TensorProto, checker, helper, numpy_helper

    graph = model.graph
    front = [
        helper.make_node("Transpose", [INPUT], ["planes"], perm=[0, 3, 1, 2]),
        # The sizes are stated for all four axes: onnxruntime 1.32 moves the transposition behind a Resize of two axes and
        # then fails to load the model.
        helper.make_node("Shape", [INPUT], ["number"], start=0, end=1),
        helper.make_node("Concat", ["number", "photo_shape"], ["sizes"], axis=0),
        helper.make_node(
            "Resize",
            ["planes", "", "", "sizes"],
            [_PIXELS],
            mode="linear",
            antialias=1,
            coordinate_transformation_mode="half_pixel",
        ),
    ]
    shape = numpy_helper.from_array(np.array([3, size, size], np.int64), "photo_shape")
    nodes = [*front, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.append(shape)
    del graph.input[:], graph.output[:]
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["photo", "height", "width", 3]))
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["photo", dim]))
    checker.check_model(model)
    return model
