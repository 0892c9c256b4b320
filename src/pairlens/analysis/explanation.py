"""What there is to draw and to write of explained losses."""

from dataclasses import dataclass
from pathlib import Path

from pairlens.analysis.loss_plane import Paths, SimilarityPlane
from pairlens.analysis.pair_weights import WeightCurve


@dataclass(frozen=True, eq=False)
class Explained:
    """What there is to draw of one loss.

    Attributes:
        name: the name of the loss.
        settings: its hyper-parameters, as text.
        plane: the loss over the similarity plane.
        paths: where gradient descent leads in the plane.
        curves: its weight curves, by the similarity of the other negatives.
    """

    name: str
    settings: str
    plane: SimilarityPlane
    paths: Paths
    curves: dict[float, WeightCurve]


@dataclass(frozen=True, eq=False)
class Explanation:
    """The explanation of one or more losses.

    Attributes:
        losses: what there is to draw of each loss, with all its numbers.
        files: the figures and tables that were written.
    """

    losses: tuple[Explained, ...]
    files: tuple[Path, ...] = ()
