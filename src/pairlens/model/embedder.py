"""CGD: several global descriptors of one backbone, joined into one embedding."""

import json
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self, TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pairlens.core.files import write_tensors, write_text
from pairlens.core.records import Plain, from_plain, to_plain
from pairlens.core.similarity import unit
from pairlens.core.untrusted import first_mismatch, read_json, read_shapes
from pairlens.model.backbone import Backbone, Stride
from pairlens.model.descriptors import descriptor, letters
from pairlens.model.micro_batch import run_in_micro_batches

FreezeBN: TypeAlias = Literal["statistics", "all", "none"]

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "model.json"
MOST_OUTPUTS, MOST_SIDE = 1 << 24, 4096


@dataclass(frozen=True)
class Architecture:
    """Everything that defines the shape of an `Embedder`; it is saved beside the weights.

    Attributes:
        backbone: resnet50, resnext50, efficientnet_lite0 or any timm model name.
        descriptors: one to three letters of S, M, G; the first feeds the auxiliary head.
        dim: dimension of the embedding, divisible by the number of letters.
        classes: outputs of the auxiliary head; 0 for no head.
        stride: which down-sampling is taken out, see `Backbone`.
        image_size: height and width of the photos.
        learn_power: whether the p of G is learned or fixed at 3.
    """

    backbone: str = "resnet50"
    descriptors: str = "SG"
    dim: int = 1536
    classes: int = 0
    stride: Stride = "port"
    image_size: int = 224
    learn_power: bool = False

    def __post_init__(self) -> None:
        count = len(letters(self.descriptors))
        if self.dim < 1 or self.dim % count:
            raise ValueError(
                f"feature_dim {self.dim} must be divisible by the {count} descriptors of gd_config {self.descriptors}; "
                f"use {max(count, self.dim // count * count)} or {(self.dim // count + 1) * count}"
            )
        if self.classes < 0 or self.image_size < 1:
            raise ValueError(f"classes {self.classes} and image_size {self.image_size} must not be negative or zero")
        if max(self.classes, self.dim) > MOST_OUTPUTS or self.image_size > MOST_SIDE:
            raise ValueError(
                f"{self.classes} classes, {self.dim} dimensions or {self.image_size} pixels are too many; at most "
                f"{MOST_OUTPUTS:,} and {MOST_SIDE:,} pixels can be"
            )


