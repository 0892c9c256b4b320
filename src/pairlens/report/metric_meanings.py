"""Plain names and one-sentence explanations of the metrics and intervals in the result tables."""

from pairlens.analysis.statistic_meanings import Meaning

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
