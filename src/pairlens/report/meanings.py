"""Plain names and one-sentence explanations of the metrics and statistics on the report."""

from typing import NamedTuple


class Meaning(NamedTuple):
    """What a number says.

    Attributes:
        name: its name on the page.
        sentence: what it is, in one sentence.
        direction: which values are good; empty if neither are.
    """

    name: str
    sentence: str
    direction: str = ""


HIGH, LOW = "Higher is better.", "Lower is better."

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
    Meaning("before training", "The pretrained backbone as it is loaded, without any training on these photos."),
    Meaning(
        "over classes",
        "The 95 % interval of the metric when the test classes are resampled: other classes, other results.",
    ),
    Meaning("± over seeds", "Half of the 95 % interval over training runs that differ only in their random seed."),
    Meaning(
        "s_p, s_n", "Cosine of two photos of the same class (positive pair), and of different classes (negative pair)."
    ),
)

SHAPE_MEANINGS = {
    "photos": Meaning("photos", ""),
    "classes": Meaning("classes", ""),
    "mean_s_p": Meaning("mean cosine of positive pairs", "Two photos of the same class.", HIGH),
    "mean_s_n": Meaning("mean cosine of negative pairs", "Two photos of different classes.", LOW),
    "overlap": Meaning("overlap of the two histograms", "The common area: 0 is fully apart, 1 is identical.", LOW),
    "d_prime": Meaning("distance of the two means (d')", "Mean s_p minus mean s_n, in standard deviations.", HIGH),
    "auc": Meaning(
        "area under the ROC curve", "Probability that a positive pair is more similar than a negative pair.", HIGH
    ),
    "tpr": Meaning(
        "positive pairs above almost all negative ones",
        "Share of positive pairs that are more similar than all but one in a thousand negative pairs.",
        HIGH,
    ),
    "alignment": Meaning("alignment", "Mean squared distance of positive pairs.", LOW),
    "uniformity": Meaning(
        "uniformity", "Logarithm of the mean of exp(-2 d²) over all pairs: how evenly photos are spread.", LOW
    ),
    "pi_intra": Meaning("spread within classes", "Mean cosine distance of two photos of a class."),
    "pi_inter": Meaning("spread between classes", "Mean cosine distance of two class means."),
    "pi_ratio": Meaning(
        "spread within / between classes",
        "The ratio of the two lines above.",
        "Low is good on seen classes; unseen classes need some spread.",
    ),
    "rho": Meaning(
        "spectral decay", "Divergence of the singular values from equal ones: 0 uses all dimensions alike.", LOW
    ),
    "effective_rank": Meaning("effective rank", "Number of dimensions in use.", HIGH),
    "hub_skewness": Meaning("hubness", "Skewness of how often a photo is among the 10 nearest of another.", LOW),
    "hub_never": Meaning(
        "photos that are never found", "Share of photos that are among the 10 nearest of no other photo.", LOW
    ),
    "hub_bad": Meaning("wrong neighbours", "Share of the 10 nearest photos that have another class.", LOW),
    "circle_pass": Meaning(
        "photos within the circle",
        "Share of photos whose hardest positive and negative pair satisfy circle loss with margin 0.25.",
        HIGH,
    ),
    "hardest_1_percent": Meaning(
        "weight on the hardest 1 %", "Share of the loss's weight that lies on 1 % of the pairs."
    ),
    "effective_pairs": Meaning(
        "effective share of pairs", "Share of the pairs that the loss effectively weighs: (Σ w)² / Σ w² per pair."
    ),
    "wrong_signs": Meaning(
        "pairs pushed the wrong way", "Share of pairs that the loss moves in the wrong direction.", LOW
    ),
}
