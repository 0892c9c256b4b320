"""Is a loss what it claims to be? A battery of checks, a comparison with a reference, and the names of known mistakes."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pairlens.analysis import audit_checks
from pairlens.analysis.audit_checks import CLASSES, DIM, NOISES, BatchLoss, Finding, gradient_of, noisy_batch
from pairlens.analysis.circle_variants import KNOWN_CIRCLES, KnownCircle
from pairlens.core.threads import single_thread
from pairlens.losses import Circle
from pairlens.losses.protocols import centers_of, is_embedding_loss, needs_criterion, possible_sources
from pairlens.training.criterion import Criterion
from pairlens.training.references import Batch, Proxies

SAME = 0.9995


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        name: the loss.
        findings: a line a check.
        diagnosis: which known way to write circle loss it is, if it is one.
    """

    name: str
    findings: tuple[Finding, ...]
    diagnosis: KnownCircle | None

    @property
    def failed(self) -> tuple[str, ...]:
        """The checks that failed."""
        return tuple(finding.check for finding in self.findings if finding.verdict == "fail")


def as_measure(loss: Any) -> BatchLoss:
    """Return a loss of ours as a function of (embeddings, labels), with proxies of its own if it needs them.

    Args:
        loss: a loss of `pairlens.losses`, or any function of (embeddings, labels), which is returned as it is.
    """
    if not needs_criterion(loss):
        return loss
    torch.manual_seed(0)
    proxies = possible_sources(loss)[0] == "proxies" and not is_embedding_loss(loss)
    references = Proxies(CLASSES, DIM, centers_of(loss)) if proxies else Batch()
    return Criterion(loss, references, classes=CLASSES)


def audit(loss: Any, name: str | None = None, against: Any = None) -> Audit:
    """Try a loss: its signs, where it leads, invariance, degenerate batches, precision, growth.

    Args:
        loss: a loss of `pairlens.losses`, or any function of (embeddings, labels), a module too. One with proxies must
            have 16 classes and 128 dimensions; on fewer dimensions, where embeddings are free, it is not tried.
        name: what to call it.
        against: another one, whose value and gradient it is compared with.

    >>> found = audit(Circle())
    >>> found.failed, found.diagnosis.name
    ((), 'circle loss as its paper defines it, per anchor')
    """
    measure = as_measure(loss)
    parameters = list(measure.parameters()) if isinstance(measure, nn.Module) else []
    with_proxies = any(DIM in (p.shape[-1], p.shape[0]) for p in parameters if p.ndim > 1)
    measure = _in_own_precision(measure)
    with warnings.catch_warnings(action="ignore"), single_thread():
        # Batches without pairs, and whatever a stranger's code warns of.
        findings = _try(measure, parameters, with_proxies)
        if against is not None:
            findings.append(compare_with_known_losses(measure, _in_own_precision(as_measure(against))))
        known = diagnose(measure, against or loss)
    if known is not None:
        findings.append(Finding("known as", "fail" if known.wrong else "pass", known.name))
    return Audit(name or type(loss).__name__, tuple(findings), known)


def _try(measure: BatchLoss, parameters: Sequence[Tensor], with_proxies: bool) -> list[Finding]:
    free = Finding("free embeddings", "note", "not tried: its proxies have the dimension of the audit")
    checks: list[tuple[str, Callable[[], Finding | list[Finding]]]] = [
        ("signs", lambda: audit_checks.check_signs(measure)),
        ("free embeddings", lambda: free if with_proxies else audit_checks.check_free(measure, parameters)),
        ("constant weights", lambda: audit_checks.check_constants(measure)),
        ("separated classes", lambda: audit_checks.check_separated(measure, with_proxies)),
        ("pairs that should not matter", lambda: audit_checks.check_label_names(measure)),
        ("invariance", lambda: audit_checks.check_invariance(measure, with_proxies)),
        ("reduction", lambda: audit_checks.check_reduction(measure)),
        ("degenerate batches", lambda: audit_checks.check_degenerate(measure)),
        ("precision", lambda: audit_checks.check_precision(measure)),
        ("growth", lambda: audit_checks.check_growth(measure)),
    ]
    findings: list[Finding] = []
    for name, check in checks:
        found = _attempt(name, check)
        findings.extend(found if isinstance(found, list) else [found])
    return findings


def _attempt(name: str, check: Callable[[], Finding | list[Finding]]) -> Finding | list[Finding]:
    try:
        return check()
    except Exception as error:
        # Whatever a stranger's code raises is its answer.
        return Finding(name, "fail", f"it raises {type(error).__name__}: {' '.join(str(error).split())[:120]}")


def _in_own_precision(measure: BatchLoss) -> BatchLoss:
    """Return a measure whose parameters follow the type of the embeddings."""
    if not isinstance(measure, nn.Module):
        return measure

    def followed(embeddings: Tensor, labels: Tensor) -> Tensor:
        dtype = embeddings.dtype if embeddings.dtype == torch.float64 else torch.float32
        measure.to(dtype)
        return measure(embeddings, labels)

    return followed


def compare_with_known_losses(measure: BatchLoss, other: BatchLoss) -> Finding:
    """Return value ratio and gradient cosine of two losses at three levels of noise."""
    said, cosines = [], []
    for noise in NOISES:
        embeddings, labels = noisy_batch(noise)
        (value, gradient), (reference, its) = (gradient_of(m, embeddings, labels) for m in (measure, other))
        cosines.append(_cosine(gradient, its))
        said.append(f"{value / reference if reference else float('nan'):.4g} and {cosines[-1]:.4f}")
    same = min(cosines) > SAME
    return Finding(
        "against the reference",
        "pass" if same else "fail",
        f"value ratio and gradient cosine at noise {NOISES}: {', '.join(said)}",
    )


def diagnose(measure: BatchLoss, loss: Any = None) -> KnownCircle | None:
    """Return the known way to write circle loss that has the gradient of a loss, None if none has.

    Args:
        measure: the loss.
        loss: a `Circle` whose margin and gamma are tried; by default those of its paper.
    """
    margin, gamma = (loss.margin, loss.gamma) if isinstance(loss, Circle) else (Circle().margin, Circle().gamma)
    batches = [noisy_batch(noise) for noise in NOISES]
    gradients = [gradient_of(measure, *batch)[1] for batch in batches]
    if any(float(gradient.norm()) == 0 for gradient in gradients):
        return None
    best, found = SAME, None
    for known in KNOWN_CIRCLES:
        theirs = [gradient_of(lambda e, y, k=known: k.of(e, y, margin, gamma), *batch)[1] for batch in batches]
        near = min(_cosine(a, b) for a, b in zip(gradients, theirs, strict=True))
        if near > best:
            best, found = near, known
    return found


def _cosine(one: Tensor, other: Tensor) -> float:
    # Not F.cosine_similarity: that takes gradients below 1e-8, as of a loss that is nearly content, for none.
    return float((one / one.norm().clamp(min=1e-300) * other / other.norm().clamp(min=1e-300)).sum())
