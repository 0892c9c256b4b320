"""Checks that every loss must pass: against its plain-loop twin, and of its pair weights against autograd."""

import torch

from pairlens.core.pairs import Pairs
from pairlens.losses.base import Side, anchor_losses


def unit_points(count, dim=4, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, dim, dtype=torch.float64, generator=rng), dim=1)


def check_against_twin(loss, twin, labels, dim=4, seed=0):
    """Check value (1e-10) and gradient by the embeddings (1e-8) of a loss of a batch against twin(similarity)."""
    pairs = Pairs.within(torch.tensor(labels))
    embeddings = unit_points(len(labels), dim, seed)
    results = [_batch_result(measure, embeddings) for measure in (lambda s: loss(s, pairs), twin)]
    _check_equal(*results)


def check_against_twin_on_proxies(loss, twin, labels, classes, dim=4, seed=0):
    """Check as `check_against_twin` does, against proxies of `classes` classes, including the proxies' gradients."""
    pairs = Pairs.between(torch.tensor(labels), torch.arange(classes))
    embeddings = unit_points(len(labels), dim, seed)
    proxies = unit_points(classes, dim, seed + 1)
    results = [_proxy_result(measure, embeddings, proxies) for measure in (lambda s: loss(s, pairs), twin)]
    _check_equal(*results)


def _batch_result(measure, embeddings):
    leaf = embeddings.clone().requires_grad_()
    value = measure(leaf @ leaf.T)
    return torch.as_tensor(value).detach(), gradient_of(value, leaf)


def _proxy_result(measure, embeddings, proxies):
    leaves = embeddings.clone().requires_grad_(), proxies.clone().requires_grad_()
    value = measure(leaves[0] @ leaves[1].T)
    return torch.as_tensor(value).detach(), torch.cat([gradient_of(value, leaf) for leaf in leaves])


def _check_equal(result, expected):
    value, gradient = result
    expected_value, expected_gradient = expected
    assert abs(value - expected_value) < 1e-10 * max(1, abs(expected_value))
    assert torch.allclose(gradient, expected_gradient, atol=1e-8, rtol=1e-8)


def gradient_of(value, points):
    if not value.requires_grad:
        return torch.zeros_like(points)
    (gradient,) = torch.autograd.grad(value, points, retain_graph=True, allow_unused=True)
    return torch.zeros_like(points) if gradient is None else gradient


def check_pair_weights(weigh, similarity, pairs, atol=1e-9):
    """Check the closed-form pair weights against autograd, on whole rows and on gathered positives."""
    counted = pairs.complete
    whole = similarity.detach().clone().requires_grad_()
    value = weigh(Side(whole, pairs.positive), Side(whole, pairs.negative)).value.squeeze(1)
    (expected,) = torch.autograd.grad(value[counted].sum(), whole)
    gathered = similarity.detach().clone().requires_grad_()
    losses = anchor_losses(weigh, gathered, pairs)
    (gradient,) = torch.autograd.grad(losses[counted].sum(), gathered)
    assert torch.allclose(losses[counted], value[counted], atol=1e-12)
    assert torch.allclose(gradient, expected, atol=atol)
