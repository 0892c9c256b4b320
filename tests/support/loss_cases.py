"""Every loss with every source of references that it can be compared with."""

from functools import partial

import pytest

from pairlens import losses as ls
from pairlens.losses.protocols import centers_of, is_learned_loss, possible_sources
from pairlens.training.criterion import Criterion
from pairlens.training.references import CrossBatchMemory, InBatch, Proxies
from support.seeding import seed

CLASSES, DIM = 8, 16

BATCH = [
    ls.Contrastive(),
    ls.SimilarityContrastive(),
    ls.Triplet(),
    ls.Triplet(margin=0.2, measure="squared"),
    ls.Triplet(margin=0.2, measure="cosine"),
    ls.Triplet(soft=True),
    ls.AllTriplets(),
    ls.AllTriplets(margin=0.2, semi_hard=True),
    ls.AllTriplets(average="pair"),
    ls.Circle(),
    ls.Circle(margin=0.25, gamma=256),
    ls.PooledCircle(),
    ls.MultiSimilarity(),
    ls.MultiSimilarity(mining=False),
    ls.BinomialDeviance(),
    ls.LiftedStructure(),
    ls.GeneralizedLifted(),
    ls.NPair(),
    ls.NPair(negatives="positives"),
    ls.NTXent(),
    ls.NTXent(average="pair"),
    ls.NTXent(temperature=0.01),
    ls.SupCon(),
    ls.SupCon(temperature=0.01),
    ls.TupletMargin(),
    ls.TupletMargin(average="pair"),
    ls.Angular(),
    ls.Angular(average="pair"),
    ls.NCA(),
    ls.IntraPairVariance(),
    ls.DynamicSoftMargin(),
    ls.ThresholdConsistentMargin(),
    ls.RankedList(),
    ls.Margin(),
    ls.SNRContrastive(),
    ls.SNRContrastive(average="pair"),
    ls.VICReg(),
    ls.Quadruplet(),
    ls.Histogram(),
    ls.FastAP(),
    ls.SmoothAP(),
    ls.SmoothAP(count_query=True),
    ls.RecallAtK(),
    ls.SupAP(),
    ls.SupAP(line_from="delta"),
    ls.PNP(),
    ls.PNP("Iu", count_query=True),
    ls.Sum((ls.Circle(), ls.Triplet(margin=0.2)), (1, 0.5)),
    ls.Sum((ls.MultiSimilarity(), ls.PooledCircle(), ls.Margin())),
    ls.Sum((ls.Contrastive(), ls.NPair()), (2, 0.1)),
    ls.Sum((ls.Circle(), ls.NTXent(average="pair"))),
]
PROXIES = [
    ls.Triplet(),
    ls.Circle(margin=0.25, gamma=256),
    ls.Contrastive(),
    ls.MultiSimilarity(),
    ls.NTXent(),
    ls.SupCon(),
    ls.ProxyNCA(),
    ls.ProxyNCAPlus(),
    ls.ProxyAnchor(),
    ls.NormSoftmax(),
    ls.CosFace(),
    ls.ArcFace(),
    ls.SubCenterArcFace(),
    ls.SphereFace(),
    ls.P2SGrad(),
    ls.SoftTriple(),
    ls.SoftTriple(gamma=0.01),
    ls.Sum((ls.ProxyAnchor(), ls.NormSoftmax(), ls.NPair()), (1, 0.5, 0.1)),
    ls.Sum((ls.SoftTriple(), ls.SubCenterArcFace(centers=10))),
]
# Losses that a rotation of the space changes, because they contain a variance over its coordinates.
DEPENDS_ON_AXES = (ls.SNRContrastive, ls.VICReg)
# Losses that take the photos of a class two by two, in the order of the batch.
DEPENDS_ON_ORDER = (ls.NPair(negatives="positives"), ls.VICReg())
MEMORY = [loss for loss in BATCH if "memory" in possible_sources(loss)]
CASES = [
    *((loss, "batch") for loss in BATCH),
    *((loss, "proxies") for loss in PROXIES),
    *((loss, "memory") for loss in MEMORY),
]
each_case = pytest.mark.parametrize(("loss", "source"), CASES, ids=str)


def criterion(loss, source, dim=DIM, classes=CLASSES):
    """Return the criterion that a training run would make, with the same proxies at every call."""
    seed(1)
    match source:
        case "batch":
            references = InBatch()
        case "memory":
            references = CrossBatchMemory(size=600, dim=dim)
        case "proxies":
            references = Proxies(classes, dim, centers_of(loss))
    return Criterion(loss, references, classes=classes if is_learned_loss(loss) else None)


def parameter_name(value):
    """Return the name of a test parameter: of a function its name, because its address differs between processes."""
    # A partial function has no name of its own, and `str` of it shows the address of its function.
    function = value.func if isinstance(value, partial) else value
    return getattr(function, "__name__", None) or str(value)
