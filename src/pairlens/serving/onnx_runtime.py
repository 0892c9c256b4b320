"""The model of a collection as an ONNX graph in memory, which a CPU computes several times as fast as PyTorch."""

import logging
from dataclasses import replace
from threading import Lock

import numpy as np

from pairlens.collection.collection_model import CollectionModel
from pairlens.model.onnx_embedder import OnnxEmbedder

# Pictures of noise on which both forms of a model are compared.
_COMPARED = 4


class OnnxRuntime:
    """Models that compute with onnxruntime; their vectors are those of PyTorch up to rounding.

    Explanations need the model in PyTorch, which stays beside its other form.
    """

    def __init__(self) -> None:
        """Begin without a model."""
        self._lock = Lock()
        self._converted: dict[str, CollectionModel] = {}

    def of(self, model: CollectionModel) -> CollectionModel:
        """Return a model in the form that is to embed; the first call for a model takes some seconds.

        A model that ONNX cannot express is returned as it is, and a warning says why.
        """
        if model.kind == "onnx":
            return model
        with self._lock:
            if model.fingerprint not in self._converted:
                # Only one is kept: a collection that has changed its model does not go back.
                self._converted = {model.fingerprint: _converted_or_not(model)}
            return self._converted[model.fingerprint]


def _converted_or_not(model: CollectionModel) -> CollectionModel:
    try:
        return as_onnx(model)
    except ValueError as error:
        logging.getLogger("pairlens").warning("%s is served with PyTorch: %s", model.name, error)
        return model


def as_onnx(model: CollectionModel) -> CollectionModel:
    """Return a model of PyTorch that computes the same vectors with onnxruntime.

    Raises:
        ValueError: if ONNX cannot express it, a package is missing, or its vectors differ by more than rounding.
    """
    # Imported here, because a collection whose model is an ONNX file is served without PyTorch.
    from pairlens.export.onnx_model import onnx_contents
    from pairlens.export.parity import LEAST_COSINES

    network = OnnxEmbedder.from_bytes(onnx_contents(model.network), model.name)
    converted = replace(model, kind="onnx", network=network)
    side = model.view.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (_COMPARED, side, side, 3), dtype=np.uint8)
    least = (model.embed(pixels) * converted.embed(pixels)).sum(axis=1).min()
    if not least >= LEAST_COSINES["float32"]:
        raise ValueError(f"onnxruntime computes other vectors (cosine {least:.6f})")
    return converted
