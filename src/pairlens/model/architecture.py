"""The record of the settings that determine an embedding model."""

from dataclasses import dataclass

from pairlens.model.backbone import Stride
from pairlens.model.descriptors import letters
from pairlens.model.given_module import GivenModule

# Limits on what a model.json may demand: a larger number is an error or an attempt to exhaust the memory.
MAX_OUTPUTS = 1 << 24
MAX_SIDE = 4096


@dataclass(frozen=True)
class Architecture:
    """The settings that determine an `Embedder`; saved as model.json beside the weights.

    Attributes:
        backbone: resnet50, resnext50, efficientnet_lite0 or any timm model name; of a module from outside, its class.
        descriptors: one to three letters of S, M, G; the first one is the input of the auxiliary head.
        dim: dimension of the embedding, divisible by the number of letters.
        classes: outputs of the auxiliary head; 0 for no head.
        stride: which down-sampling is removed, see `Backbone`.
        image_size: height and width of the photos.
        learn_power: whether the exponent p of G is learned or fixed at 3.
        stored_size: side of the pictures of the prepared data set, to which `embed` reduces a photo first.
        stored_quality: JPEG quality of these pictures.
        given: how photos are normalised for a module from outside; None for a backbone that is built by its name.

    Raises:
        ValueError: if the letters are unknown, or a number is out of range or not divisible.
    """

    backbone: str = "resnet50"
    descriptors: str = "SG"
    dim: int = 1536
    classes: int = 0
    stride: Stride = "port"
    image_size: int = 224
    learn_power: bool = False
    # The defaults of `Preparation`; a run sets those of its data set.
    stored_size: int = 252
    stored_quality: int = 95
    given: GivenModule | None = None

    def __post_init__(self) -> None:
        count = len(letters(self.descriptors))
        if self.dim < 1 or self.dim % count:
            raise ValueError(
                f"feature_dim {self.dim} must be divisible by the {count} descriptors of gd_config {self.descriptors}; "
                f"use {max(count, self.dim // count * count)} or {(self.dim // count + 1) * count}"
            )
        if self.classes < 0 or self.image_size < 1:
            raise ValueError(
                f"classes {self.classes} must be 0 or more and image_size {self.image_size} must be 1 or more"
            )
        if not 1 <= self.stored_size <= MAX_SIDE or not 1 <= self.stored_quality <= 100:
            raise ValueError(
                f"stored_size {self.stored_size} must be 1 to {MAX_SIDE} pixels and stored_quality {self.stored_quality} "
                "must be 1 to 100"
            )
        if max(self.classes, self.dim) > MAX_OUTPUTS or self.image_size > MAX_SIDE:
            raise ValueError(
                f"{self.classes} classes, {self.dim} dimensions or {self.image_size} pixels are too many; use at most "
                f"{MAX_OUTPUTS:,} classes and dimensions, and at most {MAX_SIDE:,} pixels"
            )
