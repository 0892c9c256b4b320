"""Recipes of losses that compare pairs of photos."""

from pairlens import losses as ls
from pairlens.experiments.recipes.recipe import (
    BOUNDARY,
    CUB,
    DISTANCE_WEIGHTED,
    FIVE,
    INCEPTION,
    REALITY,
    REALITY_DIFFERS,
    ROTH,
    ROTH_DIFFERS,
    SOP,
    STEPS,
    make_recipe,
    reality_settings,
    roth_settings,
)

PAIR_RECIPES = (
    make_recipe(
        "triplet_cgd_car",
        "Jun et al., CGD, 2019, arXiv 1903.10663, as leftthomas/CGD runs it",
        "the port removes the stride of layer 3, the paper that of layer 4 (--stride paper)",
        {"loss": ls.Triplet(0.1), "auxiliary": 1.0, "descriptors": "SG", "stride": "port", "augment": "standard"},
    ),
    make_recipe(
        "semi_hard_cub",
        ROTH + "; Schroff et al., CVPR 2015, arXiv 1503.03832 (margin 0.2)",
        ROTH_DIFFERS + "; Roth draws one semi-hard negative per positive, here all of them count",
        roth_settings(ls.AllTriplets(0.2, "squared", semi_hard=True)),
    ),
    make_recipe("contrastive_cub", ROTH, ROTH_DIFFERS, roth_settings(ls.Contrastive(1.0)), DISTANCE_WEIGHTED),
    make_recipe(
        "xbm_sop",
        "Wang et al., CVPR 2020, arXiv 1912.06798: a memory as large as the training set, used after 1000 batches",
        INCEPTION + "; Adam 3e-4 and weight decay 5e-4 of its code are unconfirmed; " + STEPS,
        SOP,
        {"loss": ls.SimilarityContrastive(0.5), "references": "memory", "memory_size": 59_551, "memory_warm_up": 1000},
        {"batch_size": 64, "per_class": 4, "learning_rate": 3e-4, "weight_decay": 5e-4, "freeze_bn": "none"},
    ),
    make_recipe(
        "circle_cub",
        "Sun et al., CVPR 2020, arXiv 2002.10857; batch of 16 classes x 5 as quoted in pytorch-metric-learning #419",
        INCEPTION + "; optimizer and epochs of the paper are unconfirmed, here they are those of multi_similarity_cub",
        CUB | FIVE,
        {"loss": ls.Circle(0.4, 80), "learning_rate": 3e-5, "weight_decay": 5e-4, "freeze_bn": "all"},
    ),
    make_recipe(
        "pooled_circle_cub",
        "arXiv 2002.10857 as implemented in TinyZeaMays/CircleLoss",
        "there is no published result on CUB; the settings are those of circle_cub",
        CUB | FIVE,
        {"loss": ls.PooledCircle(0.4, 80), "learning_rate": 3e-5, "weight_decay": 5e-4, "freeze_bn": "all"},
    ),
    make_recipe(
        "multi_similarity_cub",
        "Wang et al., CVPR 2019, arXiv 1904.06627, and msight-tech/research-ms-loss (2, 40, 0.5, 0.1)",
        INCEPTION + "; Adam 3e-5 and weight decay 5e-4 of its code are unconfirmed",
        CUB | FIVE,
        {"loss": ls.MultiSimilarity(), "learning_rate": 3e-5, "weight_decay": 5e-4, "freeze_bn": "all"},
    ),
    make_recipe(
        "binomial_cub",
        "Yi et al., 2014, arXiv 1407.4979, with the scales of bnu-wangxun/Deep_Metric (2, 40, 0.5)",
        "the paper is about person re-identification; batch and optimizer are those of multi_similarity_cub",
        CUB | FIVE,
        {"loss": ls.BinomialDeviance(), "learning_rate": 3e-5, "weight_decay": 5e-4, "freeze_bn": "all"},
    ),
    make_recipe(
        "lifted_cub",
        "Oh Song et al., CVPR 2016, arXiv 1511.06452: a = 1; optimizer of " + ROTH,
        "its backbone is GoogLeNet; the learning rates of the paper are unconfirmed",
        roth_settings(ls.LiftedStructure(1.0)),
    ),
    make_recipe("generalized_lifted_cub", ROTH, ROTH_DIFFERS, roth_settings(ls.GeneralizedLifted(1.0))),
    make_recipe(
        "npair_cub",
        ROTH,
        ROTH_DIFFERS + "; embeddings have unit length, so lambda has no effect",
        roth_settings(ls.NPair()),
    ),
    make_recipe("ntxent_cub", REALITY, REALITY_DIFFERS, reality_settings(ls.NTXent(0.009))),
    make_recipe(
        "nca_cub",
        "Goldberger et al., NIPS 2004, with sigma = 9 as temperature 1/9 of ProxyNCA++; optimizer of " + ROTH,
        "the paper learns a linear map of whole data sets; there is no published retrieval result of a network",
        roth_settings(ls.NCA(9.0)),
        {"per_class": 4},
    ),
    make_recipe(
        "supcon_cub",
        "Khosla et al., NeurIPS 2020, arXiv 2004.11362: t = 0.1; optimizer of " + ROTH,
        "the paper trains from scratch with two views per photo in batches of 6144; there is no published retrieval result",
        roth_settings(ls.SupCon(0.1)),
        {"per_class": 4},
    ),
    make_recipe(
        "tuplet_margin_cub",
        "Yu and Tao, ICCV 2019: 64 and 5.73 degrees by pytorch-metric-learning; optimizer of " + ROTH,
        "the learning rates of the paper are unconfirmed",
        roth_settings(ls.TupletMargin()),
    ),
    make_recipe(
        "tuplet_margin_variance_cub",
        "Yu and Tao, ICCV 2019: tuplet margin with intra-pair variance, 0.01 by pytorch-metric-learning; optimizer of "
        + ROTH,
        "the weight of the variance and the learning rates of the paper are unconfirmed, the weight here is 1",
        roth_settings(ls.Sum((ls.TupletMargin(), ls.IntraPairVariance()))),
        {"per_class": 4},
    ),
    make_recipe(
        "dynamic_soft_margin_cub",
        "Zhang and Rusinkiewicz, ICCV 2019, and its code: 512 bins; optimizer of " + ROTH,
        "the paper is about patches of photos and averages its histogram over batches; there is no published result on CUB",
        roth_settings(ls.DynamicSoftMargin()),
    ),
    make_recipe(
        "vicreg_cub",
        "Bardes et al., ICLR 2022, arXiv 2105.04906: weights 25, 25 and 1; optimizer of " + ROTH,
        "the paper trains without labels on two views of each photo, with 8192 dimensions in batches of 2048; there is no "
        "published retrieval result",
        roth_settings(ls.VICReg()),
    ),
    make_recipe(
        "angular_cub",
        ROTH,
        ROTH_DIFFERS + "; it adds an N-pair term, which is left out here",
        roth_settings(ls.Angular(45.0)),
    ),
    make_recipe(
        "ranked_list_cub",
        "Wang et al., CVPR 2019, arXiv 1903.03238: 1.2, 0.4, 10, 0, 0.5; optimizer of " + ROTH,
        "its backbone is BN-Inception; learning rates and batch of the paper are unconfirmed",
        roth_settings(ls.RankedList()),
        {"batch_size": 60, "per_class": 3},
    ),
    make_recipe(
        "margin_cub",
        "Wu et al., ICCV 2017, arXiv 1706.07567, and its MXNet code: batch 70, 5 per class, beta at 0.1, cutoffs 0.5, 1.4",
        "Adam 1e-4 of its code is unconfirmed; " + STEPS,
        {"data_name": "cub", "dim": 128, "batch_size": 70, "per_class": 5, "loss": ls.Margin()} | BOUNDARY,
    ),
    make_recipe(
        "snr_cub", ROTH, ROTH_DIFFERS + "; without distance-weighted sampling", roth_settings(ls.SNRContrastive())
    ),
    make_recipe(
        "quadruplet_cub",
        ROTH,
        ROTH_DIFFERS + "; with the hardest negatives instead of distance-weighted sampling",
        roth_settings(ls.Quadruplet()),
    ),
)
