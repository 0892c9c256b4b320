"""Plain loops of the proxy losses, as functions of (photo, proxy) similarities and the labels of the photos."""

import math

import torch

from support.naive import mean
from support.naive.pairwise import log_sum


def each_photo(s, labels, of_one):
    """Return the mean over photos of of_one(similarity to the proxy of its class, similarities to the others)."""
    if s.shape[1] < 2:
        return mean([])
    return mean([of_one(s[x, y], [s[x, z] for z in range(s.shape[1]) if z != y]) for x, y in enumerate(labels)])


def cross_entropy(own, others, target, scale):
    return log_sum([scale * target, *(scale * z for z in others)]) - scale * target


def p2s_grad(s, labels):
    return each_photo(s, labels, lambda y, zs: (1 - y) ** 2 / 2 + sum(z**2 for z in zs) / 2)


def proxy_nca(s, labels, scale):
    slope = scale**2
    return each_photo(s, labels, lambda y, zs: slope * (2 - 2 * y) + log_sum([-slope * (2 - 2 * z) for z in zs]))


def proxy_nca_plus(s, labels, temperature):
    def of_one(y, zs):
        logits = [-(2 - 2 * v) / temperature for v in [y, *zs]]
        return log_sum(logits) - logits[0]

    return each_photo(s, labels, of_one)


def proxy_anchor(s, labels, alpha, delta):
    pulls, pushes = [], []
    for proxy in range(s.shape[1]):
        own = [s[x, proxy] for x, y in enumerate(labels) if y == proxy]
        others = [s[x, proxy] for x, y in enumerate(labels) if y != proxy]
        if own:
            pulls.append(torch.log(1 + sum(torch.exp(-alpha * (v - delta)) for v in own)))
        pushes.append(torch.log(1 + sum(torch.exp(alpha * (v + delta)) for v in others)) if others else torch.zeros(()))
    return mean(pulls) + mean(pushes)


def norm_softmax(s, labels, temperature):
    return each_photo(s, labels, lambda y, zs: cross_entropy(y, zs, y, 1 / temperature))


def cos_face(s, labels, scale, margin):
    return each_photo(s, labels, lambda y, zs: cross_entropy(y, zs, y - margin, scale))


def arc_face(s, labels, scale, margin):
    def target(y):
        theta = torch.acos(y)
        return torch.cos(theta + margin) if theta + margin < math.pi else y - margin * math.sin(margin)

    return each_photo(s, labels, lambda y, zs: cross_entropy(y, zs, target(y), scale))


def sphere_face(s, labels, scale, margin):
    def target(y):
        theta = torch.acos(y)
        k = math.floor(margin * float(theta.detach()) / math.pi)
        return (-1) ** k * torch.cos(margin * theta) - 2 * k

    return each_photo(s, labels, lambda y, zs: cross_entropy(y, zs, target(y), scale))


def sub_center_arc_face(s, labels, centers, scale, margin):
    columns = [[s[:, c * centers + k] for k in range(centers)] for c in range(s.shape[1] // centers)]
    nearest = torch.stack([torch.stack(group).max(dim=0).values for group in columns], dim=1)
    return arc_face(nearest, labels, scale, margin)
