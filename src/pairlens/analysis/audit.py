"""Audit of a loss: checks of its behaviour, a comparison with a reference, and the names of known mistakes."""

import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from pairlens.analysis import audit_checks
from pairlens.analysis.audit_checks import CLASSES, DIM, NOISES, BatchLoss, Finding, gradient_of, noisy_batch
from pairlens.analysis.circle_variants import KNOWN_CIRCLES, KnownCircle
from pairlens.core.random_numbers import own_random_numbers
from pairlens.core.threads import single_thread
from pairlens.losses import Circle
from pairlens.losses.loss_text import any_loss_from_text
from pairlens.losses.protocols import centers_of, is_embedding_loss, needs_criterion, possible_sources
from pairlens.training.criterion import Criterion
from pairlens.training.references import InBatch, Proxies

# Gradients with a higher cosine count as those of the same loss.
SAME_GRADIENT = 0.9995


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Attributes:
        name: the loss.
        findings: one per check.
        diagnosis: the known variant of circle loss that has the same gradient, if there is one.
    """

    name: str
    findings: tuple[Finding, ...]
    diagnosis: KnownCircle | None

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the checks that failed."""
        return tuple(finding.check for finding in self.findings if finding.verdict == "fail")


def as_batch_loss(loss: Any) -> BatchLoss:
    """Return a loss of Pairlens as a function of (embeddings, labels), with its own proxies if it needs them.

    Args:
        loss: a loss of `pairlens.losses`, or any function of (embeddings, labels), which is returned unchanged.
    """
    if not needs_criterion(loss):
        return loss
    with_proxies = possible_sources(loss)[0] == "proxies" and not is_embedding_loss(loss)
    # The proxies are random; with the same seed, two audits of one loss give the same numbers.
    with own_random_numbers(0):
        # The batches of the audit have these classes and dimensions.
        references = Proxies(CLASSES, DIM, centers_of(loss)) if with_proxies else InBatch()
        return Criterion(loss, references, classes=CLASSES)


def audit(loss: Any, name: str | None = None, against: Any = None) -> Audit:
    """Check a loss: its signs, where it leads, invariance, degenerate batches, precision, growth of its cost.

    The loss stays as it is, because a copy of it is checked, and so do the random numbers of the caller. A function is not
    copied: the checks call it as it is, with whatever it holds.

    Args:
        loss: a loss of `pairlens.losses`, any function of (embeddings, labels), which may be a module, or a text that
            names one of these, such as circle:gamma=64 or module:callable. A loss with proxies must have 16 classes and
            128 dimensions; the check with free embeddings, which have fewer dimensions, is left out for it.
        name: the name of the loss; by default the text, or the name of the function or of the class.
        against: another loss, given in the same way, whose value and gradient are compared.

    Raises:
        ValueError: if a text names no loss, or something is given that is not a loss or cannot be copied.

    >>> result = audit(Circle())
    >>> result.failed, result.diagnosis.name
    ((), 'circle loss as its paper defines it, per anchor')
    """
    checked_name = name or _name_of(loss)
    loss = _loss_of(loss)
    against = None if against is None else _loss_of(against)
    batch_loss = as_batch_loss(loss)
    parameters = list(batch_loss.parameters()) if isinstance(batch_loss, nn.Module) else []
    # A matrix of parameters with one side as long as an embedding consists of proxies.
    with_proxies = any(DIM in (p.shape[-1], p.shape[0]) for p in parameters if p.ndim > 1)
    checked = _in_precision_of_embeddings(batch_loss)
    # Degenerate batches make some losses warn, and third-party code may warn of anything.
    with warnings.catch_warnings(action="ignore"), single_thread(), own_random_numbers(0):
        findings = _run_checks(checked, parameters, with_proxies)
        if against is not None:
            reference = _in_precision_of_embeddings(as_batch_loss(against))
            findings.append(compare_with_reference(checked, reference))
        known = diagnose(checked, against or loss)
    if known is not None:
        findings.append(Finding("known as", "fail" if known.wrong else "pass", known.name))
    return Audit(checked_name, tuple(findings), known)


def _name_of(loss: Any) -> str:
    if isinstance(loss, str):
        return loss
    # A function is called by its own name; the class of every function is "function".
    return loss.__name__ if isinstance(loss, FunctionType) else type(loss).__name__


def _loss_of(loss: Any) -> Any:
    """Return a copy of a loss, which may be named by a text."""
    if isinstance(loss, str):
        loss = any_loss_from_text(loss)
    if isinstance(loss, type) or not (callable(loss) or needs_criterion(loss)):
        shown = loss.__name__ if isinstance(loss, type) else type(loss).__name__
        what = f"the class {shown}" if isinstance(loss, type) else f"a {shown}"
        raise ValueError(
            f"{what} is not a loss; give a loss such as pl.losses.Circle(), a function of (embeddings, labels), or a text "
            "such as 'circle:gamma=64'"
        )
    try:
        # The checks train the parameters of a loss and convert them to other precisions.
        return deepcopy(loss)
    except Exception as error:
        # A class from outside may copy itself in any way.
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ValueError(
            f"{_name_of(loss)} cannot be copied ({reason}), and its audit would change it; give one that was not used yet, "
            "or a function that makes one and calls it"
        ) from error


