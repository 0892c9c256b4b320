"""What a model costs: parameters and multiply-adds."""

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from pairlens.model.embedder import Architecture, Embedder


@dataclass(frozen=True)
class Profile:
    """The cost of a model.

    Attributes:
        parameters: numbers that are learned, of the whole model including the auxiliary head.
        multiply_adds: of one photo through the whole model (half the FLOPs that multiply and add are counted as).
        map_size: height and width of the last spatial map.
    """

    parameters: int
    multiply_adds: int
    map_size: tuple[int, int]

    def __str__(self) -> str:
        height, width = self.map_size
        return (
            f"{self.parameters / 1e6:.2f}M parameters, {self.multiply_adds / 1e9:.2f} GMACs a photo, "
            f"last map {height} x {width}"
        )


def profile(architecture: Architecture) -> Profile:
    """Count parameters and multiply-adds of a model without allocating it (on torch's meta device).

    >>> profile(Architecture(backbone="resnet50", descriptors="SG", dim=1536, classes=98)).parameters
    26858658
    """
    size = architecture.image_size
    with torch.device("meta"):
        model = Embedder.from_architecture(architecture).eval()
        photo = torch.zeros(1, 3, size, size)
        features = model.backbone(photo)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(photo)
    parameters = sum(p.numel() for p in model.parameters())
    return Profile(parameters, counter.get_total_flops() // 2, (features.shape[2], features.shape[3]))
