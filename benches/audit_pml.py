"""Every loss of pytorch-metric-learning through `pairlens audit`: prints the table of docs/audit.md.

python benches/audit_pml.py        # about two minutes
"""

import time
import warnings

from pairlens.analysis.audit import Audit, audit
from pairlens.analysis.audit_checks import CLASSES, DIM
from pairlens.experiments.loss_spec import find_third_party_loss
from pairlens.losses import Circle

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


def row(found: Audit) -> str:
    shown = {f.check: f for f in found.findings}
    failed = "; ".join(f"**{name}**: {shown[name].evidence}" for name in found.failed)
    growth = shown["growth"].evidence.partition("grows as ")[2]
    return f"| `{found.name.partition('(')[0]}` | {failed or 'nothing'} | {growth} |"


def main() -> None:
    print("| loss | what failed | growth: time, memory |\n|---|---|---|")
    start = time.perf_counter()
    for text in LOSSES:
        with warnings.catch_warnings(action="ignore"):
            try:
                loss = find_third_party_loss(f"pytorch_metric_learning.losses:{text}")
                found = audit(loss, text, Circle() if text == "CircleLoss" else None)
            except Exception as error:
                print(
                    f"| `{text.partition('(')[0]}` | cannot be tried: {type(error).__name__}: {error} | |", flush=True
                )
                continue
        print(row(found), flush=True)
    print(f"\n{len(LOSSES)} losses, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
