"""The embedding model: CGD, several global descriptors of one backbone concatenated into one embedding."""

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
from pairlens.core.settings import Rules, check_settings, setting
from pairlens.core.similarity import unit
from pairlens.core.untrusted import first_mismatch, read_json, read_shapes
from pairlens.model.backbone import Backbone, Stride
from pairlens.model.descriptors import descriptor, letters
from pairlens.model.micro_batch import run_in_micro_batches

FreezeBN: TypeAlias = Literal["statistics", "all", "none"]

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "model.json"
# Limits on what a model.json may demand: a larger number is an error or an attempt to exhaust the memory.
MAX_OUTPUTS = 1 << 24
MAX_SIDE = 4096


@dataclass(frozen=True)
class Architecture:
    """The settings that determine the tensors of an `Embedder`; saved as model.json beside the weights.

    Attributes:
        backbone: resnet50, resnext50, efficientnet_lite0 or any timm model name.
        descriptors: global descriptors: one to three of S (mean), M (max), G (GeM); the first feeds the classifier.
        dim: dimension of the embedding, divisible by the number of descriptors.
        classes: outputs of the auxiliary classifier; 0 for no classifier. A run takes the number from its data set.
        stride: the down-sampling that is removed: port (layer 3, as leftthomas/CGD), paper (layer 4), none.
        image_size: height and width of the photos that the network sees.
        learn_power: whether the power p of G is learned, or fixed at 3.

    Raises:
        ValueError: if the letters are unknown, or a number is out of range or not divisible.
    """

    backbone: str = setting("resnet50", Rules(aliases=("backbone_type",)))
    descriptors: str = setting("SG", Rules(aliases=("gd_config",)))
    dim: int = setting(1536, Rules(low=1, high=MAX_OUTPUTS, aliases=("feature_dim",)))
    classes: int = setting(0, Rules(low=0, high=MAX_OUTPUTS, hidden=True))
    stride: Stride = "port"
    image_size: int = setting(224, Rules(low=1, high=MAX_SIDE))
    learn_power: bool = False

    def __post_init__(self) -> None:
        check_settings(self)
        count = len(letters(self.descriptors))
        if self.dim % count:
            raise ValueError(
                f"--dim {self.dim} must be divisible by the {count} descriptors of --descriptors {self.descriptors}; "
                f"use {max(count, self.dim // count * count)} or {(self.dim // count + 1) * count}"
            )


