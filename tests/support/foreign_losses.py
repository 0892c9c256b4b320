"""Losses as another project would write them, in a module that can be imported."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

from pairlens.core.pairs import Pairs
from pairlens.losses.base import AnchorLoss, PairWeights, Side
from pairlens.losses.tuning_space import Range


@dataclass(frozen=True)
class Hinge(AnchorLoss):
    """Every positive below the margin and every negative above it, with the pair weights in closed form."""

    space: ClassVar[dict[str, Range]] = {"margin": Range(0.1, 0.9)}
    margin: float = 0.5
    names: tuple[str, ...] = ("a", "b")

    def weigh(self, positive: Side, negative: Side) -> PairWeights:
        far = positive.masked((self.margin - positive.similarity).relu())
        near = negative.masked((negative.similarity - self.margin).relu())
        return PairWeights((far.sum(1, True) + near.sum(1, True)), far.sign(), near.sign())


@dataclass(frozen=True)
class Spread:
    """A loss of embeddings."""

    scale: float = 1.0

    def of_embeddings(self, embeddings, labels):
        return self.scale * embeddings.var(dim=0).sum()


@dataclass(frozen=True)
class BatchSpread(Spread):
    """A loss of embeddings that says what it is computed on."""

    references: ClassVar[tuple[str, ...]] = ("batch",)


@dataclass(frozen=True)
class OfPairs:
    """A loss of (similarity, pairs) without any attribute of Pairlens."""

    weight: int = 2

    def __call__(self, similarity, pairs):
        return self.weight * similarity[pairs.negative].mean()


@dataclass
class Changing:
    margin: float = 0.5

    def __call__(self, similarity, pairs):
        return similarity.sum()


@dataclass(frozen=True)
class WithTensor:
    centre: torch.Tensor = field(default_factory=lambda: torch.zeros(2))

    def __call__(self, similarity, pairs):
        return similarity.sum()


@dataclass(frozen=True)
class WithEmptyMind:
    """A record that is no loss."""

    margin: float = 0.5


class Module(nn.Module):
    """A loss as a module, with a parameter and a setting."""

    space: ClassVar[dict[str, Range]] = {"scale": Range(0.5, 4.0)}

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = scale
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, embeddings, labels):
        similarity = embeddings @ embeddings.T
        return self.scale * similarity[Pairs.within(labels).negative].mean() + self.bias.sum()


def mean_negative(similarity, pairs, power=1):
    return similarity[pairs.negative].pow(power).mean() - similarity[pairs.positive].mean()


def of_embeddings(embeddings, labels):
    similarity = embeddings @ embeddings.T
    pairs = Pairs.within(labels)
    return similarity[pairs.negative].mean() - similarity[pairs.positive].mean()
