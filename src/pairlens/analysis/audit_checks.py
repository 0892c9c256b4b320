"""The checks of an audit: each takes a loss as a function of (embeddings, labels) and returns a finding."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from pairlens.analysis.operation_count import count_operations
from pairlens.core.pairs import Pairs
from pairlens.core.similarity import unit

BatchLoss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
Verdict: TypeAlias = Literal["pass", "note", "fail"]

CLASSES, PER_CLASS, DIM = 16, 4, 128
NOISES = (0.5, 1.0, 1.5)
# A batch grows by more classes, as PK sampling makes it grow; the number of positives of an anchor stays the same.
GROWTH_CLASSES = (8, 16)
GROWTH_PER_CLASS = 8
# Between the square, which every loss of pairs has, and the third power of all triplets of a batch.
MAX_GROWTH = 2.6
# Below these values a norm counts as zero, so that nothing is divided by zero.
TINY, SMALL = 1e-30, 1e-12


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: its name.
        verdict: pass, fail, or note for a property that is neither right nor wrong.
        evidence: the numbers behind the verdict.
    """

    check: str
    verdict: Verdict
    evidence: str


def noisy_batch(
    noise: float, classes: int = CLASSES, per_class: int = PER_CLASS, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return unit embeddings around class centres that share a direction, in float64, and their labels."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(per_class)
    counts = (1, classes, classes * per_class)
    shared, centres, spread = (torch.randn(n, DIM, generator=rng, dtype=torch.float64) for n in counts)
    # (1, dim) + (photo, dim) + (photo, dim): without the shared direction all negatives would be easy.
    return unit(shared + centres[labels] + noise * spread), labels


def gradient_of(loss: BatchLoss, embeddings: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """Return value and gradient of a loss of embeddings; zeros if the value does not depend on the embeddings."""
    points = embeddings.detach().clone().requires_grad_()
    value = loss(points, labels)
    if not value.requires_grad:
        return float(value), torch.zeros_like(points)
    (gradient,) = torch.autograd.grad(value, points, allow_unused=True)
    return float(value.detach()), torch.zeros_like(points) if gradient is None else gradient


def pair_gradient_of(loss: BatchLoss, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, float]:
    """Return dL/ds of every pair of a loss of embeddings, and the share of its gradient that no pair explains.

    If L depends on the inner products alone, dL/dE = M E with M[i, j] = dL/ds_ij + dL/ds_ji. With more dimensions than
    photos, M is found by the pseudo-inverse of E. What remains of the gradient comes from something else than the pairs
    of the batch, such as proxies.

    >>> embeddings, labels = noisy_batch(0.5)
    >>> gradient, rest = pair_gradient_of(lambda e, y: (e @ e.T)[0, 1] * 2, embeddings, labels)
    >>> round(float(gradient[0, 1]), 6), round(rest, 6)
    (2.0, 0.0)
    """
    _, gradient = gradient_of(loss, embeddings, labels)
    of_pairs = gradient @ torch.linalg.pinv(embeddings)  # (photo, photo)
    unexplained = (of_pairs @ embeddings - gradient).norm()
    return (of_pairs + of_pairs.T) / 2, float(unexplained / gradient.norm().clamp(min=TINY))


def check_signs(loss: BatchLoss) -> Finding:
    """Check that positives are pulled together and negatives pushed apart."""
    shares, weights = [], []
    for noise in NOISES:
        embeddings, labels = noisy_batch(noise)
        gradient, unexplained = pair_gradient_of(loss, embeddings, labels)
        if unexplained > 1e-3:
            reason = f"{unexplained:.0%} of the gradient does not come from the pairs of the batch (proxies?)"
            return Finding("signs", "note", f"not tested: {reason}")
        pairs = Pairs.within(labels)
        # Rounding errors of the pseudo-inverse have any sign.
        threshold = 1e-6 * float(gradient.abs().max())
        wrong_positive = pairs.positive & (gradient > threshold)
        wrong_negative = pairs.negative & (gradient < -threshold)
        shares.append(
            f"{wrong_positive.sum() / pairs.positive.sum():.1%} and {wrong_negative.sum() / pairs.negative.sum():.1%}"
        )
        weight = gradient.abs() * (pairs.positive | pairs.negative)
        wrong_weight = (weight * (wrong_positive | wrong_negative)).sum()
        weights.append(float(wrong_weight / weight.sum().clamp(min=TINY)))
    worst = max(weights)
    evidence = (
        f"positives pushed apart and negatives pulled together at noise {NOISES}: {', '.join(shares)}; {worst:.1%} of the "
        "weight"
    )
    return Finding("signs", _graded(worst < 1e-4, worst < 0.1), evidence)


def _graded(passes: bool, acceptable: bool) -> Verdict:
    if passes:
        return "pass"
    return "note" if acceptable else "fail"


def check_free_embeddings(loss: BatchLoss, parameters: Sequence[Tensor]) -> Finding:
    """Check that gradient descent on the embeddings themselves separates the classes and does not collapse."""
    labels = torch.arange(8).repeat_interleave(4)
    points = torch.randn(32, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.Adam([points, *parameters], lr=0.05)
    recall_before = _recall_at_1(points, labels)
    for _ in range(300):
        value = loss(points, labels)
        if not value.requires_grad or not torch.isfinite(value):
            return Finding("free embeddings", "fail", f"the loss becomes {float(value)} during the descent")
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    recall = _recall_at_1(points, labels)
    similarity = _cosines(points)
    mean = float((similarity.sum() - len(points)) / (len(points) * (len(points) - 1)))
    evidence = f"R@1 {recall_before:.2f} -> {recall:.2f}, mean cosine of all pairs {mean:.2f}"
    if mean > 0.95:
        return Finding("free embeddings", "fail", evidence + ": they collapse")
    improved = recall >= recall_before
    return Finding("free embeddings", _graded(improved and recall > 0.99, improved), evidence)


def _cosines(points: Tensor) -> Tensor:
    return unit(points.detach()) @ unit(points.detach()).T


def _recall_at_1(points: Tensor, labels: Tensor) -> float:
    # -2 is below every cosine, so no photo is its own nearest neighbour.
    nearest = _cosines(points).fill_diagonal_(-2).argmax(dim=1)
    return float((labels[nearest] == labels).double().mean())


def check_constant_weights(loss: BatchLoss) -> Finding:
    """Compare the gradient with the slope of the value, to see whether a part of the value is held constant in it."""
    embeddings, labels = noisy_batch(1.0)
    rng = torch.Generator().manual_seed(1)
    direction = torch.randn(embeddings.shape, generator=rng, dtype=torch.float64)
    _, gradient = gradient_of(loss, embeddings, labels)
    step = 1e-5
    above, _ = gradient_of(loss, embeddings + step * direction, labels)
    below, _ = gradient_of(loss, embeddings - step * direction, labels)
    slope = (above - below) / (2 * step)
    claimed = float((gradient * direction).sum())
    evidence = f"slope of the value {slope:.4g}, of the gradient {claimed:.4g}"
    if abs(slope - claimed) >= 1e-3 * max(abs(slope), abs(claimed), 1e-9):
        evidence += ": a part of the value is held constant"
    return Finding("constant weights", "note", evidence)


def check_separated_classes(loss: BatchLoss, with_proxies: bool) -> Finding:
    """Check that loss and gradient are small where every class is almost a point and the classes are far apart."""
    embeddings, labels = noisy_batch(1.5)
    value, gradient = gradient_of(loss, embeddings, labels)
    # (photo, dim): a basis vector per class, and a little noise, since equal points have no direction to each other.
    separated = unit(torch.eye(DIM, dtype=torch.float64)[labels] + 1e-4 * embeddings)
    best_value, best_gradient = gradient_of(loss, separated, labels)
    before = float(gradient.norm())
    after = float(best_gradient.norm())
    evidence = f"loss {value:.4g} -> {best_value:.4g}, length of its gradient {before:.3g} -> {after:.3g}"
    if with_proxies:
        return Finding("separated classes", "note", evidence + " (its proxies are not where the classes are)")
    is_satisfied = after < 0.01 * before or best_value < 0.05 * value
    return Finding("separated classes", _graded(is_satisfied and best_value < value, best_value < value), evidence)


def check_easy_negative(loss: BatchLoss) -> Finding:
    """Check that one more photo, of another class and on the other side of the sphere, hardly changes the loss."""
    embeddings, labels = noisy_batch(0.5)
    opposite = unit(-embeddings.mean(dim=0, keepdim=True))
    # The new photo takes the label of a class that is removed, because a loss with proxies knows 16 labels only.
    remaining = labels != CLASSES - 1
    few, few_labels = embeddings[remaining], labels[remaining]
    without, _ = gradient_of(loss, few, few_labels)
    together_labels = torch.cat([few_labels, torch.tensor([CLASSES - 1])])
    together, _ = gradient_of(loss, torch.cat([few, opposite]), together_labels)
    change = abs(together - without) / max(abs(without), SMALL)
    evidence = f"an additional, easy negative changes the loss by {change:.1%}"
    return Finding("pairs that should not matter", "pass" if change < 0.05 else "note", evidence)


def check_invariance(loss: BatchLoss, with_proxies: bool) -> list[Finding]:
    """Check whether scale, rotation and the order of the batch change the value."""
    embeddings, labels = noisy_batch(1.0)
    value, _ = gradient_of(loss, embeddings, labels)
    rng = torch.Generator().manual_seed(2)
    rotation, _ = torch.linalg.qr(torch.randn(DIM, DIM, generator=rng, dtype=torch.float64))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))
    changed_values = {
        "scale": gradient_of(loss, 3 * embeddings, labels)[0],
        "rotation": gradient_of(loss, embeddings @ rotation, labels)[0],
        "order": gradient_of(loss, embeddings[order], labels[order])[0],
    }
    findings = []
    for name, changed in changed_values.items():
        change = abs(changed - value) / max(abs(value), SMALL)
        # A loss may use the length of embeddings, and proxies do not turn with the embeddings.
        is_harmless = name == "scale" or (name == "rotation" and with_proxies)
        evidence = f"the value changes by {change:.2g} of itself"
        findings.append(Finding(f"invariance to {name}", _graded(change < 1e-4, is_harmless), evidence))
    return findings


def check_reduction(loss: BatchLoss) -> Finding:
    """Compare the value with that of the batch and a copy at right angles: more anchors, but only easy negatives more."""
    for noise in NOISES:
        small, large = _values_with_copy(loss, noise)
        # A loss with a margin is 0 where the classes are far apart; the next batch has more noise.
        if small and math.isfinite(small):
            ratio = large / small
            evidence = f"with a copy of the batch beside it {ratio:.2f} times the value: {_kind_of_reduction(ratio)}"
            return Finding("reduction", "note", evidence)
    return Finding("reduction", "note", f"not measurable: the loss is 0 or not finite on the batches of noise {NOISES}")


def _values_with_copy(loss: BatchLoss, noise: float) -> tuple[float, float]:
    """Return the loss of a batch, and of the batch together with its copy in the other half of the dimensions."""
    embeddings, labels = noisy_batch(noise, CLASSES // 2)
    half = unit(embeddings[:, : DIM // 2])
    zeros = torch.zeros_like(half)
    batch = torch.cat([half, zeros], dim=1)
    copy = torch.cat([zeros, half], dim=1)
    alone, _ = gradient_of(loss, batch, labels)
    with_copy, _ = gradient_of(loss, torch.cat([batch, copy]), torch.cat([labels, labels + CLASSES // 2]))
    return alone, with_copy


def _kind_of_reduction(ratio: float) -> str:
    if 0.7 < ratio < 1.4:
        return "a mean"
    return "a sum" if 1.6 < ratio < 2.5 else "neither a mean nor a sum over anchors"


def degenerate_batches() -> dict[str, tuple[Tensor, Tensor]]:
    """Return batches in which pairs are missing or photos are equal, by what is special about them."""
    points = noisy_batch(1.0)[0][:6]
    twos = torch.tensor([0, 0, 1, 1, 2, 2])
    with_zero = points.clone()
    with_zero[0] = 0
    return {
        "no positives": (points, torch.arange(6)),
        "one class": (points, torch.zeros(6, dtype=torch.long)),
        "a class of one": (points[:3], torch.tensor([0, 0, 1])),
        "duplicated photos": (points[[0, 0, 1, 1, 2, 2]], twos),
        "all embeddings equal": (torch.ones_like(points), twos),
        "a zero vector": (with_zero, twos),
    }


def check_degenerate_batches(loss: BatchLoss) -> Finding:
    """Check that value and gradient are finite in degenerate batches."""
    faults = []
    for name, (points, labels) in degenerate_batches().items():
        try:
            value, gradient = gradient_of(loss, points, labels)
        except Exception as error:
            # A third-party loss may raise anything, and that it raises is the finding.
            faults.append(f"{name}: {type(error).__name__}")
            continue
        if not (math.isfinite(value) and bool(torch.isfinite(gradient).all())):
            faults.append(f"{name}: not finite")
    return Finding("degenerate batches", "fail" if faults else "pass", "; ".join(faults) or "all finite")


def check_precision(loss: BatchLoss) -> Finding:
    """Check that the gradient in float32 agrees with float64, and that it is finite in half precision."""
    embeddings, labels = noisy_batch(1.0)
    _, exact = gradient_of(loss, embeddings, labels)
    texts, passes = [], True
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        name = str(dtype).removeprefix("torch.")
        try:
            value, gradient = gradient_of(loss, embeddings.to(dtype), labels)
        except Exception as error:
            # A third-party loss may raise anything, and that it raises is the finding.
            texts.append(f"{name}: {type(error).__name__}")
            passes = False
            continue
        if not (math.isfinite(value) and bool(torch.isfinite(gradient).all())):
            texts.append(f"{name} not finite")
            passes = False
            continue
        cosine = float(F.cosine_similarity(exact.flatten(), gradient.double().flatten(), dim=0))
        texts.append(f"{name} {cosine:.6f}")
        # Half precision rounds too much for a limit that would mean something.
        passes &= dtype != torch.float32 or cosine > 0.9999
    return Finding("precision", "pass" if passes else "fail", "cosine to the float64 gradient: " + ", ".join(texts))


def check_growth(loss: BatchLoss) -> Finding:
    """Check how computation, and memory kept for the backward pass, grow with the batch; both are counted, not measured."""
    counts = []
    for classes in GROWTH_CLASSES:
        embeddings, labels = noisy_batch(1.0, classes, GROWTH_PER_CLASS)
        points = embeddings.float().requires_grad_()
        counts.append(count_operations(partial(loss, points, labels)))
    small, large = counts
    factor = math.log(GROWTH_CLASSES[1] / GROWTH_CLASSES[0])
    computed = math.log(large.computed / small.computed) / factor
    saved = math.log(max(large.saved, 1) / max(small.saved, 1)) / factor
    first, last = (classes * GROWTH_PER_CLASS for classes in GROWTH_CLASSES)
    evidence = f"from {first} to {last} photos computation grows as B^{computed:.1f}, memory as B^{saved:.1f}"
    return Finding("growth", "fail" if max(computed, saved) > MAX_GROWTH else "pass", evidence)
