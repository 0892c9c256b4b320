"""The intervals from which tuning takes the hyper-parameters of a loss."""

import math
from dataclasses import dataclass

from pairlens.core.records import require


@dataclass(frozen=True)
class Range:
    """The interval from which tuning suggests the value of a hyper-parameter.

    A loss, also one of another project, names the ranges of its hyper-parameters in a class attribute:
    `space: ClassVar[dict[str, Range]] = {"margin": Range(0.02, 0.5)}`.

    Attributes:
        low: lower end.
        high: upper end.
        log: whether values are suggested evenly on a logarithmic scale.

    Raises:
        ValueError: if the interval is empty, or its logarithm does not exist.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        require(
            -math.inf < self.low < self.high < math.inf,
            f"a tuning range from {self.low} to {self.high} is empty or endless; give a lower end below the upper one",
        )
        require(not self.log or self.low > 0, f"a logarithmic tuning range must start above 0, not at {self.low}")


# Ranges that several losses share.
MARGIN_SPACE = {"margin": Range(0.02, 0.5)}
SCALE = Range(8, 256, log=True)
