"""What every loss is held against: its plain-loop twin, and the gradient of its own value."""

import torch

from pairlens.core.pairs import Pairs
from pairlens.losses.base import Side, each_anchor


def unit_points(count, dim=4, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, dim, dtype=torch.float64, generator=draw), dim=1)


def hold_to_twin(loss, twin, labels, dim=4, seed=0):
    """The loss on a batch has the value (1e-10) and the gradient with respect to embeddings (1e-8) of twin(similarity)."""
    values, gradients = [], []
    for measure in (lambda s: loss(s, Pairs.within(torch.tensor(labels))), twin):
        points = unit_points(len(labels), dim, seed).requires_grad_()
        value = measure(points @ points.T)
        values.append(float(torch.as_tensor(value).detach()))
        gradients.append(gradient_of(value, points))
    assert abs(values[0] - values[1]) < 1e-10 * max(1, abs(values[1]))
    assert torch.allclose(*gradients, atol=1e-8, rtol=1e-8)


def hold_between(loss, twin, labels, classes, dim=4, seed=0):
    """As `hold_to_twin`, against proxies of `classes` classes; the gradients of the proxies are compared as well."""
    values, gradients = [], []
    for measure in (lambda s: loss(s, Pairs.between(torch.tensor(labels), torch.arange(classes))), twin):
        points = unit_points(len(labels), dim, seed).requires_grad_()
        proxies = unit_points(classes, dim, seed + 1).requires_grad_()
        value = measure(points @ proxies.T)
        values.append(float(torch.as_tensor(value).detach()))
        gradients.append(torch.cat([gradient_of(value, points), gradient_of(value, proxies)]))
    assert abs(values[0] - values[1]) < 1e-10 * max(1, abs(values[1]))
    assert torch.allclose(*gradients, atol=1e-8, rtol=1e-8)


def gradient_of(value, points):
    if not value.requires_grad:
        return torch.zeros_like(points)
    (gradient,) = torch.autograd.grad(value, points, retain_graph=True, allow_unused=True)
    return torch.zeros_like(points) if gradient is None else gradient


def hold_weights(weigh, similarity, pairs, atol=1e-9):
    """The closed-form pair weights are the gradient of the value, on whole sides and on gathered ones."""
    whole = similarity.detach().clone().requires_grad_()
    value = weigh(Side(whole, pairs.positive), Side(whole, pairs.negative)).value.squeeze(1)
    counted = pairs.complete
    (expected,) = torch.autograd.grad(value[counted].sum(), whole)
    gathered = similarity.detach().clone().requires_grad_()
    losses = each_anchor(weigh, gathered, pairs)
    (found,) = torch.autograd.grad(losses[counted].sum(), gathered)
    assert torch.allclose(losses[counted], value[counted], atol=1e-12)
    assert torch.allclose(found, expected, atol=atol)
