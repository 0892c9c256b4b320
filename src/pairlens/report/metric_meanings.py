"""Plain names and one-sentence explanations of the metrics and intervals in the result tables."""

from collections.abc import Iterable

from pairlens.analysis.statistic_meanings import Meaning
from pairlens.evaluation.metric_definitions import is_standard

METRIC_MEANINGS = (
    Meaning(
        "R@K (Recall@K)", "Share of the queries that have at least one photo of their class among their K nearest."
    ),
    Meaning("P@K (Precision@K)", "Mean share of a query's K nearest photos that have its class."),
    Meaning("R-Precision", "As P@K, with K = R, the number of other photos that have the class of the query."),
    Meaning(
        "MAP@R",
        "Mean average precision over the first R results: correct photos count more the nearer they are. It is the "
        "strictest of these metrics; small values are usual.",
    ),
    Meaning(
        "pretrained backbone, random backbone",
        "The backbone as it comes, pretrained or with random weights: its own pooling, no projection, no training on these "
        "photos. A training is worth what it adds to this.",
    ),
    Meaning(
        "before training",
        "The model at epoch 0: the same backbone with its random projections, which usually retrieve worse than the "
        "backbone by itself.",
    ),
    Meaning(
        "over classes",
        "The 95 % interval of the metric when the test classes are resampled: other classes, other results.",
    ),
    Meaning("± over seeds", "Half of the 95 % interval over training runs that differ only in their random seed."),
    Meaning(
        "s_p, s_n", "Cosine of two photos of the same class (positive pair), and of different classes (negative pair)."
    ),
)
MAP_AT_K = Meaning(
    "mAP@K",
    "Mean average precision over the first K results, with K in the denominator, or R if that is smaller: a perfect "
    "ranking has 100.",
)
MRR = Meaning(
    "MRR", "Mean reciprocal rank: the mean of 100 divided by the rank of the first photo of the query's class."
)
OPIS = Meaning(
    "OPIS",
    "Variance over the classes of the utility of a threshold on the similarity, times 100: how much one threshold for all "
    "classes suits some better than others. Lower is better.",
)


def further_meanings(names: Iterable[str]) -> list[Meaning]:
    """Return the explanations of the further metrics among the measured ones.

    >>> [meaning.name for meaning in further_meanings(["R@1", "mAP@1", "mAP@8", "my metric"])]
    ['mAP@K', 'my metric']
    """
    meanings = [_further_meaning(name) for name in names if not is_standard(name)]
    # mAP@K is explained once for all K.
    return list(dict.fromkeys(meanings))


def _further_meaning(name: str) -> Meaning:
    if name.startswith("mAP@"):
        return MAP_AT_K
    known = {"MRR": MRR, "OPIS": OPIS}
    return known.get(name) or Meaning(
        name, "A metric from outside Pairlens, by the function that was given to the run."
    )
