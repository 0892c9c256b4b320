"""The record of the settings that determine an embedding model."""

from dataclasses import dataclass, field

from pairlens.core.photo_reading import PhotoReading
from pairlens.core.settings import RULES, Rules, check_settings, setting
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
        backbone: resnet50, resnext50, efficientnet_lite0 to lite2 or any timm model name.
        descriptors: global descriptors: one to three of S (mean), M (max), G (GeM); the first feeds the classifier.
        dim: dimension of the embedding, divisible by the number of descriptors.
        classes: outputs of the auxiliary classifier; 0 for no classifier. A run takes the number from its data set.
        stride: the down-sampling that is removed: port (layer 3, as leftthomas/CGD), paper (layer 4), none.
        image_size: height and width of the photos that the network sees.
        learn_power: whether the power p of G is learned, or fixed at 3.
        stored_size: side of the stored pictures, to which `embed` reduces a photo first. A run takes it from its data set.
        stored_quality: JPEG quality of the stored pictures. A run takes it from its data set.
        stored_reading: how the files of photos become pixels, if not as by default. A run takes it from its data set.
        features: number of values of a vector, for a model of features that another program has computed; 0 for photos. A
            run takes it from its data set.
        given: normalisation of a module from outside, whose class is then named by `backbone`; see `Embedder.of`.

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
    # The defaults are those of `Preparation`.
    stored_size: int = setting(252, Rules(low=1, high=MAX_SIDE, hidden=True))
    stored_quality: int = setting(95, Rules(low=1, high=100, hidden=True))
    stored_reading: PhotoReading | None = field(
        default=None, metadata={RULES: Rules(hidden=True), "omit_default": True}
    )
    features: int = field(
        default=0, metadata={RULES: Rules(low=0, high=MAX_OUTPUTS, hidden=True), "omit_default": True}
    )
    given: GivenModule | None = setting(None, Rules(hidden=True))

    def __post_init__(self) -> None:
        check_settings(self)
        count = len(letters(self.descriptors))
        if self.dim % count:
            raise ValueError(
                f"--dim {self.dim} must be divisible by the {count} descriptors of --descriptors {self.descriptors}; "
                f"use {max(count, self.dim // count * count)} or {(self.dim // count + 1) * count}"
            )
