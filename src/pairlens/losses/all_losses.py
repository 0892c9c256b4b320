"""The list of all losses of Pairlens; a loss belongs to Pairlens if it is in the union `Loss`, there is no other list."""

from typing import TypeAlias

from pairlens.losses.angular import Angular
from pairlens.losses.circle import Circle, PooledCircle
from pairlens.losses.contrastive import Contrastive, SimilarityContrastive
from pairlens.losses.dynamic_soft_margin import DynamicSoftMargin
from pairlens.losses.fastap import FastAP
from pairlens.losses.histogram import Histogram
from pairlens.losses.intra_pair_variance import IntraPairVariance
from pairlens.losses.lifted import GeneralizedLifted, LiftedStructure
from pairlens.losses.margin import Margin
from pairlens.losses.multi_similarity import BinomialDeviance, MultiSimilarity
from pairlens.losses.nca import NCA
from pairlens.losses.npair import NPair
from pairlens.losses.ntxent import NTXent, SupCon, TupletMargin
from pairlens.losses.p2s_grad import P2SGrad
from pairlens.losses.pnp import PNP
from pairlens.losses.proxy_anchor import ProxyAnchor
from pairlens.losses.proxy_nca import ProxyNCA, ProxyNCAPlus
from pairlens.losses.quadruplet import Quadruplet
from pairlens.losses.ranked_list import RankedList
from pairlens.losses.recall_at_k import RecallAtK
from pairlens.losses.smooth_ap import SmoothAP, SupAP
from pairlens.losses.snr import SNRContrastive
from pairlens.losses.softmax import ArcFace, CosFace, NormSoftmax, SphereFace, SubCenterArcFace
from pairlens.losses.softtriple import SoftTriple
from pairlens.losses.threshold_consistent import ThresholdConsistentMargin
from pairlens.losses.triplet import AllTriplets, Triplet
from pairlens.losses.vicreg import VICReg

PairwiseLoss: TypeAlias = (
    Contrastive
    | SimilarityContrastive
    | Triplet
    | AllTriplets
    | Circle
    | PooledCircle
    | MultiSimilarity
    | BinomialDeviance
    | LiftedStructure
    | GeneralizedLifted
    | NTXent
    | SupCon
    | TupletMargin
    | Angular
    | RankedList
    | Quadruplet
    | Histogram
    | NCA
    | IntraPairVariance
    | ThresholdConsistentMargin
    | DynamicSoftMargin
)
RankingLoss: TypeAlias = FastAP | SmoothAP | SupAP | RecallAtK | PNP
ProxyLoss: TypeAlias = ProxyNCA | ProxyNCAPlus | ProxyAnchor | NormSoftmax | CosFace | ArcFace | SphereFace | P2SGrad
LossOfCenters: TypeAlias = SubCenterArcFace | SoftTriple
LossThatLearns: TypeAlias = Margin
LossOfEmbeddings: TypeAlias = NPair | SNRContrastive | VICReg
Loss: TypeAlias = PairwiseLoss | RankingLoss | ProxyLoss | LossOfCenters | LossThatLearns | LossOfEmbeddings

__all__ = [
    "NCA",
    "PNP",
    "AllTriplets",
    "Angular",
    "ArcFace",
    "BinomialDeviance",
    "Circle",
    "Contrastive",
    "CosFace",
    "DynamicSoftMargin",
    "FastAP",
    "GeneralizedLifted",
    "Histogram",
    "IntraPairVariance",
    "LiftedStructure",
    "Loss",
    "LossOfCenters",
    "LossOfEmbeddings",
    "LossThatLearns",
    "Margin",
    "MultiSimilarity",
    "NPair",
    "NTXent",
    "NormSoftmax",
    "P2SGrad",
    "PairwiseLoss",
    "PooledCircle",
    "ProxyAnchor",
    "ProxyLoss",
    "ProxyNCA",
    "ProxyNCAPlus",
    "Quadruplet",
    "RankedList",
    "RankingLoss",
    "RecallAtK",
    "SNRContrastive",
    "SimilarityContrastive",
    "SmoothAP",
    "SoftTriple",
    "SphereFace",
    "SubCenterArcFace",
    "SupAP",
    "SupCon",
    "ThresholdConsistentMargin",
    "Triplet",
    "TupletMargin",
    "VICReg",
]
