"""The table of all losses, to choose one: formula, parameters, cost and use; it is the source of docs/losses.md."""

from dataclasses import dataclass, fields

from pairlens import losses as ls
from pairlens.losses.protocols import possible_sources, weighs_pairs

# How the time of a batch grows: B photos per batch, P positives per anchor, C classes.
PAIRS, RANKS, PROXIES = "B²", "B² P", "B C"


@dataclass(frozen=True)
class LossCard:
    """One row of the table.

    Attributes:
        loss: the class of the loss.
        formula: the loss of one anchor, unless the formula says otherwise.
        pushes: which pairs it moves.
        cost: what its time grows with: B photos per batch, P positives per anchor, C classes, K centres per class.
        use: when to use it.
        axis: what the pair weights are a function of.
    """

    loss: type
    formula: str
    pushes: str
    cost: str
    use: str
    axis: str = "similarity of the pair"

    @property
    def name(self) -> str:
        """The name of the class."""
        return self.loss.__name__

    @property
    def parameters(self) -> str:
        """Its hyper-parameters with their defaults."""
        defaults = ((f.name, f.default) for f in fields(self.loss))
        return ", ".join(f"{name} {d:.4g}" if isinstance(d, float) else f"{name} {d}" for name, d in defaults) or "none"

    @property
    def references(self) -> str:
        """The sources of references that it can be used with."""
        return ", ".join(possible_sources(self.loss))

    @property
    def figure(self) -> str:
        """The file name of the figure with its weight curve; "" for a loss of embeddings whose pairs have no weights."""
        return f"{self.name.lower()}.svg" if weighs_pairs(self.loss()) else ""

    def markdown(self, figures: str) -> str:
        """Return its row of the table in docs/losses.md; `figures` is the folder of the weight curves."""
        cells = [f"`{self.name}`", self.formula, self.parameters, self.pushes, self.cost, self.use, self.references]
        # An upright stroke would end the cell of a Markdown table.
        picture = f"![weights of {self.name}]({figures}/{self.figure})" if self.figure else "none"
        return "| " + " | ".join([cell.replace("|", "\\|") for cell in cells] + [picture]) + " |"


COLUMNS = ("loss", "formula for one anchor", "parameters", "where it pushes", "cost", "when to use it", "references")
HEADER = f"| {' | '.join(COLUMNS)} | pair weights |\n|{'---|' * (len(COLUMNS) + 1)}"


