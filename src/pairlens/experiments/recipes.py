"""Recipes: the settings of the papers, for loss, references, miner, optimizer, learning rates, and batches.

Each recipe names the source of its settings and how it differs from that source. If a paper does not state its settings or
does not train for retrieval, the settings are those of a benchmark that ran the loss: Roth et al., ICML 2020 (arXiv
2002.08473), or Musgrave et al., "A Metric Learning Reality Check", ECCV 2020 (arXiv 2003.08505).
"""

from dataclasses import dataclass
from typing import Any

from pairlens import losses as ls
from pairlens.core.suggestion import suggest
from pairlens.experiments.experiment import Experiment
from pairlens.losses import miners


@dataclass(frozen=True)
class Recipe:
    """The settings of a paper.

    Attributes:
        name: loss and data set, in snake case.
        source: where the settings come from.
        experiment: the settings.
        differs: how the experiment differs from the source.
    """

    name: str
    source: str
    experiment: Experiment
    differs: str


INCEPTION = "its backbone is BN-Inception, here ResNet-50"
STEPS = "learning rates decay at 60 % and 80 % of the epochs"
ROTH = "Roth et al., ICML 2020, arXiv 2002.08473, and its code"
ROTH_DIFFERS = "the learning rate of the benchmark decays at other epochs; here " + STEPS
REALITY = "Musgrave et al., ECCV 2020, arXiv 2003.08505: the tuned values of its repository"
REALITY_DIFFERS = INCEPTION + "; it concatenates four models of four folds, here one; RMSprop 1e-6 is unconfirmed"


def _recipe(name: str, source: str, differs: str, *settings: dict[str, Any]) -> Recipe:
    """Return a recipe; later settings override earlier ones."""
    # Most papers train a plain backbone with mean pooling and without an auxiliary loss, unlike CGD.
    merged: dict[str, Any] = {"auxiliary": 0.0, "gd_config": "S", "stride": "none", "augment": "random_resized_crop"}
    for part in settings:
        merged |= part
    return Recipe(name, source, Experiment(**merged), differs)


def _roth(loss: Any, **settings: Any) -> dict[str, Any]:
    """Return the settings of the benchmark of Roth et al. for a loss."""
    batch = {"batch_size": 112, "per_class": 2, "feature_dim": 128, "num_epochs": 150}
    return {"loss": loss, "data_name": "cub", **batch, "learning_rate": 1e-5, "weight_decay": 4e-4, **settings}


def _reality(loss: Any, **settings: Any) -> dict[str, Any]:
    """Return the settings of the benchmark of Musgrave et al. for a loss."""
    batch = {"batch_size": 32, "per_class": 4, "feature_dim": 128, "num_epochs": 100, "freeze_bn": "all"}
    return {"loss": loss, "data_name": "cub", **batch, "optimizer": "rmsprop", "learning_rate": 1e-6, **settings}


CUB = {"data_name": "cub", "feature_dim": 512}
SOP = {"data_name": "sop", "feature_dim": 512, "recalls": (1, 10, 100, 1000)}
DISTANCE_WEIGHTED = {"miner": miners.DistanceWeighted()}
FIVE = {"batch_size": 80, "per_class": 5}
BOUNDARY = {"proxy_learning_rate": 0.1, **DISTANCE_WEIGHTED}

