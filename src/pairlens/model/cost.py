"""Model cost: number of parameters and multiply-adds."""

from dataclasses import dataclass

import torch

from pairlens.model.embedder import Architecture, Embedder


@dataclass(frozen=True)
class Profile:
    """The cost of a model.

    Attributes:
        parameters: learned numbers of the whole model, including the auxiliary head.
        multiply_adds: multiply-adds (MACs) of one photo through the whole model; one MAC is two FLOPs.
        map_size: height and width of the last feature map; 0 and 0 for given features.
    """

    parameters: int
    multiply_adds: int
    map_size: tuple[int, int]

    def __str__(self) -> str:
        height, width = self.map_size
        if not height:
            return f"{self.parameters / 1e6:.2f}M parameters after the given features"
        return (
            f"{self.parameters / 1e6:.2f}M parameters, {self.multiply_adds / 1e9:.2f} GMACs per photo, "
            f"last map {height} x {width}"
        )


def profile(architecture: Architecture) -> Profile:
    """Count the parameters and multiply-adds of an architecture without allocating its weights.

    >>> profile(Architecture(backbone="resnet50", descriptors="SG", dim=1536, classes=98)).parameters
    26858658
    """
    from torch.utils.flop_counter import FlopCounterMode

    if architecture.features:
        return _profile_of_head(architecture)
    size = architecture.image_size
    # Tensors on the meta device have a shape but no memory, so even a large model is counted in milliseconds.
    with torch.device("meta"):
        model = Embedder.from_architecture(architecture).eval()
        photo = torch.zeros(1, 3, size, size)
        features = model.backbone(photo)  # (1, channel, height, width)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(photo)
    parameters = sum(p.numel() for p in model.parameters())
    # PyTorch counts a multiply-add as two operations.
    return Profile(parameters, counter.get_total_flops() // 2, (features.shape[2], features.shape[3]))


def _profile_of_head(architecture: Architecture) -> Profile:
    with torch.device("meta"):
        model = Embedder.from_architecture(architecture)
    # Given features pass through linear layers only, with one multiply-add per weight.
    weights = sum(layer.weight.numel() for layer in model.modules() if isinstance(layer, torch.nn.Linear))
    return Profile(sum(p.numel() for p in model.parameters()), weights, (0, 0))
