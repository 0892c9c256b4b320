"""The backbone that an architecture names: a timm model, a module from outside, or given features in its place."""

from torch import nn

from pairlens.model.architecture import Architecture
from pairlens.model.backbone import Backbone
from pairlens.model.given_features import GivenFeatures
from pairlens.model.given_module import GivenBackbone


def make_backbone(
    shape: Architecture, weights: str, module: nn.Module | None, runs_once: bool = True
) -> Backbone | GivenBackbone | GivenFeatures:
    """Return the backbone of an architecture, with weights, or around the module from outside that it names.

    `runs_once` is as for `Backbone`.

    Raises:
        ValueError: if a module is missing or not needed, or backbone or weights are unknown.
    """
    if shape.given is not None and module is not None:
        return GivenBackbone(module, shape.given, shape.image_size)
    if shape.given is not None:
        raise ValueError(
            f"the backbone of this model is a module from outside ({shape.backbone}), whose code is not stored; open the "
            "model with Embedder.load(folder, module=...)"
        )
    if shape.features:
        return GivenFeatures(shape.features)
    if module is not None:
        raise ValueError(f"the backbone of this model is {shape.backbone}, built by its name; leave module out")
    return Backbone(shape.backbone, weights, shape.stride, shape.image_size, runs_once)
