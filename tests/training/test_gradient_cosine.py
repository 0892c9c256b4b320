import math

import pytest
import torch
from torch import nn

from pairlens import losses as ls
from pairlens.losses.protocols import centers_of, possible_sources
from pairlens.training.criterion import Criterion
from pairlens.training.gradient_cosine import gradient_cosine, watch_input
from pairlens.training.references import Proxies

LOSSES = (ls.Circle(), ls.Triplet(), ls.MultiSimilarity(), ls.SmoothAP(), ls.ProxyAnchor(), ls.SoftTriple(centers=2))


class Model(nn.Module):
    """A shared part and two heads."""

    def __init__(self):
        super().__init__()
        self.backbone, self.embed, self.classify = nn.Linear(6, 8), nn.Linear(8, 4), nn.Linear(8, 3)

    def forward(self, x):
        features = self.backbone(x).tanh()
        return features, self.embed(features), self.classify(features)


@pytest.fixture
def scene():
    torch.manual_seed(1)
    return Model().double(), torch.randn(12, 6, dtype=torch.float64), torch.arange(12) % 3


def criterion_of(loss):
    proxies = possible_sources(loss)[0] == "proxies"
    return Criterion(loss, Proxies(3, 4, centers_of(loss)) if proxies else None).double()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_it_is_the_cosine_of_two_separate_backward_passes(scene, loss):
    model, x, labels = scene
    criterion = criterion_of(loss)
    flat = []
    for which in range(2):
        features, embeddings, logits = model(x)
        features.retain_grad()
        one = criterion(embeddings, labels) if which == 0 else nn.functional.cross_entropy(logits, labels)
        one.backward()
        flat.append(features.grad.flatten().tolist())
    dot = sum(a * b for a, b in zip(*flat, strict=True))
    expected = dot / math.sqrt(sum(a * a for a in flat[0]) * sum(b * b for b in flat[1]))
    features, embeddings, logits = model(x)
    found = gradient_cosine(criterion(embeddings, labels), nn.functional.cross_entropy(logits, labels), features)
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_measuring_the_cosine_does_not_change_the_step(scene, loss):
    model, x, labels = scene
    criterion, found = criterion_of(loss), []
    for probe in (False, True):
        model.zero_grad()
        features, embeddings, logits = model(x)
        ranking, auxiliary = criterion(embeddings, labels), nn.functional.cross_entropy(logits, labels)
        if probe:
            gradient_cosine(ranking, auxiliary, features)
        (ranking + auxiliary).backward()
        found.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_losses_without_common_features_have_no_cosine():
    x = torch.ones(3, requires_grad=True)
    still = x.detach()
    assert math.isnan(gradient_cosine(x.sum(), x.sum(), still))
    assert math.isnan(gradient_cosine(x.sum(), (still * 2).sum(), x))
    y = x * 2
    assert math.isnan(gradient_cosine(y.sum(), x.sum(), y))
    assert math.isnan(gradient_cosine((y * 0).sum(), y.sum(), y))
    assert gradient_cosine(y.sum(), -y.sum(), y) == pytest.approx(-1)


def test_the_hook_is_removed_at_the_end_of_the_context():
    layer = nn.Linear(2, 2)
    with watch_input(layer) as seen:
        layer(torch.zeros(1, 2))
        layer(torch.ones(1, 2))
    layer(torch.zeros(1, 2))
    assert [x.sum() for x in seen] == [2]
