"""The place of the backbone in a model whose input are features that another program has computed."""

from typing import NoReturn

from torch import Tensor, nn

FEATURES = "features"


class GivenFeatures(nn.Module):
    """A backbone without weights that takes no photos: the features of a photo are its input.

    Args:
        channels: number of values of a vector.
    """

    changed_layers: tuple[str, ...] = ()
    fused_pairs = 0
    gives_vector = True
    # Nothing is normalised.
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.network = nn.Identity()

    def forward(self, photos: Tensor) -> NoReturn:
        """Raise ValueError, because there is nothing that could see a photo."""
        raise ValueError(
            f"this model was trained on given features of {self.channels} values and cannot embed photos; compute their "
            "features as for its training, and give them to embed_features"
        )
