"""An exported model that embeds photos with onnxruntime, in a process without PyTorch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from pairlens.core.threads import map_in_order
from pairlens.core.whole_number import as_whole_number
from pairlens.model.onnx_file import OnnxDescription, OnnxFile, check_onnx, read_onnx
from pairlens.model.photo_input import OnePhoto, PhotoInput, single_photos

# The runtime raises its errors; on the terminal they would be further lines beside the one sentence.
_NOTHING_BUT_FATAL = 4
# The activations of two photos stay in the cache of a core; with 16 at a time a small network takes a quarter longer.
_PHOTOS_PER_THREAD = 2
# Vectors of float16 weights are scaled to length 1 in float32, so no precision is far from it.
_LENGTH_TOLERANCE = 1e-3


class OnnxEmbedder:
    """A model that `pairlens export` wrote; it embeds photos as `Embedder` does, and PyTorch is not imported.

    The fingerprint is what the file says of itself: it tells models apart by accident, not by intent.

    Attributes:
        description: what the metadata of the file says.
        dim: dimension of the embedding.
        image_size: height and width of the photos that the network sees.
        view: how a photo becomes the pixels that the network sees.
    """

    def __init__(self, checked: OnnxFile, threads: int = 1) -> None:
        """Open a checked file; `load` reads one.

        Args:
            checked: the file.
            threads: number of threads of one forward pass.

        Raises:
            ValueError: if onnxruntime is not installed, refuses the model, or the model does not have the inputs and
                outputs that its description promises.
        """
        self.description: OnnxDescription = checked.description
        self.dim = self.description.dim
        self.image_size = self.description.image_size
        told = self.description
        self.view = PhotoInput(told.image_size, told.stored_size, told.stored_quality, told.stored_reading)
        count = as_whole_number(threads, "threads", least=1)
        self._together = _PHOTOS_PER_THREAD * count
        self._session = _open_session(checked.contents, count)
        self._check_shapes()

    @classmethod
    def load(cls, file: str | Path, *, threads: int = 1) -> Self:
        """Open an ONNX file. Nothing in it can run code or name another file.

        Raises:
            FileNotFoundError: if it does not exist.
            ValueError: if it is damaged, too large, or not a model of Pairlens; as `OnnxEmbedder`.
        """
        return cls(read_onnx(Path(file)), threads)

    @classmethod
    def from_bytes(cls, contents: bytes, name: str = "the model", *, threads: int = 1) -> Self:
        """Open the contents of an ONNX file; raises ValueError as `load`."""
        return cls(check_onnx(contents, name), threads)

    def fingerprint(self) -> str:
        """Return the fingerprint by which stored embeddings name their model, as the file states it."""
        return self.description.fingerprint

    def embed(
        self, photos: OnePhoto | Sequence[OnePhoto], *, batch_size: int = 64, workers: int = 2
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the unit embeddings of photos; everything that `Embedder.embed` takes has the same embedding here.

        Args:
            photos: a photo, a list, a generator or a batch of photos.
            batch_size: number of photos that go through the model at a time.
            workers: number of threads that read photos.

        Shapes:
            result: float32 (dim,) for one photo, (photo, dim) for a list or a batch, (0, dim) for an empty list.

        Raises:
            FileNotFoundError: if a file does not exist.
            ValueError: if a photo is damaged, or is no photo.
        """
        batch_size = as_whole_number(batch_size, "batch_size", least=1)
        workers = as_whole_number(workers, "workers", least=0)
        single, alone = single_photos(photos)
        chunks = [single[start : start + batch_size] for start in range(0, len(single), batch_size)]
        # Threads pay off only where the model computes one batch while they read the next.
        batches = map_in_order(self.view.read_pixels, chunks, workers if len(chunks) > 1 else 0)
        # The empty array gives an empty list a result of the right width.
        vectors = np.concatenate([np.empty((0, self.dim), np.float32), *map(self.embed_pixels, batches)])
        return vectors[0] if alone else vectors

    def embed_pixels(self, pixels: np.ndarray) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the unit embeddings of a batch of pixels; another size than `image_size` is resized in the graph.

        Shapes:
            pixels: uint8 (photo, height, width, 3); result: float32 (photo, dim).

        Raises:
            ValueError: if the pixels have another type or shape, or the model returns something else than unit vectors.
        """
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
            raise ValueError(
                f"a model takes uint8 pixels (photo, height, width, 3), not {pixels.dtype} of shape {pixels.shape}"
            )
        starts = range(0, len(pixels), self._together)
        parts = [self._run(pixels[start : start + self._together]) for start in starts]
        return np.concatenate([np.empty((0, self.dim), np.float32), *parts])

    def _run(self, pixels: np.ndarray) -> np.ndarray:
        try:
            (vectors,) = self._session.run(None, {self._input: np.ascontiguousarray(pixels)})
        # onnxruntime raises errors of its own types.
        except Exception as error:
            raise ValueError(f"the ONNX model cannot be run ({_first_line(error)}); export it again") from error
        return self._checked(vectors, len(pixels))

    def _checked(self, vectors: np.ndarray, photos: int) -> np.ndarray:
        if vectors.shape != (photos, self.dim) or vectors.dtype != np.float32:
            raise ValueError(
                f"the ONNX model returned {vectors.dtype} of shape {vectors.shape} and not {photos} vectors of "
                f"{self.dim} numbers; export it again"
            )
        lengths = np.linalg.norm(vectors, axis=1)
        # A vector of zeros has no direction, in PyTorch as here. NaN is close to nothing.
        if not np.all((lengths == 0) | (np.abs(lengths - 1) < _LENGTH_TOLERANCE)):
            raise ValueError("the ONNX model returned vectors that are not of length 1; export it again")
        return vectors

    def _check_shapes(self) -> None:
        """Raise ValueError unless the model takes uint8 photos (photo, height, width, 3) and returns (photo, dim)."""
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        fits = (
            [one.type for one in inputs] == ["tensor(uint8)"]
            and [one.type for one in outputs] == ["tensor(float)"]
            and len(inputs[0].shape) == 4
            and inputs[0].shape[3] == 3
            and len(outputs[0].shape) == 2
            and outputs[0].shape[1] == self.dim
        )
        if not fits:
            raise ValueError(
                "the ONNX model does not take uint8 photos (photo, height, width, 3) and return one vector of "
                f"{self.dim} numbers for each; export it again"
            )
        self._input = inputs[0].name


def _open_session(contents: bytes, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError("ONNX models need the packages of an extra: pip install 'pairlens[onnx]'") from error
    options = onnxruntime.SessionOptions()
    # More threads than cores are given would compete with those that read photos.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that look again and again whether the others are done take the cores from them beside other programs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _NOTHING_BUT_FATAL
    # Its allocator writes to the logger of the process.
    onnxruntime.set_default_logger_severity(_NOTHING_BUT_FATAL)
    try:
        # It would print each failure, and try once more with the same provider.
        return onnxruntime.InferenceSession(contents, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    # onnxruntime raises errors of its own types.
    except Exception as error:
        raise ValueError(f"onnxruntime refuses the model ({_first_line(error)}); export it again") from error


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0][:200] or type(error).__name__