RECIPES = (
    _recipe(
        "triplet_cgd_car",
        "Jun et al., CGD, 2019, arXiv 1903.10663, as leftthomas/CGD runs it",
        "the port removes the stride of layer 3, the paper that of layer 4 (--stride paper)",
        {"loss": ls.Triplet(0.1), "auxiliary": 1.0, "gd_config": "SG", "stride": "port", "augment": "standard"},
    ),
    _recipe(
        "semi_hard_cub",
        ROTH + "; Schroff et al., CVPR 2015, arXiv 1503.03832 (margin 0.2)",
        ROTH_DIFFERS + "; Roth draws one semi-hard negative per positive, here all of them count",
        _roth(ls.AllTriplets(0.2, "squared", semi_hard=True)),
    ),
    _recipe("contrastive_cub", ROTH, ROTH_DIFFERS, _roth(ls.Contrastive(1.0), **DISTANCE_WEIGHTED)),
    _recipe(
        "xbm_sop",
        "Wang et al., CVPR 2020, arXiv 1912.06798: a memory as large as the training set, used after 1000 batches",
        INCEPTION + "; Adam 3e-4 and weight decay 5e-4 of its code are unconfirmed; " + STEPS,
        SOP,
        {"loss": ls.SimilarityContrastive(0.5), "references": "memory", "memory_size": 59_551, "memory_warm_up": 1000},
        {"batch_size": 64, "per_class": 4, "learning_rate": 3e-4, "weight_decay": 5e-4, "freeze_bn": "none"},
    ),
    _recipe(
        "circle_cub",
        "Sun et al., CVPR 2020, arXiv 2002.10857; batch of 16 classes x 5 as quoted in pytorch-metric-learning #419",
        INCEPTION + "; optimizer and epochs of the paper are unconfirmed, here they are those of multi_similarity_cub",
        CUB | FIVE,
        {"loss": ls.Circle(0.4, 80), "learning_rate": 3e-5, "weight_decay": 5e-4, "freeze_bn": "all"},
    ),
    _recipe(
        "circle_proxies_sop",
        "Sun et al., CVPR 2020, arXiv 2002.10857: class level, m = 0.25, gamma = 256",
        "the paper uses the class level for faces and persons, not for SOP; the optimizer is that of proxy_anchor_sop",
        SOP,
        {"loss": ls.Circle(0.25, 256), "references": "proxies", "optimizer": "adamw", "learning_rate": 6e-4},
        {"proxy_learning_rate": 6e-2, "weight_decay": 1e-4, "batch_size": 120, "freeze_bn": "none"},
    ),
    _recipe(
        "pooled_circle_cub",
        "arXiv 2002.10857 as implemented in TinyZeaMays/CircleLoss",
        "there is no published result on CUB; the settings are those of circle_cub",
        CUB | FIVE,
        {"loss": ls.PooledCircle(0.4, 80), "learning_rate": 3e-5, "weight_decay": 5e-4, "freeze_bn": "all"},
    ),
    _recipe(
        "multi_similarity_cub",
        "Wang et al., CVPR 2019, arXiv 1904.06627, and msight-tech/research-ms-loss (2, 40, 0.5, 0.1)",
        INCEPTION + "; Adam 3e-5 and weight decay 5e-4 of its code are unconfirmed",
        CUB | FIVE,
        {"loss": ls.MultiSimilarity(), "learning_rate": 3e-5, "weight_decay": 5e-4, "freeze_bn": "all"},
    ),
    _recipe(
        "binomial_cub",
        "Yi et al., 2014, arXiv 1407.4979, with the scales of bnu-wangxun/Deep_Metric (2, 40, 0.5)",
        "the paper is about person re-identification; batch and optimizer are those of multi_similarity_cub",
        CUB | FIVE,
        {"loss": ls.BinomialDeviance(), "learning_rate": 3e-5, "weight_decay": 5e-4, "freeze_bn": "all"},
    ),
    _recipe(
        "lifted_cub",
        "Oh Song et al., CVPR 2016, arXiv 1511.06452: a = 1; optimizer of " + ROTH,
        "its backbone is GoogLeNet; the learning rates of the paper are unconfirmed",
        _roth(ls.LiftedStructure(1.0)),
    ),
    _recipe("generalized_lifted_cub", ROTH, ROTH_DIFFERS, _roth(ls.GeneralizedLifted(1.0))),
    _recipe(
        "npair_cub", ROTH, ROTH_DIFFERS + "; embeddings have unit length, so lambda has no effect", _roth(ls.NPair())
    ),
    _recipe("ntxent_cub", REALITY, REALITY_DIFFERS, _reality(ls.NTXent(0.009))),
    _recipe(
        "supcon_cub",
        "Khosla et al., NeurIPS 2020, arXiv 2004.11362: t = 0.1; optimizer of " + ROTH,
        "the paper trains from scratch with two views per photo in batches of 6144; there is no published retrieval result",
        _roth(ls.SupCon(0.1), per_class=4),
    ),
    _recipe(
        "tuplet_margin_cub",
        "Yu and Tao, ICCV 2019: 64 and 5.73 degrees by pytorch-metric-learning; optimizer of " + ROTH,
        "the learning rates of the paper are unconfirmed",
        _roth(ls.TupletMargin()),
    ),
    _recipe(
        "angular_cub", ROTH, ROTH_DIFFERS + "; it adds an N-pair term, which is left out here", _roth(ls.Angular(45.0))
    ),
    _recipe(
        "ranked_list_cub",
        "Wang et al., CVPR 2019, arXiv 1903.03238: 1.2, 0.4, 10, 0, 0.5; optimizer of " + ROTH,
        "its backbone is BN-Inception; learning rates and batch of the paper are unconfirmed",
        _roth(ls.RankedList(), batch_size=60, per_class=3),
    ),
    _recipe(
        "margin_cub",
        "Wu et al., ICCV 2017, arXiv 1706.07567, and its MXNet code: batch 70, 5 per class, beta at 0.1, cutoffs 0.5, 1.4",
        "Adam 1e-4 of its code is unconfirmed; " + STEPS,
        {"data_name": "cub", "feature_dim": 128, "batch_size": 70, "per_class": 5, "loss": ls.Margin()} | BOUNDARY,
    ),
    _recipe("snr_cub", ROTH, ROTH_DIFFERS + "; without distance-weighted sampling", _roth(ls.SNRContrastive())),
    _recipe(
        "quadruplet_cub",
        ROTH,
        ROTH_DIFFERS + "; with the hardest negatives instead of distance-weighted sampling",
        _roth(ls.Quadruplet()),
    ),
    _recipe("histogram_cub", ROTH, ROTH_DIFFERS, _roth(ls.Histogram())),
    _recipe(
        "fastap_sop",
        "Cakir et al., CVPR 2019, and its code: 10 bins, batch 256",
        "Adam 1e-5 of its code is unconfirmed; its batches mix two categories, here classes are drawn uniformly",
        SOP,
        {"loss": ls.FastAP(10), "batch_size": 256, "per_class": 4, "learning_rate": 1e-5},
    ),
    _recipe(
        "smooth_ap_sop",
        "Brown et al., ECCV 2020, arXiv 2007.12163, and its code: Adam 1e-5, last layer x 5, batch 112, 4 per class",
        "the code counts the query itself as a hit (count_query), this recipe does not",
        SOP,
        {"loss": ls.SmoothAP(), "batch_size": 112, "per_class": 4, "learning_rate": 1e-5, "head_factor": 5.0},
        {"weight_decay": 4e-4},
    ),
    _recipe(
        "sup_ap_sop",
        "Ramzi et al., NeurIPS 2021, arXiv 2110.01445: batch 128, 4 per class",
        "the calibration term of ROADMAP is left out; Adam 1e-5 is unconfirmed",
        SOP,
        {"loss": ls.SupAP(), "batch_size": 128, "per_class": 4, "learning_rate": 1e-5},
    ),
    _recipe(
        "recall_at_k_sop",
        "Patel et al., CVPR 2022, arXiv 2108.11179, and its code: batch 4000, 4 per class, 2e-4",
        "its code sets t1 = k for each k and mixes similarities; here the whole batch must fit into memory",
        SOP,
        {"loss": ls.RecallAtK(), "batch_size": 4000, "per_class": 4, "learning_rate": 2e-4, "optimizer": "adamw"},
    ),
    _recipe(
        "recall_at_k_cub",
        "Patel et al., CVPR 2022, arXiv 2108.11179, and its code: batch 400, 4 per class, 1e-4",
        "its code sets t1 = k for each k and mixes similarities",
        CUB,
        {"loss": ls.RecallAtK(), "batch_size": 400, "per_class": 4, "learning_rate": 1e-4, "optimizer": "adamw"},
    ),
    _recipe(
        "proxy_nca_cub",
        "Movshovitz-Attias et al., ICCV 2017, arXiv 1703.07464; scale 3 as in dichotomies/proxy-nca",
        "its backbone is BN-Inception; the learning rate of the proxies is 1, the lower value of the port",
        {"loss": ls.ProxyNCA(3.0), "data_name": "cub", "feature_dim": 64, "batch_size": 32, "per_class": 1},
        {"proxy_learning_rate": 1.0, "optimizer_eps": 0.01},
    ),
    _recipe(
        "proxy_nca_plus_cub",
        "Teh et al., ECCV 2020, arXiv 2004.01113, and its code: max pooling, Adam eps 1, learning rates 4e-3 and 4e2",
        "no layer norm before the embedding; crops of 224 px, not 256 (use --image_size 256 with photos prepared at 288)",
        {"loss": ls.ProxyNCAPlus(), "data_name": "cub", "gd_config": "M", "feature_dim": 2048, "batch_size": 32},
        {"per_class": 4, "learning_rate": 4e-3, "proxy_learning_rate": 400.0, "optimizer_eps": 1.0},
    ),
    _recipe(
        "proxy_anchor_cub",
        "Kim et al., CVPR 2020, arXiv 2003.13911, and its code: AdamW 1e-4, proxies x 100, warm-up 5, clip 10, batch 120",
        "the code sums mean and max pooling, here mean; it draws photos at random, here two per class",
        CUB,
        {"loss": ls.ProxyAnchor(), "optimizer": "adamw", "learning_rate": 1e-4, "proxy_learning_rate": 1e-2},
        {"weight_decay": 1e-4, "clip_value": 10.0, "warm_up": 5, "batch_size": 120, "per_class": 2, "freeze_bn": "all"},
    ),
    _recipe(
        "proxy_anchor_sop",
        "Kim et al., CVPR 2020, arXiv 2003.13911, and its README: AdamW 6e-4, proxies x 100, BatchNorm not frozen",
        "the code sums mean and max pooling, here mean; " + STEPS,
        SOP,
        {"loss": ls.ProxyAnchor(), "optimizer": "adamw", "learning_rate": 6e-4, "proxy_learning_rate": 6e-2},
        {
            "weight_decay": 1e-4,
            "clip_value": 10.0,
            "warm_up": 1,
            "batch_size": 180,
            "per_class": 1,
            "freeze_bn": "none",
        },
    ),
    _recipe(
        "norm_softmax_cub",
        "Zhai and Wu, BMVC 2019, arXiv 1811.12649, and its code: sigma 0.05, batch 75, 25 per class, learning rate 1e-3",
        "no layer norm before the embedding; the proxies have the learning rate of the network",
        {"loss": ls.NormSoftmax(), "data_name": "cub", "feature_dim": 2048, "batch_size": 75, "per_class": 25},
        {"optimizer": "sgd", "learning_rate": 1e-3, "proxy_learning_rate": 1e-3, "weight_decay": 1e-4},
    ),
    _recipe("cosface_cub", REALITY, REALITY_DIFFERS, _reality(ls.CosFace(100.0, 0.62), proxy_learning_rate=1e-2)),
    _recipe(
        "arcface_cub",
        REALITY + " (23.2 degrees)",
        REALITY_DIFFERS,
        _reality(ls.ArcFace(100.0, 0.405), proxy_learning_rate=1e-2),
    ),
    _recipe(
        "sphereface_cub",
        "Liu et al., CVPR 2017, arXiv 1704.08063: m = 4; optimizer of the Reality Check",
        "the paper is about faces and uses the length of the embedding as scale; there is no published retrieval result",
        _reality(ls.SphereFace(), proxy_learning_rate=1e-2),
    ),
    _recipe(
        "sub_center_arcface_cub",
        "Deng et al., ECCV 2020: K = 3, 64, 0.5; optimizer of the Reality Check",
        "the paper is about faces; there is no published retrieval result",
        _reality(ls.SubCenterArcFace(), proxy_learning_rate=1e-2),
    ),
    _recipe(
        "softtriple_cub",
        "Qian et al., ICCV 2019, arXiv 1909.05235, and its code: Adam eps 0.01, 1e-4, centres 1e-2, batch 32, 64-d",
        INCEPTION + "; " + STEPS,
        {"loss": ls.SoftTriple(), "data_name": "cub", "feature_dim": 64, "batch_size": 32, "per_class": 1},
        {
            "proxy_learning_rate": 1e-2,
            "optimizer_eps": 0.01,
            "weight_decay": 1e-4,
            "num_epochs": 50,
            "freeze_bn": "all",
        },
    ),
)


def find_recipe(name: str) -> Recipe:
    """Return the recipe of this name; raises ValueError that names the most similar recipe, or all.

    >>> find_recipe("proxy_anchor_cub").experiment.clip_value
    10.0
    """
    for recipe in RECIPES:
        if recipe.name == name:
            return recipe
    raise ValueError(f"there is no recipe {name!r}; {suggest(name, (recipe.name for recipe in RECIPES))}")