def _run_checks(loss: BatchLoss, parameters: Sequence[Tensor], with_proxies: bool) -> list[Finding]:
    not_free = Finding("free embeddings", "note", "not tested: its proxies have the dimension of the audit")
    checks: list[tuple[str, Callable[[], Finding | list[Finding]]]] = [
        ("signs", lambda: audit_checks.check_signs(loss)),
        (
            "free embeddings",
            lambda: not_free if with_proxies else audit_checks.check_free_embeddings(loss, parameters),
        ),
        ("constant weights", lambda: audit_checks.check_constant_weights(loss)),
        ("separated classes", lambda: audit_checks.check_separated_classes(loss, with_proxies)),
        ("pairs that should not matter", lambda: audit_checks.check_easy_negative(loss)),
        ("invariance", lambda: audit_checks.check_invariance(loss, with_proxies)),
        ("reduction", lambda: audit_checks.check_reduction(loss)),
        ("degenerate batches", lambda: audit_checks.check_degenerate_batches(loss)),
        ("precision", lambda: audit_checks.check_precision(loss)),
        ("growth", lambda: audit_checks.check_growth(loss)),
    ]
    findings: list[Finding] = []
    for name, check in checks:
        result = _attempt(name, check)
        findings.extend(result if isinstance(result, list) else [result])
    return findings


def _attempt(name: str, check: Callable[[], Finding | list[Finding]]) -> Finding | list[Finding]:
    try:
        return check()
    except Exception as error:
        # A third-party loss may raise anything, and that it raises is the finding.
        return Finding(name, "fail", f"it raises {type(error).__name__}: {' '.join(str(error).split())[:120]}")


def _in_precision_of_embeddings(loss: BatchLoss) -> BatchLoss:
    """Return a loss whose parameters are converted to the precision of the embeddings in every call."""
    if not isinstance(loss, nn.Module):
        return loss

    def converted(embeddings: Tensor, labels: Tensor) -> Tensor:
        # Parameters stay in float32 for half precision, as in training with autocast.
        loss.to(embeddings.dtype if embeddings.dtype == torch.float64 else torch.float32)
        return loss(embeddings, labels)

    return converted


def compare_with_reference(loss: BatchLoss, reference: BatchLoss) -> Finding:
    """Return value ratio and gradient cosine of a loss and a reference at three levels of noise."""
    texts, cosines = [], []
    for noise in NOISES:
        batch = noisy_batch(noise)
        value, gradient = gradient_of(loss, *batch)
        reference_value, reference_gradient = gradient_of(reference, *batch)
        cosines.append(_cosine(gradient, reference_gradient))
        ratio = value / reference_value if reference_value else float("nan")
        texts.append(f"{ratio:.4g} and {cosines[-1]:.4f}")
    return Finding(
        "against the reference",
        "pass" if min(cosines) > SAME_GRADIENT else "fail",
        f"value ratio and gradient cosine at noise {NOISES}: {', '.join(texts)}",
    )


def diagnose(batch_loss: BatchLoss, loss: Any = None) -> KnownCircle | None:
    """Return the known variant of circle loss that has the gradient of a loss; None if none has.

    Args:
        batch_loss: the loss.
        loss: a `Circle` whose margin and gamma the variants get; by default those of its paper.
    """
    circle = loss if isinstance(loss, Circle) else Circle()
    batches = [noisy_batch(noise) for noise in NOISES]
    gradients = [gradient_of(batch_loss, *batch)[1] for batch in batches]
    # The cosine of a gradient of zeros says nothing.
    if any(float(gradient.norm()) == 0 for gradient in gradients):
        return None
    closest, highest = None, SAME_GRADIENT
    for known in KNOWN_CIRCLES:

        def variant(embeddings: Tensor, labels: Tensor, known: KnownCircle = known) -> Tensor:
            return known.of(embeddings, labels, circle.margin, circle.gamma)

        known_gradients = [gradient_of(variant, *batch)[1] for batch in batches]
        cosine = min(_cosine(a, b) for a, b in zip(gradients, known_gradients, strict=True))
        if cosine > highest:
            closest, highest = known, cosine
    return closest


def _cosine(first: Tensor, second: Tensor) -> float:
    # F.cosine_similarity counts gradients below 1e-8 as zero, and a loss that is almost satisfied has such gradients.
    return float((first / first.norm().clamp(min=1e-300) * second / second.norm().clamp(min=1e-300)).sum())
