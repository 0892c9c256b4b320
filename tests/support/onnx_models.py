"""Small models to export, and photos to compare them on."""

import numpy as np
import torch

from pairlens.model.embedder import Embedder

SIZE = 32
PHOTOS = np.random.default_rng(0).integers(0, 256, (13, SIZE, SIZE, 3), dtype=np.uint8)


def small_model(**settings) -> Embedder:
    """Return a model whose vectors differ between photos, with all descriptors and a learned power that is not 3."""
    torch.manual_seed(0)
    model = Embedder(
        **{
            "backbone": "test_resnet",
            "descriptors": "SMG",
            "dim": 12,
            "classes": 4,
            "weights": "none",
            "stride": "none",
            "image_size": SIZE,
            "learn_power": True,
            **settings,
        }
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("power"):
                parameter.fill_(2.5)
    return model
