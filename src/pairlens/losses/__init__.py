"""The pairwise losses, each a frozen dataclass: its fields are its hyper-parameters, calling it gives the loss.

This list of names is the only registry there is.
"""

from typing import TypeAlias

from pairlens.losses.circle import Circle
from pairlens.losses.softtriple import SoftTriple
from pairlens.losses.triplet import Triplet

Loss: TypeAlias = Triplet | Circle | SoftTriple

__all__ = ["Circle", "Loss", "SoftTriple", "Triplet"]
