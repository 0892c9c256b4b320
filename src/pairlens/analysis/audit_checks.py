"""What an audit tries on a loss: each check takes a function of (embeddings, labels) and returns a finding."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from pairlens.core.pairs import Pairs
from pairlens.core.similarity import unit

BatchLoss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
Verdict: TypeAlias = Literal["pass", "note", "fail"]

CLASSES, PER_CLASS, DIM = 16, 4, 128
NOISES = (0.5, 1.0, 1.5)
SIZES = (64, 128, 256)


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: its name.
        verdict: pass, fail, or a note: a property to know of, neither right nor wrong.
        evidence: the numbers.
    """

    check: str
    verdict: Verdict
    evidence: str


def noisy_batch(
    noise: float, classes: int = CLASSES, per_class: int = PER_CLASS, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return unit embeddings around class centres that share a direction, in float64, and their labels."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(per_class)
    shared, centres, spread = (
        torch.randn(n, DIM, generator=draw, dtype=torch.float64) for n in (1, classes, classes * per_class)
    )
    return unit(shared + centres[labels] + noise * spread), labels


def gradient_of(measure: BatchLoss, embeddings: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """Return value and gradient of a loss of embeddings; a gradient of zeros if it has none."""
    points = embeddings.detach().clone().requires_grad_()
    value = measure(points, labels)
    if not value.requires_grad:
        return float(value), torch.zeros_like(points)
    (gradient,) = torch.autograd.grad(value, points, allow_unused=True)
    return float(value.detach()), torch.zeros_like(points) if gradient is None else gradient


def pair_gradient_of(measure: BatchLoss, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, float]:
    """Return dL/ds of every pair of a loss of embeddings, and how much of its gradient is no function of pairs.

    If L depends on the inner products alone, dL/dE = M E with M[i, j] = dL/ds_ij + dL/ds_ji. With more dimensions than
    photos M is found by the pseudo-inverse, and what remains is the part that is none of the batch's pairs: proxies.

    >>> embeddings, labels = noisy_batch(0.5)
    >>> gradient, rest = pair_gradient_of(lambda e, y: (e @ e.T)[0, 1] * 2, embeddings, labels)
    >>> round(float(gradient[0, 1]), 6), round(rest, 6)
    (2.0, 0.0)
    """
    _, gradient = gradient_of(measure, embeddings, labels)
    both = gradient @ torch.linalg.pinv(embeddings)
    rest = float((both @ embeddings - gradient).norm() / gradient.norm().clamp(min=1e-30))
    return (both + both.T) / 2, rest


def check_signs(measure: BatchLoss) -> Finding:
    """Are positives pulled in and negatives pushed away?"""
    wrong_p, wrong_n, weights = [], [], []
    for noise in NOISES:
        embeddings, labels = noisy_batch(noise)
        gradient, rest = pair_gradient_of(measure, embeddings, labels)
        if rest > 1e-3:
            return Finding(
                "signs", "note", f"no test: {rest:.0%} of the gradient is none of the batch's pairs (proxies?)"
            )
        pairs = Pairs.within(labels)
        tiny = 1e-6 * float(gradient.abs().max())
        bad = (pairs.positive & (gradient > tiny), pairs.negative & (gradient < -tiny))
        wrong_p.append(float(bad[0].sum() / pairs.positive.sum()))
        wrong_n.append(float(bad[1].sum() / pairs.negative.sum()))
        off = gradient.abs() * (pairs.positive | pairs.negative)
        weights.append(float((off * (bad[0] | bad[1])).sum() / off.sum().clamp(min=1e-30)))
    worst = max(weights)
    shown = ", ".join(f"{a:.1%} and {b:.1%}" for a, b in zip(wrong_p, wrong_n, strict=True))
    evidence = (
        f"positives pushed apart and negatives pulled together at noise {NOISES}: {shown}; {worst:.1%} of the weight"
    )
    return Finding("signs", "pass" if worst < 1e-4 else "note" if worst < 0.1 else "fail", evidence)


def check_free(measure: BatchLoss, parameters: Sequence[Tensor]) -> Finding:
    """Does the loss alone, with nothing else to learn, bring photos of a class together and others apart?"""
    labels = torch.arange(8).repeat_interleave(4)
    points = torch.randn(32, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.Adam([points, *parameters], lr=0.05)
    before = _recall(points, labels)
    for _ in range(300):
        loss = measure(points, labels)
        if not loss.requires_grad or not torch.isfinite(loss):
            return Finding("free embeddings", "fail", f"the loss becomes {float(loss)} on the way")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after, mean = _recall(points, labels), _mean_similarity(points)
    collapsed = mean > 0.95
    verdict: Verdict = "fail" if collapsed or after < before else "pass" if after > 0.99 else "note"
    evidence = f"R@1 {before:.2f} -> {after:.2f}, mean cosine of all pairs {mean:.2f}"
    return Finding("free embeddings", verdict, evidence + (": they collapse" if collapsed else ""))


def _recall(points: Tensor, labels: Tensor) -> float:
    s = unit(points.detach()) @ unit(points.detach()).T
    return float((labels[s.fill_diagonal_(-2).argmax(dim=1)] == labels).double().mean())


def _mean_similarity(points: Tensor) -> float:
    s = unit(points.detach()) @ unit(points.detach()).T
    return float((s.sum() - len(s)) / (len(s) * (len(s) - 1)))


def check_constants(measure: BatchLoss) -> Finding:
    """Is the gradient that of the value, or is a part of the value held constant in it?"""
    embeddings, labels = noisy_batch(1.0)
    draw = torch.randn(embeddings.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, gradient = gradient_of(measure, embeddings, labels)
    step = 1e-5
    values = [gradient_of(measure, embeddings + sign * step * draw, labels)[0] for sign in (1, -1)]
    true, claimed = (values[0] - values[1]) / (2 * step), float((gradient * draw).sum())
    same = abs(true - claimed) < 1e-3 * max(abs(true), abs(claimed), 1e-9)
    evidence = f"slope of the value {true:.4g}, of the gradient {claimed:.4g}"
    return Finding("constant weights", "note", evidence + ("" if same else ": a part of the value is held constant"))


def check_separated(measure: BatchLoss, with_proxies: bool) -> Finding:
    """Is the loss content where every class is one point and the classes are far apart?"""
    embeddings, labels = noisy_batch(1.5)
    value, gradient = gradient_of(measure, embeddings, labels)
    apart = torch.eye(DIM, dtype=torch.float64)[labels] + 1e-4 * embeddings
    best, rest = gradient_of(measure, unit(apart), labels)
    before, after = float(gradient.norm()), float(rest.norm())
    evidence = f"loss {value:.4g} -> {best:.4g}, length of its gradient {before:.3g} -> {after:.3g}"
    if with_proxies:
        return Finding("separated classes", "note", evidence + " (its proxies are not where the classes are)")
    calm = after < 0.01 * before or best < 0.05 * value
    return Finding("separated classes", "fail" if best >= value else "pass" if calm else "note", evidence)


def check_label_names(measure: BatchLoss) -> Finding:
    """Does a photo of no class of the batch, on the other side of the sphere, leave the loss as it is?"""
    embeddings, labels = noisy_batch(0.5)
    stranger = unit(-embeddings.mean(dim=0, keepdim=True))
    # Its label is within the classes: a photo of a class that the batch otherwise has not.
    kept = labels != CLASSES - 1
    few, few_labels = embeddings[kept], labels[kept]
    alone, _ = gradient_of(measure, few, few_labels)
    more = torch.cat([few_labels, torch.tensor([CLASSES - 1])])
    together, _ = gradient_of(measure, torch.cat([few, stranger]), more)
    change = abs(together - alone) / max(abs(alone), 1e-12)
    verdict: Verdict = "pass" if change < 0.05 else "note"
    return Finding("pairs that should not matter", verdict, f"an easy stranger changes the loss by {change:.1%}")


def check_invariance(measure: BatchLoss, with_proxies: bool) -> list[Finding]:
    """Do scale, rotation and the order of the batch matter?"""
    embeddings, labels = noisy_batch(1.0)
    value, _ = gradient_of(measure, embeddings, labels)
    turn = torch.linalg.qr(torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(2), dtype=torch.float64))[0]
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))
    changed = {
        "scale": gradient_of(measure, 3 * embeddings, labels)[0],
        "rotation": gradient_of(measure, embeddings @ turn, labels)[0],
        "order": gradient_of(measure, embeddings[order], labels[order])[0],
    }
    findings = []
    for name, other in changed.items():
        change = abs(other - value) / max(abs(value), 1e-12)
        harmless = name == "scale" or (name == "rotation" and with_proxies)
        verdict: Verdict = "pass" if change < 1e-4 else "note" if harmless else "fail"
        findings.append(Finding(f"invariance to {name}", verdict, f"the value changes by {change:.2g} of itself"))
    return findings


def check_reduction(measure: BatchLoss) -> Finding:
    """Is it a mean or a sum over the batch? A second copy at right angles adds anchors, and only easy negatives."""
    half, labels = noisy_batch(0.5, CLASSES // 2)
    half = unit(half[:, : DIM // 2])
    apart = torch.zeros_like(half)
    one = torch.cat([half, apart], dim=1)
    both = torch.cat([one, torch.cat([apart, half], dim=1)])
    small = gradient_of(measure, one, labels)[0]
    large = gradient_of(measure, both, torch.cat([labels, labels + CLASSES // 2]))[0]
    ratio = large / small if small else math.nan
    kind = "a mean" if 0.7 < ratio < 1.4 else "a sum" if 1.6 < ratio < 2.5 else "neither a mean nor a sum over anchors"
    return Finding("reduction", "note", f"with a copy of the batch beside it {ratio:.2f} times the value: {kind}")


def degenerate_batches() -> dict[str, tuple[Tensor, Tensor]]:
    """Return batches in which something is missing or too much."""
    points = noisy_batch(1.0)[0][:6]
    twos = torch.tensor([0, 0, 1, 1, 2, 2])
    zero = points.clone()
    zero[0] = 0
    return {
        "no positives": (points, torch.arange(6)),
        "one class": (points, torch.zeros(6, dtype=torch.long)),
        "a class of one": (points[:3], torch.tensor([0, 0, 1])),
        "duplicated photos": (points[[0, 0, 1, 1, 2, 2]], twos),
        "all embeddings equal": (torch.ones_like(points), twos),
        "a zero vector": (zero, twos),
    }


def check_degenerate(measure: BatchLoss) -> Finding:
    """Are value and gradient finite in degenerate batches?"""
    bad = []
    for name, (points, labels) in degenerate_batches().items():
        try:
            value, gradient = gradient_of(measure, points, labels)
        except Exception as error:
            # Whatever a stranger's code raises is its answer.
            bad.append(f"{name}: {type(error).__name__}")
            continue
        if not (math.isfinite(value) and bool(torch.isfinite(gradient).all())):
            bad.append(f"{name}: not finite")
    return Finding("degenerate batches", "fail" if bad else "pass", "; ".join(bad) or "all finite")


def check_precision(measure: BatchLoss) -> Finding:
    """Is the gradient in float32 that of float64, and is it finite in half precision?"""
    embeddings, labels = noisy_batch(1.0)
    _, exact = gradient_of(measure, embeddings, labels)
    said = []
    fine = True
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        name = str(dtype).removeprefix("torch.")
        try:
            value, rounded = gradient_of(measure, embeddings.to(dtype), labels)
        except Exception as error:
            said.append(f"{name}: {type(error).__name__}")
            fine = False
            continue
        finite = math.isfinite(value) and bool(torch.isfinite(rounded).all())
        cosine = float(F.cosine_similarity(exact.flatten(), rounded.double().flatten(), dim=0)) if finite else math.nan
        fine &= finite and (dtype != torch.float32 or cosine > 0.9999)
        said.append(f"{name} {cosine:.6f}" if finite else f"{name} not finite")
    return Finding("precision", "pass" if fine else "fail", "cosine to the float64 gradient: " + ", ".join(said))


def check_growth(measure: BatchLoss) -> Finding:
    """How do time and the memory kept for the backward pass grow with the batch?"""
    seconds, kept = [], []
    for size in SIZES:
        embeddings, labels = noisy_batch(1.0, CLASSES, size // CLASSES)
        points = embeddings.float().requires_grad_()
        held: dict[int, int] = {}

        def remember(tensor: Tensor, held: dict[int, int] = held) -> Tensor:
            held[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
            measure(points, labels).backward()
        start = time.perf_counter()
        for _ in range(3):
            measure(points, labels).backward()
        seconds.append((time.perf_counter() - start) / 3)
        kept.append(max(sum(held.values()), 1))
    slopes = [math.log(x[-1] / x[0]) / math.log(SIZES[-1] / SIZES[0]) for x in (seconds, kept)]
    evidence = f"from {SIZES[0]} to {SIZES[-1]} photos time grows as B^{slopes[0]:.1f}, memory as B^{slopes[1]:.1f}"
    return Finding("growth", "fail" if max(slopes) > 2.6 else "pass", evidence)
