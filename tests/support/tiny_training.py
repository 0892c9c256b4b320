"""A training that takes about a second on any device: four steps per epoch, on photos of noise."""

import torch
from torch import Tensor

from pairlens.losses import Circle
from pairlens.model.embedder import Embedder
from pairlens.training.criterion import Criterion
from pairlens.training.fit import Epoch, fit
from pairlens.training.learner import Learner
from pairlens.training.optimizers import OptimizerConfig, make_optimizer, make_schedule

CLASSES, DIM, STEPS, SIZE = 4, 8, 4, 32
LABELS = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])


class Noise:
    """Batches of noise that depend on the epoch alone; those of the (epoch, step) in `broken` are not finite.

    For a GPU they are in pinned memory, as those of `TrainingBatches` are.
    """

    def __init__(self, device, dtype=torch.float32, broken=()):
        self.device, self.dtype, self.broken = device, dtype, broken

    def __len__(self):
        return STEPS

    def epoch(self, number, start=0):
        rng = torch.Generator().manual_seed(number)
        for step in range(1, STEPS + 1):
            pixels = torch.rand(len(LABELS), 3, SIZE, SIZE, generator=rng).to(self.dtype)
            if (number, step) in self.broken:
                pixels = pixels * torch.nan
            if step > start:
                yield self._pinned(pixels), self._pinned(LABELS), torch.arange(len(LABELS))

    def _pinned(self, tensor):
        return tensor.pin_memory() if self.device.type == "cuda" else tensor


def tiny_model(classes=CLASSES) -> Embedder:
    torch.manual_seed(0)
    return Embedder(
        backbone="test_resnet",
        descriptors="SG",
        dim=DIM,
        classes=classes,
        weights="none",
        stride="none",
        image_size=SIZE,
        learn_power=True,
    )


def tiny_learner(device, loss=None, references=None, miner=None, kind="adam", dtype=torch.float32) -> Learner:
    """Return a learner; every call returns the same initial weights."""
    model = tiny_model().to(device, dtype).to(memory_format=torch.channels_last)
    criterion = Criterion(loss or Circle(gamma=16), references, miner, CLASSES).to(device, dtype)
    optimizer = make_optimizer(
        model, criterion, OptimizerConfig(name=kind, learning_rate=1e-3, proxy_learning_rate=1e-2, weight_decay=0.0)
    )
    return Learner(model, criterion, optimizer, make_schedule(optimizer, 2))


def last_epoch(learner, photos, objective, epochs) -> Epoch:
    """Train to the end and return the record of the last epoch."""
    return [record for record in fit(learner, photos, objective, epochs) if isinstance(record, Epoch)][-1]


def state_of(learner) -> dict[str, Tensor]:
    """Return a copy on the CPU of the parameters, the buffers and the memory of a learner."""
    state = {**learner.model.state_dict(), **learner.criterion.state_dict()}
    return {name: value.detach().cpu().clone() for name, value in state.items() if isinstance(value, Tensor)}


def farthest(first, second) -> float:
    """Return the largest absolute difference between two states with the same names."""
    assert first.keys() == second.keys()
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in first)
