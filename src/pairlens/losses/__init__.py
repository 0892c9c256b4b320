"""The losses of deep metric learning, each a frozen dataclass: its fields are its hyper-parameters, and it is callable.

`all_losses` lists the losses, and `Sum` adds several of them.
"""

from pairlens.losses import all_losses, miners
from pairlens.losses.all_losses import *  # noqa: F403 (every name in the list of all losses is public)
from pairlens.losses.sum import Sum

__all__ = ["Sum", "miners"]
__all__ += all_losses.__all__
