"""Losses that ask for raw embeddings, or for further values of each photo, in a training."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from pairlens.losses import Circle
from pairlens.losses.third_party import wrap
from pairlens.training.criterion import Criterion
from pairlens.training.fit import Epoch, fit
from pairlens.training.learner import Objective
from support.tiny_training import LABELS, SIZE, Noise, tiny_learner

CPU = torch.device("cpu")
OBJECTIVE = Objective(precision="float32")
SEEN = []


@dataclass(frozen=True)
class OfLengths:
    """A loss of embeddings of any length: a variance term as in VICReg."""

    normalized: ClassVar[bool] = False

    def of_embeddings(self, embeddings, labels):
        SEEN.append(embeddings.detach())
        return torch.relu(1 - embeddings.std(dim=0)).mean()


class FunctionOfLengths:
    normalized = False

    def __call__(self, embeddings, labels):
        return OfLengths().of_embeddings(embeddings, labels)


@dataclass(frozen=True)
class Scaled:
    """A loss of pairs that needs a weight of each anchor."""

    needs: ClassVar[tuple[str, ...]] = ("weight",)

    def __call__(self, similarity, pairs, weight):
        SEEN.append(weight)
        return weight.mean() * Circle()(similarity, pairs)


@pytest.fixture(autouse=True)
def _empty():
    SEEN.clear()


@pytest.mark.parametrize("loss", [OfLengths(), wrap(FunctionOfLengths())], ids=["loss", "wrapped"])
def test_a_loss_that_wants_them_gets_embeddings_of_any_length(loss):
    learner = tiny_learner(CPU, loss)
    epoch = next(record for record in fit(learner, Noise(CPU), OBJECTIVE, 1) if isinstance(record, Epoch))
    lengths = torch.linalg.vector_norm(torch.cat(SEEN), dim=1)
    assert (lengths - 1).abs().min() > 1e-3
    # What is measured and searched has unit length all the same.
    photos = torch.rand(4, 3, SIZE, SIZE)
    for vectors in (epoch.embeddings, learner.model.embed_batch(photos), learner.model.eval()(photos)[0]):
        assert torch.allclose(torch.linalg.vector_norm(vectors, dim=1), torch.ones(len(vectors)), atol=1e-5)


def test_every_other_loss_is_trained_on_unit_vectors():
    def keep(embeddings, labels):
        SEEN.append(embeddings.detach())
        return embeddings.sum() ** 2

    list(fit(tiny_learner(CPU, wrap(keep)), Noise(CPU), OBJECTIVE, 1))
    assert torch.allclose(torch.linalg.vector_norm(torch.cat(SEEN), dim=1), torch.ones(4 * len(LABELS)), atol=1e-5)


class WeightedNoise(Noise):
    """Batches with a fourth part."""

    def epoch(self, number, start=0):
        for step, batch in enumerate(super().epoch(number, start)):
            yield (*batch, {"weight": torch.full((len(LABELS),), float(number + step)), "unused": LABELS})


def test_the_fourth_part_of_a_batch_reaches_a_loss_that_needs_it():
    learner = tiny_learner(CPU)
    learner.criterion = Criterion(Scaled())
    weighted = list(fit(learner, WeightedNoise(CPU), OBJECTIVE, 1))[-1]
    assert [float(weight[0]) for weight in SEEN] == [1.0, 2.0, 3.0, 4.0]
    assert weighted.ranking > 1.5 * list(fit(tiny_learner(CPU, Circle()), Noise(CPU), OBJECTIVE, 1))[-1].ranking


def test_a_batch_without_the_value_is_an_error_in_one_sentence():
    learner = tiny_learner(CPU)
    learner.criterion = Criterion(Scaled())
    with pytest.raises(ValueError, match="Scaled needs 'weight' of each of the 8 photos, which is missing"):
        next(fit(learner, Noise(CPU), OBJECTIVE, 1))
