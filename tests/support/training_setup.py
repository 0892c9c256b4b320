"""A small learner, and batches of noise for its training."""

import torch

from pairlens.losses import Circle, SoftTriple
from pairlens.model.embedder import Embedder
from pairlens.training.criterion import Criterion
from pairlens.training.learner import Learner
from pairlens.training.optimizers import OptimizerConfig, make_optimizer, make_schedule
from pairlens.training.references import Batch, Proxies


class Photos:
    """Three batches of noise per epoch; with `broken` all photos are NaN."""

    def __init__(self, broken=False):
        self.broken = broken

    def __len__(self):
        return 3

    def epoch(self, number, start=0):
        rng = torch.Generator().manual_seed(number)
        for step in range(3):
            pixels = torch.rand(8, 3, 32, 32, generator=rng)
            if step < start:
                continue
            yield pixels * torch.nan if self.broken else pixels, torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]), torch.arange(8)


def learner(loss=None, classes=4, epochs=5):
    torch.manual_seed(0)
    model = Embedder(
        backbone="resnet10t", descriptors="S", dim=8, classes=classes, weights="none", stride="none", image_size=32
    )
    references = Proxies(4, 8, loss.centers) if isinstance(loss, SoftTriple) else Batch()
    criterion = Criterion(loss or Circle(), references, classes=4)
    optimizer = make_optimizer(
        model, criterion, OptimizerConfig(learning_rate=1e-3, proxy_learning_rate=1e-2, weight_decay=0.0)
    )
    return Learner(model, criterion, optimizer, make_schedule(optimizer, epochs))
