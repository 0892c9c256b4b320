"""Plain names of the statistics of an embedded set, what each says, and which direction is good."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Meaning:
    """What a number says.

    Attributes:
        name: its name on pages and in tables.
        sentence: what it is, in one sentence.
        direction: which values are good; empty if neither high nor low ones are.
    """

    name: str
    sentence: str
    direction: str = ""


HIGH, LOW = "Higher is better.", "Lower is better."

# By the field of `evaluation.embedding_stats.EmbeddingStats`, and then of `evaluation.open_set.OpenSetStats`; stored files
# have these field names.
SHAPE_MEANINGS = {
    "photos": Meaning("photos", "Number of photos that were measured."),
    "classes": Meaning("classes", "Number of classes of these photos."),
    "mean_s_p": Meaning("mean cosine of positive pairs", "Positive pairs are two photos of the same class.", HIGH),
    "mean_s_n": Meaning("mean cosine of negative pairs", "Negative pairs are photos of two different classes.", LOW),
    "overlap": Meaning(
        "overlap of positive and negative pairs",
        "Area that the histograms of both cosines have in common: 0 if they are apart, 1 if they are equal.",
        LOW,
    ),
    "d_prime": Meaning(
        "distance of positive and negative pairs (d')",
        "Difference of the two mean cosines, divided by the mean standard deviation.",
        HIGH,
    ),
    "auc": Meaning(
        "area under the ROC curve",
        "Probability that a positive pair has a higher cosine than a negative pair; 0.5 is chance.",
        HIGH,
    ),
    "tpr": Meaning(
        "true positive rate at 0.1 % false positives",
        "Share of positive pairs above a cosine that only one in a thousand negative pairs exceeds.",
        HIGH,
    ),
    "alignment": Meaning("alignment", "Mean squared distance of positive pairs; 0 if each class is one point.", LOW),
    "uniformity": Meaning(
        "uniformity",
        "Logarithm of the mean of exp(-2 d²) over all pairs: the lower, the more evenly the photos are spread.",
        LOW,
    ),
    "pi_intra": Meaning("spread within classes", "Mean cosine distance of two photos of a class."),
    "pi_inter": Meaning("spread between classes", "Mean cosine distance of two class means."),
    "pi_ratio": Meaning(
        "spread within / between classes",
        "Ratio of the two spreads.",
        "Low is good for seen classes; unseen classes need some spread within classes.",
    ),
    "rho": Meaning(
        "spectral decay",
        "Difference (KL divergence) of the singular values from equal ones: 0 if all dimensions are used alike.",
        LOW,
    ),
    "effective_rank": Meaning("effective rank", "Number of dimensions that the embeddings effectively use.", HIGH),
    "hub_skewness": Meaning(
        "hubness",
        "Skewness of how often a photo is among the 10 nearest of others: 0 if all photos are found equally often.",
        LOW,
    ),
    "hub_never": Meaning(
        "photos that are never found", "Share of photos that are among the 10 nearest of no other photo.", LOW
    ),
    "hub_bad": Meaning("wrong neighbours", "Share of the 10 nearest photos that have another class.", LOW),
    "circle_pass": Meaning(
        "photos within the circle",
        "Share of photos whose hardest positive and negative pair lie within the boundary of circle loss (margin 0.25).",
        HIGH,
    ),
    "hardest_1_percent": Meaning(
        "weight on the hardest 1 %",
        "Share of all pair weights of the loss on the 1 % of pairs with the largest weights.",
    ),
    "effective_pairs": Meaning(
        "effective share of pairs",
        "Share of pairs that the loss effectively uses, (Σ w)² / Σ w² per pair: 1 if all pairs weigh alike.",
    ),
    "wrong_signs": Meaning(
        "pairs pushed the wrong way", "Share of pairs with a positive pushed apart or a negative pulled together.", LOW
    ),
    "divided_classes": Meaning(
        "classes divided into known and strange",
        "Number of classes with several photos; in each of 20 divisions the gallery holds half of them.",
    ),
    "auroc": Meaning(
        "AUROC of known and strange queries",
        "Probability that a query of a known class has a better best match than one of a strange class; 0.5 is chance.",
        HIGH,
    ),
    "auroc_spread": Meaning("spread of AUROC", "Standard deviation of AUROC over the divisions.", LOW),
    "baks": Meaning(
        "BAKS",
        "Share of known queries accepted with a match of their class, at a cosine that 5 % of other strange queries exceed.",
        HIGH,
    ),
    "baks_spread": Meaning("spread of BAKS", "Standard deviation of BAKS over the divisions.", LOW),
    "baus": Meaning(
        "BAUS", "Share of strange queries rejected at a cosine chosen on other strange classes, to reject 95 %.", HIGH
    ),
    "baus_spread": Meaning("spread of BAUS", "Standard deviation of BAUS over the divisions.", LOW),
    "opis": Meaning(
        "OPIS", "Mean squared deviation of a class's utility from the mean utility at the same thresholds.", LOW
    ),
}
