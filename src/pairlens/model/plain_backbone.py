"""The backbone as it comes: its own strides and its own pooling, without projections. It is the baseline of a training."""

import json
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pairlens.core.files import write_tensors, write_text
from pairlens.core.records import from_plain, to_plain
from pairlens.core.similarity import unit
from pairlens.core.untrusted import first_mismatch, form_of, read_forms, read_json, regular_file
from pairlens.model.architecture import Architecture
from pairlens.model.backbone import TIMM_NAMES, Backbone
from pairlens.model.batchnorm import fuse_batchnorm
from pairlens.model.embedder import WEIGHTS_FILE
from pairlens.model.passes import passes_of
from pairlens.model.photo_input import check_batch

PLAIN_FILE = "backbone.json"


class PlainBackbone(nn.Module):
    """A timm model as its authors pool it, scaled to unit length; nothing is trained and no stride is removed.

    Most networks average their last feature map; a vision transformer may take its class token. If the pooling has weights
    of its own, which a `Backbone` does not hold, the last feature map is averaged instead.

    Shapes:
        photos (photo, 3, height, width), uint8, or float and normalised already, to unit vectors (photo, dim).

    Args:
        backbone: the backbone whose weights are copied; its stride may have been changed, which changes no weight.
        name: its name: resnet50, resnext50, efficientnet_lite0 to lite2 or any timm model name.
        image_size: height and width of the photos.

    >>> backbone = Backbone("resnet10t", weights="none", stride="port", image_size=64)
    >>> PlainBackbone(backbone, "resnet10t", image_size=64)(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).shape
    torch.Size([1, 512])
    """

    def __init__(self, backbone: Backbone, name: str, image_size: int) -> None:
        super().__init__()
        weights = backbone.network.state_dict()
        network = _pooled_network(name, image_size)
        if not set(network.state_dict()) <= set(weights):
            network = Backbone(name, "none", "none", image_size)
            weights = {f"network.{key}": tensor for key, tensor in weights.items()}
        else:
            # A `Backbone` has done so itself. Only the rounding changes, by a millionth of a cosine.
            fuse_batchnorm(network, image_size)
        # By name, because the order of the tensors may differ.
        network.load_state_dict({key: weights[key] for key in network.state_dict()})
        self.network = network.eval()
        # (channel, 1, 1) broadcasts over (photo, channel, height, width).
        self.register_buffer("mean", torch.tensor(backbone.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(3, 1, 1), persistent=False)
        with torch.inference_mode():
            # The number of features after the pooling differs from that of the map in some networks (MobileNetV3).
            dim = self(torch.zeros(1, 3, image_size, image_size)).shape[1]
        self.architecture = Architecture(name, "S", dim, 0, "none", image_size)

    def forward(self, photos: Tensor) -> Tensor:
        """Return (photo, dim) unit vectors."""
        check_batch(photos)
        if photos.dtype == torch.uint8:
            photos = (photos.float() / 255 - self.mean) / self.std  # pyright: ignore[reportOperatorIssue]
        features = self.network(photos.contiguous(memory_format=torch.channels_last))
        # A map (photo, channel, height, width) is averaged over its places.
        return unit(features.mean(dim=(2, 3)) if features.ndim == 4 else features)

    def embed_batch(self, photos: Tensor) -> Tensor:
        """Return (photo, dim) unit vectors, computed without gradients."""
        with torch.inference_mode():
            parts = [self(part) for part in passes_of(photos)]
        # A tensor of inference mode cannot take part in autograd later; what is made of it here can.
        return torch.cat(parts)

    def save(self, folder: Path) -> None:
        """Write model.safetensors and backbone.json into a folder."""
        tensors = {name: t.contiguous() for name, t in self.state_dict().items()}
        write_text(folder / PLAIN_FILE, json.dumps(to_plain(self.architecture), indent=2) + "\n")
        write_tensors(folder / WEIGHTS_FILE, tensors)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Open a backbone that `save` wrote; neither file can run code.

        Raises:
            ValueError: if a file is missing or damaged, or the two files do not fit each other.
        """
        try:
            shape = from_plain(Architecture, read_json(folder / PLAIN_FILE), PLAIN_FILE)
            stored = read_forms(folder / WEIGHTS_FILE)
            # Building a network draws random numbers, which would change those of a training run.
            with torch.random.fork_rng(devices=[]):
                plain = cls(
                    Backbone(shape.backbone, "none", "none", shape.image_size), shape.backbone, shape.image_size
                )
            expected = {name: form_of(tensor) for name, tensor in plain.state_dict().items()}
            mismatch = first_mismatch(expected, stored)
            if mismatch is not None:
                raise ValueError(f"{mismatch} in {WEIGHTS_FILE}")
            plain.load_state_dict(load_file(regular_file(folder / WEIGHTS_FILE)))
        except (SafetensorError, OSError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"the backbone in {folder} is damaged or of another shape ({reason}); restore it"
            ) from error
        plain.architecture = shape
        return plain.eval()


def _pooled_network(name: str, image_size: int) -> Any:
    import timm

    network: Any = timm.create_model(TIMM_NAMES.get(name, name), pretrained=False, num_classes=0)
    # A transformer is built for one size of photos, which determines the shape of its position embedding.
    if hasattr(network, "set_input_size"):
        network.set_input_size(img_size=(image_size, image_size))
    return network
