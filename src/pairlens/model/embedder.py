"""The embedding model: CGD, several global descriptors of one backbone concatenated into one embedding."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self, TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pairlens.core.files import write_tensors, write_text
from pairlens.core.inputs import Numbers, as_matrix, as_whole_number
from pairlens.core.records import Plain, from_plain, to_plain
from pairlens.core.similarity import unit
from pairlens.core.threads import map_in_order
from pairlens.core.untrusted import TensorForm, first_mismatch, form_of, read_forms, read_json, regular_file
from pairlens.model.architecture import Architecture
from pairlens.model.backbone import Backbone, Stride
from pairlens.model.check_sum import check_sum
from pairlens.model.descriptors import descriptor, letters
from pairlens.model.evaluation_mode import in_evaluation_mode
from pairlens.model.given_features import GivenFeatures
from pairlens.model.given_module import IMAGENET_MEAN, IMAGENET_STD, GivenBackbone, GivenModule, module_name
from pairlens.model.make_backbone import make_backbone
from pairlens.model.micro_batch import run_in_micro_batches
from pairlens.model.passes import passes_of
from pairlens.model.photo_input import OnePhoto, PhotoInput, check_batch, single_photos

FreezeBN: TypeAlias = Literal["statistics", "all", "none"]

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "model.json"


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
        self._assemble(shape, Backbone(shape.backbone, weights, shape.stride, shape.image_size))

    def _assemble(self, shape: Architecture, backbone: Backbone | GivenBackbone | GivenFeatures) -> None:
        """Set the layers of an architecture around a backbone."""
        self.architecture = shape
        self.micro_batch = 0
        # Whether training sees the projections without any scaling; retrieval always sees unit vectors.
        self.raw = False
        self.backbone = backbone
        channels = backbone.channels
        names = letters(shape.descriptors)
        part_dim = shape.dim // len(names)
        # A vector has nothing to pool: (photo, channel, 1, 1) only loses its last two axes.
        pools = [nn.Flatten() if _gives_vector(backbone) else descriptor(name, shape.learn_power) for name in names]
        self.descriptors = nn.ModuleList(pools)
        self.projections = nn.ModuleList([nn.Linear(channels, part_dim, bias=False) for _ in names])
        self.head = None
        if shape.classes:
            self.head = nn.Sequential(nn.BatchNorm1d(channels), nn.Linear(channels, shape.classes))
        # (channel, 1, 1) broadcasts over (photo, channel, height, width). Both follow from the backbone and are not saved.
        self.register_buffer("mean", torch.tensor(backbone.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(3, 1, 1), persistent=False)

    @classmethod
    def of(
        cls,
        module: nn.Module,
        *,
        dim: int = 512,
        descriptors: str = "S",
        classes: int = 0,
        image_size: int = 224,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> Self:
        """Build an embedder around any module; it is trained, embeds and is saved like every other one.

        The module itself is used, not a copy. Its code is not stored, so `Embedder.load` needs a module of the same shape.

        Args:
            module: normalised photos (photo, 3, height, width) to a map (photo, channel, height, width), which the
                descriptors pool, or to a vector (photo, channel), for which they do nothing.
            dim: dimension of the embedding, divisible by the number of letters.
            descriptors: one to three letters of S, M, G.
            classes: outputs of the auxiliary head; 0 for no head.
            image_size: height and width of the photos.
            mean: mean of each colour, for values from 0 to 1; by default that of ImageNet.
            std: standard deviation of each colour; by default that of ImageNet.

        Raises:
            ValueError: if a setting is out of range, or the module returns neither a map nor a vector.

        >>> layers = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU())
        >>> Embedder.of(layers, dim=4, image_size=32).embed(torch.zeros(5, 3, 32, 32, dtype=torch.uint8)).shape
        torch.Size([5, 4])
        """
        given = GivenModule(tuple(map(float, mean)), tuple(map(float, std)))
        shape = Architecture(module_name(module), descriptors, dim, classes, "none", image_size, given=given)
        return cls.from_architecture(shape, module=module)

    @classmethod
    def from_architecture(
        cls, architecture: Architecture, weights: str = "none", module: nn.Module | None = None, runs_once: bool = True
    ) -> Self:
        """Build the model of an `Architecture`, or around the module that it names; `runs_once` is as for `Backbone`."""
        # Not by `__init__`, whose arguments name a backbone and do not have all settings of an architecture.
        model = cls.__new__(cls)
        nn.Module.__init__(model)
        model._assemble(architecture, make_backbone(architecture, weights, module, runs_once))
        return model

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return (photo, dim) unit embeddings and (photo, class) logits; without a head the logits are None."""
        embeddings, first = self.describe(photos)
        return embeddings, self.head(first) if self.head is not None else None

    def describe(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Return (photo, dim) unit embeddings and the (photo, channel) first descriptor, the input of the head.

        In training mode with `raw` the embeddings are the concatenated projections, which have any length. In the place of
        photos it takes what the descriptors have pooled already, floats (photo, descriptor, channel).
        """
        # Without gradients no activations are stored, so micro batches would save nothing.
        if self.training and torch.is_grad_enabled() and 0 < self.micro_batch < len(photos):
            # Only the backbone runs in micro batches; the BatchNorm of the head needs the whole batch.
            embeddings, first = run_in_micro_batches(self._describe, photos, self.micro_batch)
            return embeddings, first
        return self._describe(photos)

    def feature_map(self, photos: Tensor) -> Tensor:
        """Return what the backbone makes of photos as `forward` takes them, (photo, channel, height, width)."""
        # Convolutions are faster with the channels last in memory, on a CPU and on a GPU.
        return self.backbone(self.normalize(photos).contiguous(memory_format=torch.channels_last))

    def _describe(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        if photos.ndim == 3 and photos.shape[1:] == (len(self.descriptors), self.backbone.channels):
            pooled = list(photos.unbind(dim=1))  # (photo, descriptor, channel) to n times (photo, channel)
        else:
            features = self.feature_map(photos)
            pooled = [pool(features) for pool in self.descriptors]
        projected = [project(p) for project, p in zip(self.projections, pooled, strict=True)]
        if self.raw and self.training:
            return torch.cat(projected, dim=1), pooled[0]
        parts = [unit(part) for part in projected]
        return unit(torch.cat(parts, dim=1)), pooled[0]

    def embed(self, photos: OnePhoto | Sequence[OnePhoto], *, batch_size: int = 64, workers: int = 2) -> Tensor:
        """Return the unit embeddings of photos, computed as evaluation computes them: the whole photo as a square.

        A file, its bytes, the PIL picture and its pixels have the same embedding. The model computes in evaluation mode,
        without gradients, wherever it is; the result is on the CPU.

        Args:
            photos: a path, a PIL picture, the bytes of a picture file, a uint8 array of (height, width, 3) or grey
                (height, width), a uint8 tensor of (3, height, width), or a list or a generator of these; or several photos
                as an array of (photo, height, width, 3), a tensor of (photo, 3, height, width) or an array of paths.
            batch_size: number of photos that go through the model at a time.
            workers: number of threads that read photos.

        Shapes:
            result: float32 (dim,) for one photo, (photo, dim) for a list or a batch, (0, dim) for an empty list.

        Raises:
            FileNotFoundError: if a file does not exist.
            ValueError: if a photo is damaged, or is no photo: floats, or pixels of another shape.

        >>> model = Embedder(backbone="resnet10t", descriptors="S", dim=8, weights="none", image_size=64)
        >>> photo = torch.zeros(3, 48, 64, dtype=torch.uint8)
        >>> model.embed(photo).shape, model.embed([photo, photo]).shape
        (torch.Size([8]), torch.Size([2, 8]))
        """
        batch_size = as_whole_number(batch_size, "batch_size", least=1)
        workers = as_whole_number(workers, "workers", least=0)
        single, alone = single_photos(photos)
        shape = self.architecture
        view = PhotoInput(shape.image_size, shape.stored_size, shape.stored_quality, shape.stored_reading)
        chunks = [single[start : start + batch_size] for start in range(0, len(single), batch_size)]
        device = next(self.parameters()).device
        # Threads pay off only where the model computes one batch while they read the next.
        batches = map_in_order(view.read, chunks, workers if len(chunks) > 1 else 0)
        parts = [self.embed_batch(batch.to(device)).float().cpu() for batch in batches]
        # The empty tensor gives an empty list a result of the right width.
        vectors = torch.cat([torch.empty(0, shape.dim), *parts])
        return vectors[0] if alone else vectors

    def embed_batch(self, photos: Tensor) -> Tensor:
        """Return (photo, dim) unit embeddings of a batch as `forward` takes it, in evaluation mode and without gradients."""
        with in_evaluation_mode(self), torch.inference_mode():
            parts = [self(part)[0] for part in passes_of(photos)]
        # A tensor of inference mode cannot take part in autograd later; what is made of it here can.
        return torch.cat(parts)

    def embed_features(self, vectors: Numbers) -> Tensor:
        """Return (item, dim) unit embeddings of features (item, channel) as a model of given features was trained on.

        Raises:
            ValueError: if the model embeds photos, or the vectors have another number of values.
        """
        channels = self.architecture.features
        given = as_matrix(vectors, "vectors")
        if given.shape[1] != channels:
            needs = f"vectors of {channels} values" if channels else "photos, which `embed` takes"
            raise ValueError(f"this model embeds {needs}, not vectors of {given.shape[1]} values")
        # (item, descriptor, channel): every descriptor has the same vector.
        pooled = given[:, None].expand(-1, len(self.descriptors), -1)
        return self.embed_batch(pooled.to(next(self.parameters()).device)).float().cpu()

    def normalize(self, photos: Tensor) -> Tensor:
        """Scale uint8 photos to the mean and standard deviation of the backbone; return float photos unchanged."""
        check_batch(photos)
        if photos.dtype != torch.uint8:
            return photos
        return (photos.float() / 255 - self.mean) / self.std  # pyright: ignore[reportOperatorIssue]

    def set_micro_batch(self, micro_batch: int, freeze_bn: FreezeBN) -> None:
        """Set how many photos pass through the backbone at a time in training, 0 for the whole batch.

        It saves memory and does not change the gradient.

        Raises:
            ValueError: if a BatchNorm would compute its statistics per micro batch, which would change the gradient.
        """
        # The modules are walked through only where it matters, because this is called before each epoch.
        modules = self.backbone.network.named_modules() if micro_batch and freeze_bn == "none" else ()
        statistics = [name for name, module in modules if _takes_statistics(module)]
        if statistics:
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
    def load(cls, folder: str | Path, device: str = "cpu", *, module: nn.Module | None = None) -> Self:
        """Open a model that `save` wrote. Neither file can run code.

        Args:
            folder: the folder of the model, such as that of a run.
            device: where the model computes.
            module: for a model that `Embedder.of` made, a module of the same shape; the stored weights replace its own.

        Raises:
            ValueError: if a file is missing or damaged, if the two files do not fit each other, or if a module is missing,
                not needed or of another shape.
        """
        weights = Path(folder) / WEIGHTS_FILE
        config = Path(folder) / CONFIG_FILE
        for file in (weights, config):
            if not file.is_file():
                raise ValueError(f"{file} does not exist; give the folder of a finished run that has kept its model")
        try:
            architecture = from_plain(Architecture, _read_config(config), str(config))
            # A new model draws random initial weights, which would change the random numbers of a training run that
            # opens a model.
            with torch.random.fork_rng(devices=[]):
                _check_forms(cls, architecture, module, read_forms(weights))
                model = cls.from_architecture(architecture, module=module)
            model.load_state_dict(load_file(regular_file(weights)))
        except (SafetensorError, OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            remedy = "pairlens train --resume writes the model of the last epoch again, or train again"
            if module is not None:
                remedy = "give a module of the same shape as the saved one"
            raise ValueError(f"the model in {folder} is damaged or of another shape ({reason}); {remedy}") from error
        return model.to(device).eval()

    def fingerprint(self) -> str:
        """Return a check sum of the weights; stored embeddings name their model by it."""
        return check_sum(self.state_dict())


def _takes_statistics(module: nn.Module) -> bool:
    return any(name.startswith("running_") for name, _ in module.named_buffers(recurse=False))


def _read_config(config: Path) -> Plain:
    try:
        return read_json(config)
    except ValueError as error:
        raise ValueError(f"{config} is damaged ({error}); restore it or train again") from error


def _gives_vector(backbone: Backbone | GivenBackbone | GivenFeatures) -> bool:
    return not isinstance(backbone, Backbone) and backbone.gives_vector


def _check_forms(
    kind: type[Embedder], architecture: Architecture, module: nn.Module | None, stored: dict[str, TensorForm]
) -> None:
    """Raise RuntimeError if stored tensors do not have the forms of an architecture, before anything is allocated."""
    # On the meta device a model of any size takes no memory.
    with torch.device("meta"):
        tensors = kind.from_architecture(architecture, module=module, runs_once=False).state_dict()
    expected = {name: form_of(tensor) for name, tensor in tensors.items()}
    mismatch = first_mismatch(expected, stored)
    if mismatch is not None:
        raise RuntimeError(f"{mismatch} in {WEIGHTS_FILE}")