class Embedder(nn.Module):
    """Combination of multiple global descriptors (CGD).

    Each of the n descriptors pools the feature map of the backbone, is projected to dim / n by a linear layer without
    bias and scaled to unit length; the n parts are concatenated and scaled to unit length again. The auxiliary head is
    BatchNorm and a linear layer on the first descriptor before its projection. Photos are uint8, then they are
    normalised here on the device, or float, then they must be normalised already.

    The arguments are those of `Architecture` and the weights of the backbone, see `Backbone`.

    Source: Jun, Ko, Kim, Kim, Kim, "Combination of Multiple Global Descriptors for Image Retrieval", 2019, arXiv
    1903.10663, section 3. `stride="port"` deviates from it like leftthomas/CGD, whose published costs it reproduces.

    Raises:
        ValueError: if a setting is out of range (see `Architecture`), or backbone or weights are unknown.

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
        # From here on the record is the only source of the settings.
        shape = Architecture(backbone, descriptors, dim, classes, stride, image_size, learn_power)
        self.architecture = shape
        self.micro_batch = 0
        self.backbone = Backbone(shape.backbone, weights, shape.stride, shape.image_size)
        channels = self.backbone.channels
        names = letters(shape.descriptors)
        part_dim = shape.dim // len(names)
        self.descriptors = nn.ModuleList([descriptor(name, shape.learn_power) for name in names])
        self.projections = nn.ModuleList([nn.Linear(channels, part_dim, bias=False) for _ in names])
        self.head = None
        if shape.classes:
            self.head = nn.Sequential(nn.BatchNorm1d(channels), nn.Linear(channels, shape.classes))
        # (channel, 1, 1) broadcasts over (photo, channel, height, width). Both follow from the backbone and are not saved.
        self.register_buffer("mean", torch.tensor(self.backbone.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.backbone.std).view(3, 1, 1), persistent=False)

    @classmethod
    def from_architecture(cls, architecture: Architecture, weights: str = "none") -> Self:
        """Build the model of an `Architecture`, whose fields are the arguments of the class, with backbone weights."""
        return cls(weights=weights, **vars(architecture))

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return (photo, dim) unit embeddings and (photo, class) logits; without a head the logits are None."""
        embeddings, first = self.describe(photos)
        return embeddings, self.head(first) if self.head is not None else None

    def describe(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Return (photo, dim) unit embeddings and the (photo, channel) first descriptor, the input of the head."""
        # Without gradients no activations are stored, so micro batches would save nothing.
        if self.training and torch.is_grad_enabled() and 0 < self.micro_batch < len(photos):
            # Only the backbone runs in micro batches; the BatchNorm of the head needs the whole batch.
            embeddings, first = run_in_micro_batches(self._describe, photos, self.micro_batch)
            return embeddings, first
        return self._describe(photos)

    def _describe(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        # Convolutions are faster with the channels last in memory, on a CPU and on a GPU.
        features = self.backbone(self.normalize(photos).contiguous(memory_format=torch.channels_last))
        pooled = [pool(features) for pool in self.descriptors]  # n times (photo, channel)
        parts = [unit(project(p)) for project, p in zip(self.projections, pooled, strict=True)]
        return unit(torch.cat(parts, dim=1)), pooled[0]

    def embed(self, photos: Tensor) -> Tensor:
        """Return (photo, dim) unit embeddings for retrieval, computed in evaluation mode and without gradients."""
        was_training = self.training
        self.eval()
        with torch.inference_mode():
            embeddings, _ = self(photos)
        self.train(was_training)
        # A tensor of inference mode cannot take part in autograd later; its copy can.
        return embeddings.clone()

    def normalize(self, photos: Tensor) -> Tensor:
        """Scale uint8 photos to the mean and standard deviation of the backbone; return float photos unchanged."""
        if photos.dtype != torch.uint8:
            return photos
        return (photos.float() / 255 - self.mean) / self.std  # pyright: ignore[reportOperatorIssue]

    def set_micro_batch(self, micro_batch: int, freeze_bn: FreezeBN) -> None:
        """Set how many photos pass through the backbone at a time in training, 0 for the whole batch.

        It saves memory and does not change the gradient.

        Raises:
            ValueError: if a BatchNorm would compute its statistics per micro batch, which would change the gradient.
        """
        statistics = [name for name, module in self.backbone.network.named_modules() if _takes_statistics(module)]
        if micro_batch and statistics and freeze_bn == "none":
            raise ValueError(
                f"--micro_batch {micro_batch} would give each micro batch its own BatchNorm statistics, in {statistics[0]} "
                "for example; use --freeze_bn statistics or all, or --micro_batch 0"
            )
        self.micro_batch = micro_batch

    def freeze_batchnorm(self, mode: FreezeBN) -> None:
        """Freeze the backbone's BatchNorm: its running statistics ("statistics"), also its scale and shift ("all").

        Call it after each `train()`, which unfreezes the statistics.
        """
        for module in self.backbone.modules():
            # The common base class of BatchNorm in one and two dimensions, of timm's and of synchronized BatchNorm.
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and mode != "none":
                module.eval()
                for parameter in module.parameters(recurse=False):
                    parameter.requires_grad_(mode != "all")

    def save(self, folder: Path) -> None:
        """Write model.safetensors and model.json into a folder."""
        # safetensors stores contiguous tensors only; a weight may lie in channels-last order.
        tensors = {name: t.contiguous() for name, t in self.state_dict().items()}
        write_text(folder / CONFIG_FILE, json.dumps(to_plain(self.architecture), indent=2) + "\n")
        write_tensors(folder / WEIGHTS_FILE, tensors)

    @classmethod
    def load(cls, folder: str | Path, device: str = "cpu") -> Self:
        """Open a model that `save` wrote. Neither file can run code.

        Raises:
            ValueError: if a file is missing or damaged, or the two files do not fit each other.
        """
        weights = Path(folder) / WEIGHTS_FILE
        config = Path(folder) / CONFIG_FILE
        for file in (weights, config):
            if not file.is_file():
                raise ValueError(f"{file} does not exist; give the folder of a finished run")
        try:
            architecture = from_plain(Architecture, _read_config(config), str(config))
            # A new model draws random initial weights, which would change the random numbers of a training run that
            # opens a model.
            with torch.random.fork_rng(devices=[]):
                _check_shapes(cls, architecture, read_shapes(weights))
                model = cls.from_architecture(architecture)
            model.load_state_dict(load_file(weights))
        except (SafetensorError, OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"the model in {folder} is damaged or of another shape ({reason}); pairlens train --resume writes the model "
                "of the last epoch again; train again to replace any other model"
            ) from error
        return model.to(device).eval()

    def fingerprint(self) -> str:
        """Return a check sum of the weights; stored embeddings name their model by it."""
        check_sum = 0
        for tensor in self.state_dict().values():
            # The bytes of the tensor, in any number format, as one flat row.
            contents = tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            check_sum = zlib.crc32(contents, check_sum)  # pyright: ignore[reportArgumentType]
        return f"{check_sum:08x}"

    def without_head(self) -> Architecture:
        """Return the architecture without the auxiliary head, which retrieval does not need."""
        return replace(self.architecture, classes=0)


def _takes_statistics(module: nn.Module) -> bool:
    return any(name.startswith("running_") for name, _ in module.named_buffers(recurse=False))


def _read_config(config: Path) -> Plain:
    try:
        return read_json(config)
    except ValueError as error:
        raise ValueError(f"{config} is damaged ({error}); restore it or train again") from error


def _check_shapes(kind: type[Embedder], architecture: Architecture, stored: dict[str, tuple[int, ...]]) -> None:
    """Raise RuntimeError if stored tensors do not have the shapes of an architecture, before anything is allocated."""
    # On the meta device a model of any size takes no memory.
    with torch.device("meta"):
        tensors = kind.from_architecture(architecture).state_dict()
    expected = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    mismatch = first_mismatch(expected, stored)
    if mismatch is not None:
        raise RuntimeError(f"{mismatch} in {WEIGHTS_FILE}")
