"""Every loss there is, with everything it can be compared with: what test_losses.py and test_compile.py go through."""

import pytest
import torch

from pairlens.losses import (
    AllTriplets,
    Angular,
    ArcFace,
    BinomialDeviance,
    Circle,
    Contrastive,
    CosFace,
    FastAP,
    GeneralizedLifted,
    Histogram,
    LiftedStructure,
    Margin,
    MultiSimilarity,
    NormSoftmax,
    NPair,
    NTXent,
    PooledCircle,
    ProxyAnchor,
    ProxyNCA,
    ProxyNCAPlus,
    Quadruplet,
    RankedList,
    RecallAtK,
    SimilarityContrastive,
    SmoothAP,
    SNRContrastive,
    SoftTriple,
    SphereFace,
    SubCenterArcFace,
    SupAP,
    SupCon,
    Triplet,
    TupletMargin,
)
from pairlens.training.criterion import Criterion
from pairlens.training.references import Batch, Memory, Proxies

CLASSES, DIM = 8, 16

BATCH = [
    Contrastive(),
    SimilarityContrastive(),
    Triplet(),
    Triplet(margin=0.2, measure="squared"),
    Triplet(margin=0.2, measure="cosine"),
    Triplet(soft=True),
    AllTriplets(),
    AllTriplets(margin=0.2, semi_hard=True),
    Circle(),
    Circle(margin=0.25, gamma=256),
    PooledCircle(),
    MultiSimilarity(),
    MultiSimilarity(mining=False),
    BinomialDeviance(),
    LiftedStructure(),
    GeneralizedLifted(),
    NPair(),
    NTXent(),
    NTXent(temperature=0.01),
    SupCon(),
    SupCon(temperature=0.01),
    TupletMargin(),
    Angular(),
    RankedList(),
    Margin(),
    SNRContrastive(),
    Quadruplet(),
    Histogram(),
    FastAP(),
    SmoothAP(),
    SmoothAP(count_query=True),
    RecallAtK(),
    SupAP(),
]
PROXIES = [
    Triplet(),
    Circle(margin=0.25, gamma=256),
    Contrastive(),
    MultiSimilarity(),
    NTXent(),
    SupCon(),
    ProxyNCA(),
    ProxyNCAPlus(),
    ProxyAnchor(),
    NormSoftmax(),
    CosFace(),
    ArcFace(),
    SubCenterArcFace(),
    SphereFace(),
    SoftTriple(),
    SoftTriple(gamma=0.01),
]
MEMORY = [loss for loss in BATCH if "memory" in getattr(loss, "references", ("memory",))]
CASES = [
    (loss, source) for source, some in (("batch", BATCH), ("proxies", PROXIES), ("memory", MEMORY)) for loss in some
]
each_case = pytest.mark.parametrize(("loss", "source"), CASES, ids=str)


def criterion(loss, source, dim=DIM, classes=CLASSES):
    """A criterion as a training run would make it, the same at every call."""
    torch.manual_seed(1)
    owned = classes if isinstance(loss, Margin) else None
    match source:
        case "batch":
            references = Batch()
        case "memory":
            references = Memory(size=600, dim=dim)
        case "proxies":
            references = Proxies(classes, dim, getattr(loss, "centers", 1))
    return Criterion(loss, references, classes=owned)


def called(value):
    """What a test is called by a parameter: a function by its name, since its address differs between processes."""
    return getattr(value, "__name__", None) or str(value)