class Embedder(nn.Module):
    """Combination of multiple global descriptors (CGD).

    Each descriptor pools the backbone's last map, is projected to dim / n by a linear layer without bias and scaled to
    unit length; the n parts are concatenated and scaled again. The auxiliary head is BatchNorm and a linear layer on the
    raw first descriptor. Photos are uint8 (normalised here, on the device) or float already normalised.

    Source: Jun, Ko, Kim, Kim, Kim, "Combination of Multiple Global Descriptors for Image Retrieval", 2019, arXiv
    1903.10663, section 3. `stride="port"` deviates from it as leftthomas/CGD does, whose published costs it reproduces.

    Raises:
        ValueError: for a dimension that does not divide, unknown letters, an unknown backbone or weights.

    >>> model = Embedder(backbone="resnet10t", descriptors="SM", dim=8, classes=3, weights="none", image_size=64).eval()
    >>> embeddings, logits = model(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    >>> embeddings.shape, logits.shape
    (torch.Size([2, 8]), torch.Size([2, 3]))
    """

    def __init__(
        self,
        *,
        backbone: str = "resnet50",
        descriptors: str = "SG",
        dim: int = 1536,
        classes: int = 0,
        weights: str = "imagenet",
        stride: Stride = "port",
        image_size: int = 224,
        learn_power: bool = False,
    ) -> None:
        super().__init__()
        self.architecture = Architecture(backbone, descriptors, dim, classes, stride, image_size, learn_power)
        self.backbone = Backbone(backbone, weights, stride, image_size)
        self.micro_batch = 0
        parts = letters(descriptors)
        channels = self.backbone.channels
        self.descriptors = nn.ModuleList([descriptor(letter, learn_power) for letter in parts])
        self.projections = nn.ModuleList([nn.Linear(channels, dim // len(parts), bias=False) for _ in parts])
        self.head = nn.Sequential(nn.BatchNorm1d(channels), nn.Linear(channels, classes)) if classes else None
        self.register_buffer("mean", torch.tensor(self.backbone.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.backbone.std).view(3, 1, 1), persistent=False)

    @classmethod
    def from_architecture(cls, architecture: Architecture, weights: str = "none") -> Self:
        """Build the model that a record describes, with these backbone weights."""
        a = architecture
        return cls(
            backbone=a.backbone,
            descriptors=a.descriptors,
            dim=a.dim,
            classes=a.classes,
            weights=weights,
            stride=a.stride,
            image_size=a.image_size,
            learn_power=a.learn_power,
        )

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return (photo, dim) unit embeddings and (photo, class) logits, None without a head."""
        embeddings, first = self.describe(photos)
        return embeddings, self.head(first) if self.head is not None else None

    def describe(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Return (photo, dim) unit embeddings and the (photo, channel) raw first descriptor, which feeds the head."""
        if self.training and torch.is_grad_enabled() and 0 < self.micro_batch < len(photos):
            # Not the head: its BatchNorm looks at the whole batch.
            embeddings, first = run_in_micro_batches(self._describe, photos, self.micro_batch)
            return embeddings, first
        return self._describe(photos)

    def _describe(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        # On CPU and GPU alike convolutions are faster with the channels last in memory.
        features = self.backbone(self.normalize(photos).contiguous(memory_format=torch.channels_last))
        pooled = [pool(features) for pool in self.descriptors]
        parts = [unit(project(p)) for project, p in zip(self.projections, pooled, strict=True)]
        return unit(torch.cat(parts, dim=1)), pooled[0]

    def embed(self, photos: Tensor) -> Tensor:
        """Return (photo, dim) unit embeddings as used for retrieval: no graph, evaluation mode, no head."""
        was_training = self.training
        self.eval()
        with torch.inference_mode():
            embeddings, _ = self(photos)
        self.train(was_training)
        return embeddings.clone()

    def normalize(self, photos: Tensor) -> Tensor:
        """Scale uint8 photos to the backbone's mean and deviation; float photos pass as they are."""
        if photos.dtype != torch.uint8:
            return photos
        return (photos.float() / 255 - self.mean) / self.std  # pyright: ignore[reportOperatorIssue]

    def set_micro_batch(self, micro_batch: int, freeze_bn: FreezeBN) -> None:
        """Take so many photos at a time through the backbone while training, 0 for all; what is learned is the same.

        Raises:
            ValueError: if a layer would take statistics of each chunk, so that it would not be the same.
        """
        statistics = [name for name, module in self.backbone.network.named_modules() if _takes_statistics(module)]
        if micro_batch and statistics and freeze_bn == "none":
            raise ValueError(
                f"--micro_batch {micro_batch} would give each chunk statistics of its own in {statistics[0]} and other "
                "BatchNorm of the backbone; use --freeze_bn statistics or all, or --micro_batch 0"
            )
        self.micro_batch = micro_batch

    def freeze_batchnorm(self, mode: FreezeBN) -> None:
        """Put the backbone's BatchNorm into evaluation mode ("statistics"), also stop its scale and shift ("all").

        To be called after each `train()`, which would start the statistics again.
        """
        for module in self.backbone.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and mode != "none":
                module.eval()
                for parameter in module.parameters(recurse=False):
                    parameter.requires_grad_(mode != "all")

    def save(self, folder: Path) -> None:
        """Write model.safetensors and model.json into a folder."""
        tensors = {name: t.contiguous() for name, t in self.state_dict().items()}
        write_text(folder / CONFIG_FILE, json.dumps(to_plain(self.architecture), indent=2) + "\n")
        write_tensors(folder / WEIGHTS_FILE, tensors)

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> Self:
        """Open the model that `save` wrote; opening runs no code of the file's author.

        Raises:
            ValueError: if a file is missing, damaged or does not fit the other.
        """
        weights, config = Path(folder) / WEIGHTS_FILE, Path(folder) / CONFIG_FILE
        for file in (weights, config):
            if not file.is_file():
                raise ValueError(f"{file} does not exist; give the folder of a finished run")
        try:
            architecture = from_plain(Architecture, _plain(config), str(config))
            # A new model draws its first weights, which would move the random numbers of a run that goes on.
            with torch.random.fork_rng(devices=[]):
                _refuse_misfit(cls, architecture, read_shapes(weights))
                model = cls.from_architecture(architecture)
            model.load_state_dict(load_file(weights))
        except (SafetensorError, OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"the model in {folder} is damaged or of another shape ({reason}); pairlens train --resume writes that of "
                "the last epoch again, any other train anew"
            ) from error
        return model.to(device).eval()

    def fingerprint(self) -> str:
        """Return a check sum of the weights, by which embeddings know the model that made them."""
        found = 0
        for tensor in self.state_dict().values():
            found = zlib.crc32(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy(), found)  # pyright: ignore[reportArgumentType]
        return f"{found:08x}"

    def without_head(self) -> Architecture:
        """Return the architecture that retrieval needs: the same without the auxiliary head."""
        return replace(self.architecture, classes=0)


def _takes_statistics(module: nn.Module) -> bool:
    return any(name.startswith("running_") for name, _ in module.named_buffers(recurse=False))


def _plain(config: Path) -> Plain:
    try:
        return read_json(config)
    except ValueError as error:
        raise ValueError(f"{config} is damaged ({error}); restore it or train anew") from error


def _refuse_misfit(kind: type[Embedder], architecture: Architecture, found: dict[str, tuple[int, ...]]) -> None:
    """Raise ValueError, before anything is allocated, if tensors of these shapes are not of this architecture."""
    with torch.device("meta"):
        wanted = {
            name: tuple(tensor.shape) for name, tensor in kind.from_architecture(architecture).state_dict().items()
        }
    misfit = first_mismatch(wanted, found)
    if misfit is not None:
        raise RuntimeError(f"{misfit} in {WEIGHTS_FILE}")