LOSS_CARDS = (
    LossCard(
        ls.Contrastive,
        "Σ_p ½ d_p² + Σ_n ½ [m - d_n]₊²",
        "every positive equally; negatives nearer than m, the nearer the more",
        PAIRS,
        "the simplest baseline; tune m first",
    ),
    LossCard(
        ls.SimilarityContrastive,
        "Σ_p (1 - s_p) + Σ_n [s_n - m]₊",
        "every positive and every negative above m, all equally",
        PAIRS,
        "with a cross-batch memory, where many easy negatives must not count",
    ),
    LossCard(
        ls.Triplet,
        "[max_p d - min_n d + m]₊",
        "the farthest positive and the nearest negative of an anchor",
        PAIRS,
        "CGD's default, with the auxiliary loss; without pretrained weights it may collapse to a point",
    ),
    LossCard(
        ls.AllTriplets,
        "mean over active (p, n) of [d_p - d_n + m]₊",
        "every pair, by the number of its active triplets",
        PAIRS,
        "noisy labels, where the hardest triplet is often a wrong label; semi_hard prevents collapse",
    ),
    LossCard(
        ls.Circle,
        "log(1 + Σ_n e^{γ α_n (s_n - m)} Σ_p e^{-γ α_p (s_p - 1 + m)}), α_p = [1 + m - s_p]₊, α_n = [s_n + m]₊ constant",
        "hard pairs, each by its own distance from its optimum",
        PAIRS,
        "a strong default for batches; (0.25, 256) on proxies",
    ),
    LossCard(
        ls.PooledCircle,
        "circle with all pairs of the batch in one logarithm (a loss of the batch)",
        "a few pairs of the whole batch",
        PAIRS,
        "to reproduce implementations that pool",
    ),
    LossCard(
        ls.MultiSimilarity,
        "1/α log(1 + Σ_p e^{-α (s_p - λ)}) + 1/β log(1 + Σ_n e^{β (s_n - λ)}) over mined pairs",
        "pairs that are hard beside the other side and beside their own",
        PAIRS,
        "a strong default for batches of about 5 photos a class",
    ),
    LossCard(
        ls.BinomialDeviance,
        "mean_p log(1 + e^{α (λ - s_p)}) + mean_n log(1 + e^{β (s_n - λ)})",
        "every pair by its own similarity alone",
        PAIRS,
        "when one threshold λ is to hold for all classes",
    ),
    LossCard(
        ls.LiftedStructure,
        "mean over positive pairs (i, j) of ½ [log(Σ_k e^{a - d_ik} + Σ_l e^{a - d_jl}) + d_ij]₊²",
        "a positive pair, and the nearest negatives of both its photos",
        PAIRS,
        "historical baseline",
    ),
    LossCard(
        ls.GeneralizedLifted,
        "[log Σ_p e^{d_p} + log Σ_n e^{m - d_n}]₊",
        "far positives and near negatives, softly",
        PAIRS,
        "a soft batch-hard triplet",
    ),
    LossCard(
        ls.NPair,
        "mean_p log(1 + Σ_n e^{f_a·f_n - f_a·f_p}) + λ |f|²",
        "as NT-Xent at t = 1, and towards short embeddings",
        PAIRS,
        "embeddings whose length matters",
        axis="inner product of the pair",
    ),
    LossCard(
        ls.NTXent,
        "mean_p log(1 + Σ_n e^{(s_n - s_p)/t})",
        "each positive against its nearest negatives",
        PAIRS,
        "large batches; two views of one photo",
    ),
    LossCard(
        ls.NCA,
        "-log(Σ_p e^{-σ d²_p} / Σ_{a≠i} e^{-σ d²_a})",
        "the nearest positives against the nearest negatives, until one positive is the nearest",
        PAIRS,
        "classes of several kinds, which need not come together",
    ),
    LossCard(
        ls.SupCon,
        "mean_p -log(e^{s_p/t} / Σ_{a≠i} e^{s_a/t})",
        "as NT-Xent, but positives compete: the nearest may be pushed away",
        PAIRS,
        "large batches with many photos a class",
    ),
    LossCard(
        ls.TupletMargin,
        "mean_p log(1 + Σ_n e^{γ (cos θ_n - cos(θ_p - β))})",
        "as NT-Xent, positives not nearer than the angle β",
        PAIRS,
        "classes with large spread",
    ),
    LossCard(
        ls.Angular,
        "mean_p log(1 + Σ_n e^{4 tan²α (x_a + x_p)·x_n - 2 (1 + tan²α) x_a·x_p})",
        "negatives away from the middle of a positive pair",
        PAIRS,
        "together with another loss, as in its paper",
    ),
    LossCard(
        ls.RankedList,
        "(1 - λ) Σ_p ω_p [d_p - α + m]₊ + λ Σ_n ω_n [α - d_n]₊, ω constant",
        "positives outside a sphere, negatives inside a larger one, the nearest most",
        PAIRS,
        "when classes should keep their inner spread",
    ),
    LossCard(
        ls.Margin,
        "[α + d_p - β_c]₊ and [α - d_n + β_c]₊, mean over what is above 0; β_c is learned",
        "pairs on the wrong side of the boundary of the class",
        PAIRS,
        "with --miner distance_weighted; classes of different spread",
    ),
    LossCard(
        ls.Histogram,
        "Σ_r h⁻_r Σ_{q≤r} h⁺_q over the whole batch",
        "where the similarities of positives and negatives overlap",
        PAIRS,
        "nothing to tune; needs large batches",
    ),
    LossCard(
        ls.IntraPairVariance,
        "mean_p [(1 - ε) μ_p - s_p]₊² + mean_n [s_n - (1 + ε) μ_n]₊² over the whole batch, μ the mean similarity",
        "positives below and negatives above the mean of their kind, towards it",
        PAIRS,
        "added to another loss, tuplet margin in its paper; alone it does not separate classes",
    ),
    LossCard(
        ls.ThresholdConsistentMargin,
        "λ₊ mean of [m₊ - s_p] where s_p ≤ m₊, + λ₋ mean of [s_n - m₋] where s_n ≥ m₋, over the whole batch",
        "every pair on the wrong side of its margin, all equally",
        PAIRS,
        "added to another loss, when one threshold is to hold for all classes",
    ),
    LossCard(
        ls.VICReg,
        "λ mean |z - z'|²/D + μ/2 [v(Z) + v(Z')] + ν [c(Z) + c(Z')]: distance of two photos, spread, covariance",
        "two photos of a class together, each coordinate apart over the batch",
        "B D²",
        "two views of one photo without labels; embeddings that are not normalised",
    ),
    LossCard(
        ls.SNRContrastive,
        "mean [d_p - m_p]₊ + mean [m_n - d_n]₊, d_ij = var(f_i - f_j) / var(f_i)",
        "as contrastive, each pair relative to the power of its anchor",
        PAIRS,
        "embeddings that are not normalised",
        axis="minus the distance of the pair",
    ),
    LossCard(
        ls.Quadruplet,
        "[d²_ap - d²_an + m₁]₊ + [d²_ap - d²_nk + m₂]₊, hardest",
        "as batch-hard triplet, and the nearest pair of two other classes",
        PAIRS,
        "when clusters touch each other",
    ),
    LossCard(
        ls.FastAP,
        "1 - 1/|P| Σ_k h⁺_k H⁺_k / H_k over soft bins of d²",
        "pairs in bins where positives and negatives mix",
        PAIRS,
        "large batches; average precision at the cost of a pair loss",
    ),
    LossCard(
        ls.SmoothAP,
        "1 - 1/|P| Σ_p R⁺_p / R_p, R = 1 + Σ_j σ((s_j - s_p)/t)",
        "negatives near a positive in the ranking; nothing far apart",
        RANKS,
        "fine-tuning for average precision, large batches",
    ),
    LossCard(
        ls.SupAP,
        "as Smooth-AP, with a bound above the step in place of σ for negatives",
        "negatives above a positive, however far",
        RANKS,
        "average precision from a poor start; with a contrastive term (ROADMAP)",
    ),
    LossCard(
        ls.RecallAtK,
        "1 - mean_k 1/min(k, |P|) Σ_p σ((k - r_p)/t₁)",
        "positives near rank k and what lies beside them",
        RANKS,
        "Recall@K itself, in very large batches",
    ),
    LossCard(
        ls.PNP,
        "1/|P| Σ_p f(N_p), N_p = Σ_n σ((s_n - s_p)/t), f(N) = 1 - (1 + N)^{-α} in the default of five variants",
        "negatives near or above a positive; in the default, not where many stand above it",
        RANKS,
        "average precision with noisy labels, large batches",
    ),
    LossCard(
        ls.ProxyNCA,
        "d²(x, p_y) + log Σ_{z≠y} e^{-d²(x, p_z)}",
        "always towards the proxy of its class; away from the nearest other proxies",
        PROXIES,
        "the first proxy loss; for comparison",
    ),
    LossCard(
        ls.ProxyNCAPlus,
        "-log(e^{-d²_y/T} / Σ_z e^{-d²_z/T})",
        "the proxy of its class, until that is the nearest",
        PROXIES,
        "with its recipe: max pooling, fast proxies",
    ),
    LossCard(
        ls.ProxyAnchor,
        "of a proxy: log(1 + Σ_{x of p} e^{-α (s - δ)}) and log(1 + Σ_{x not of p} e^{α (s + δ)})",
        "the photos farthest from their proxy, the nearest of others",
        PROXIES,
        "a strong default with few photos a class; with its recipe",
    ),
    LossCard(
        ls.NormSoftmax,
        "-log(e^{s_y/σ} / Σ_z e^{s_z/σ})",
        "the proxy of its class, until that is the nearest",
        PROXIES,
        "the simplest strong baseline with proxies",
    ),
    LossCard(
        ls.CosFace,
        "softmax of γ s with γ (s_y - m)",
        "until the proxy of its class leads by m in similarity",
        PROXIES,
        "many classes; easier to tune than ArcFace",
    ),
    LossCard(
        ls.ArcFace,
        "softmax of γ s with γ cos(θ_y + m)",
        "until the proxy of its class leads by m in angle",
        PROXIES,
        "many classes, clean labels",
    ),
    LossCard(
        ls.SphereFace,
        "softmax of γ s with γ ψ(m θ_y)",
        "until the proxy of its class leads m-fold in angle",
        PROXIES,
        "historical baseline",
    ),
    LossCard(
        ls.P2SGrad,
        "½ (1 - s_y)² + ½ Σ_{z≠y} s_z²",
        "each proxy by its distance from its goal: 1 for its own, 0 for the others",
        PROXIES,
        "proxies without a scale or a margin to tune",
    ),
    LossCard(
        ls.SubCenterArcFace,
        "ArcFace of S_c = max_k s_ck",
        "the nearest centre of each class",
        PROXIES + " K",
        "noisy labels: mislabelled photos gather at centres of their own",
    ),
    LossCard(
        ls.SoftTriple,
        "cross entropy of λ (S_c - δ [c = y]), S_c = Σ_k q_k s_ck, q = softmax_k(s_ck/γ); + τ · spread of the centres",
        "the centres of a class in proportion to their nearness",
        PROXIES + " K",
        "classes of several kinds; needs no positive pairs in a batch",
    ),
)


def card_of(kind: type) -> LossCard:
    """Return the row of a loss; raises ValueError if it has none."""
    for card in LOSS_CARDS:
        if card.loss is kind:
            return card
    raise ValueError(f"{kind.__name__} has no row in analysis/loss_table.py; add one to LOSS_CARDS")
