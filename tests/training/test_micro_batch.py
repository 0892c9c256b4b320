import pytest
import torch
from torch import nn

from pairlens.losses import Circle, SoftTriple
from pairlens.model.embedder import Embedder
from pairlens.training.fit import Epoch, fit
from pairlens.training.learner import Learner, Objective
from pairlens.training.optimizers import OptimizerConfig, make_optimizer, make_schedule
from pairlens.training.training_step import training_step
from support.loss_cases import CASES, CLASSES, DIM, criterion

PHOTOS, LABELS = 16, torch.arange(16) % 4


class Trunk(nn.Module):
    """A small backbone that replaces one of timm."""

    channels = 6

    def __init__(self, dropout):
        super().__init__()
        self.conv, self.dropout = nn.Conv2d(3, 6, 3, stride=2), nn.Dropout2d(dropout)

    def forward(self, photos):
        return self.dropout(self.conv(photos).tanh())


def learner(loss, source, micro_batch, dropout=0.0, epochs=5):
    made = criterion(loss, source)
    torch.manual_seed(0)
    model = Embedder(
        backbone="test_resnet", descriptors="SG", dim=DIM, classes=CLASSES, weights="none", stride="none", image_size=32
    )
    model.backbone = Trunk(dropout)
    model.projections = nn.ModuleList(nn.Linear(6, DIM // 2, bias=False) for _ in range(2))
    model.head = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, CLASSES))
    model.micro_batch = micro_batch
    optimizer = make_optimizer(
        model, made, OptimizerConfig(learning_rate=1e-3, proxy_learning_rate=1e-2, weight_decay=0.0)
    )
    return Learner(model, made, optimizer, make_schedule(optimizer, epochs))


def in_float64(made):
    made.model.double()
    made.criterion.double()
    return made


def gradients(made, photos, probe=False):
    made.model.train()
    learned = training_step(made, Objective(precision="float32"), photos, LABELS, probe=probe)
    parameters = [*made.model.named_parameters(), *made.criterion.named_parameters()]
    return learned, {name: p.grad for name, p in parameters}


def length(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors]).norm()


@pytest.mark.parametrize(("loss", "source"), CASES, ids=str)
def test_the_gradient_is_that_of_the_whole_batch_at_once(loss, source):
    # In float64: feature maps of 5 photos are rounded differently from those of 16, and the histogram loss amplifies that so
    # far that in float32 the processor would decide whether the gradients agree.
    photos = torch.randn(PHOTOS, 3, 9, 9, dtype=torch.float64)
    whole, chunked = (in_float64(learner(loss, source, micro_batch)) for micro_batch in (0, 5))
    (one, expected), (two, found) = gradients(whole, photos), gradients(chunked, photos)
    assert torch.allclose(one.sums, two.sums, rtol=1e-12)
    assert found.keys() == expected.keys()
    assert None not in expected.values()
    assert all(gradient.dtype == torch.float64 for gradient in found.values())
    error = {name: found[name] - gradient for name, gradient in expected.items()}
    assert length(error.values()) <= 1e-12 * length(expected.values())
    assert all(error[name].norm() <= 1e-12 * gradient.norm() + 1e-14 for name, gradient in expected.items())
    if source == "memory":
        memory = chunked.criterion.references
        assert (memory.seen, memory.filled) == (1, PHOTOS)
        assert torch.allclose(memory.vectors, whole.criterion.references.vectors, atol=1e-6)


def test_dropout_in_micro_batches_equals_dropout_with_retained_graphs():
    photos = torch.randn(PHOTOS, 3, 9, 9)
    retained, chunked = (learner(Circle(), "batch", micro_batch, dropout=0.4) for micro_batch in (0, 5))
    describe = retained.model._describe
    retained.model._describe = lambda x: tuple(
        torch.cat(parts) for parts in zip(*(describe(chunk) for chunk in x.split(5)), strict=True)
    )
    found = []
    for made in (retained, chunked):
        torch.manual_seed(7)
        found.append(gradients(made, photos)[1])
        after = torch.rand(1)
    for name, gradient in found[0].items():
        assert (found[1][name] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-9, name
    # Recomputing the chunks in the backward pass must not advance the random state.
    torch.manual_seed(7)
    gradients(retained, photos)
    assert torch.equal(torch.rand(1), after)


class Photos:
    """Three batches of noise per epoch."""

    def __len__(self):
        return 3

    def epoch(self, number, start=0):
        rng = torch.Generator().manual_seed(number)
        batches = [(torch.rand(PHOTOS, 3, 9, 9, generator=rng), LABELS, torch.arange(PHOTOS)) for _ in range(3)]
        yield from batches[start:]


@pytest.mark.parametrize("objective", [{}, {"clip_value": 1e-2, "warm_up": 1}])
def test_three_steps_in_micro_batches_learn_the_same(objective):
    found = []
    for micro_batch in (0, 5):
        made = learner(SoftTriple(centers=2), "proxies", 0)
        made.model.backbone.network = nn.Identity()
        last = list(
            fit(made, Photos(), Objective(**{"precision": "float32", "micro_batch": micro_batch} | objective), 2)
        )[-1]
        assert isinstance(last, Epoch)
        found.append({**made.model.state_dict(), **made.criterion.state_dict()})
    # Adam divides by the magnitude of a gradient, which amplifies rounding where it is close to 0.
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-5) for name in found[0])


def test_the_gradient_cosine_is_that_of_the_last_micro_batch():
    photos = torch.randn(PHOTOS, 3, 9, 9)
    (whole, _), (chunked, _) = (gradients(learner(Circle(), "batch", n), photos, probe=True) for n in (0, 5))
    assert -1 <= chunked.cosine <= 1
    assert chunked.cosine != whole.cosine


def test_bfloat16_learns_in_micro_batches():
    made = learner(Circle(), "batch", 0)
    made.model.backbone.network = nn.Identity()
    objective = Objective(precision="bfloat16", micro_batch=4)
    assert all(torch.isfinite(torch.tensor(record.loss)) for record in fit(made, Photos(), objective, 1))
