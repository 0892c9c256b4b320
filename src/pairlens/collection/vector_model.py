"""What turns photos into vectors, as the parts of a collection see it."""

from typing import Any, Protocol

import numpy as np

from pairlens.collection.photo_view import PhotoView
from pairlens.core.boxes import Box, ShareBox


class VectorModel(Protocol):
    """What turns photos into vectors: a `CollectionModel`, or what stands before one."""

    @property
    def fingerprint(self) -> str:
        """The name of the vectors."""
        ...

    def read(self, photo: Any, box: Box | ShareBox | None = None) -> PhotoView:
        """Return a photo, or the part of it in a box, as the model sees it; raises as `view_photo`."""
        ...

    def embed(self, seen: np.ndarray) -> np.ndarray:
        """Return float32 (photo, dim) unit vectors of uint8 (photo, image_size, image_size, 3) pixels."""
        ...
