"""Which checks of `pairlens audit` does each loss of Pairlens and of pytorch-metric-learning fail?

    python benches/audit_pml.py        # about half a minute on one core

Writes benches/results/audit.json, from which the table of docs/analysis.md is made (`python docs/claims.py`).
"""

import time
import warnings
from typing import Any

import tyro
from provenance import RESULTS, about, write_result

from pairlens.analysis.audit import Audit, audit
from pairlens.analysis.audit_checks import CLASSES, DIM
from pairlens.analysis.loss_table import LOSS_CARDS
from pairlens.losses import Circle
from pairlens.losses.loss_import import find_third_party_loss

FILE = RESULTS / "audit.json"
PML = "pytorch-metric-learning"

OF_CLASSES = f"(num_classes={CLASSES}, embedding_size={DIM})"
LOSSES = [
    "AngularLoss",
    "ArcFaceLoss" + OF_CLASSES,
    "CircleLoss",
    "ContrastiveLoss",
    "CosFaceLoss" + OF_CLASSES,
    "DynamicSoftMarginLoss",
    "FastAPLoss",
    "GeneralizedLiftedStructureLoss",
    "HistogramLoss",
    "IntraPairVarianceLoss",
    "LargeMarginSoftmaxLoss" + OF_CLASSES,
    "LiftedStructureLoss",
    "ManifoldLoss(l=128)",
    "MarginLoss",
    "MultiSimilarityLoss",
    "NCALoss",
    "NormalizedSoftmaxLoss" + OF_CLASSES,
    "NPairsLoss",
    "NTXentLoss",
    "P2SGradLoss(descriptors_dim=128, num_classes=16)",
    "PNPLoss",
    "ProxyAnchorLoss" + OF_CLASSES,
    "ProxyNCALoss" + OF_CLASSES,
    "RankedListLoss(margin=0.4, Tn=10, Tp=0)",
    "SignalToNoiseRatioContrastiveLoss",
    "SoftTripleLoss" + OF_CLASSES,
    "SphereFaceLoss" + OF_CLASSES,
    "SubCenterArcFaceLoss" + OF_CLASSES,
    "SupConLoss",
    "TripletMarginLoss",
    "TupletMarginLoss",
]


def as_record(result: Audit) -> dict[str, Any]:
    """Return every finding of an audit by the name of its check."""
    return {finding.check: {"verdict": finding.verdict, "evidence": finding.evidence} for finding in result.findings}


def audit_own_losses() -> dict[str, dict[str, Any]]:
    """Audit every loss of Pairlens with its defaults."""
    records = {}
    for entry in LOSS_CARDS:
        records[entry.name] = as_record(audit(entry.loss()))
        print(entry.name, failed_checks(records[entry.name]), flush=True)
    return records


def audit_pml_losses() -> dict[str, dict[str, Any]]:
    """Audit every loss of pytorch-metric-learning; one that cannot be audited has an error in place of findings."""
    records = {}
    for text in LOSSES:
        name = text.partition("(")[0]
        with warnings.catch_warnings(action="ignore"):
            try:
                loss = find_third_party_loss(f"pytorch_metric_learning.losses:{text}")
                records[name] = as_record(audit(loss, text, Circle() if text == "CircleLoss" else None))
            except Exception as error:
                records[name] = {"error": f"{type(error).__name__}: {error}"}
        print(name, failed_checks(records[name]), flush=True)
    return records


def failed_checks(record: dict[str, Any]) -> list[str]:
    """Return the names of the checks that failed."""
    return [name for name, finding in record.items() if name != "error" and finding["verdict"] == "fail"]


def main() -> None:
    """Audit all losses and store the findings."""
    start = time.perf_counter()
    result = {"pairlens": audit_own_losses(), PML: audit_pml_losses()}
    seconds = time.perf_counter() - start
    write_result(FILE, {"about": about(PML), "seconds": seconds, **result})


if __name__ == "__main__":
    tyro.cli(main)
