"""Recipes of losses that approximate a ranking metric or compare distributions."""

from pairlens import losses as ls
from pairlens.experiments.recipes.recipe import CUB, ROTH, ROTH_DIFFERS, SOP, make_recipe, roth_settings

RANKING_RECIPES = (
    make_recipe("histogram_cub", ROTH, ROTH_DIFFERS, roth_settings(ls.Histogram())),
    make_recipe(
        "fastap_sop",
        "Cakir et al., CVPR 2019, and its code: 10 bins, batch 256",
        "Adam 1e-5 of its code is unconfirmed; its batches mix two categories, here classes are drawn uniformly",
        SOP,
        {"loss": ls.FastAP(10), "batch_size": 256, "per_class": 4, "learning_rate": 1e-5},
    ),
    make_recipe(
        "smooth_ap_sop",
        "Brown et al., ECCV 2020, arXiv 2007.12163, and its code: Adam 1e-5, last layer x 5, batch 112, 4 per class",
        "the code counts the query itself as a hit (count_query), this recipe does not",
        SOP,
        {"loss": ls.SmoothAP(), "batch_size": 112, "per_class": 4, "learning_rate": 1e-5, "head_factor": 5.0},
        {"weight_decay": 4e-4},
    ),
    make_recipe(
        "sup_ap_sop",
        "Ramzi et al., NeurIPS 2021, arXiv 2110.01445: batch 128, 4 per class",
        "the calibration term of ROADMAP is left out; Adam 1e-5 is unconfirmed",
        SOP,
        {"loss": ls.SupAP(), "batch_size": 128, "per_class": 4, "learning_rate": 1e-5},
    ),
    make_recipe(
        "pnp_sop",
        "Li et al., AAAI 2022, arXiv 2102.04640, and its code: Dq, alpha 4, batch 384, 4 per class, Adam 1e-5, 400 epochs",
        "the code counts the query itself as a positive (count_query), this recipe does not; the learning rate of the code "
        "is multiplied by 0.3 at other epochs",
        SOP,
        {"loss": ls.PNP(), "batch_size": 384, "per_class": 4, "learning_rate": 1e-5, "weight_decay": 4e-4},
        {"num_epochs": 400, "freeze_bn": "all"},
    ),
    make_recipe(
        "smooth_ap_threshold_consistent_sop",
        "Zhang et al., ICLR 2024, arXiv 2307.04047: weights 1, margins 0.9 and 0.5, added to a loss; that is smooth_ap_sop",
        "the settings of the paper beside those of the loss are unconfirmed",
        SOP,
        {"loss": ls.Sum((ls.SmoothAP(), ls.ThresholdConsistentMargin())), "batch_size": 112, "per_class": 4},
        {"learning_rate": 1e-5, "head_factor": 5.0, "weight_decay": 4e-4},
    ),
    make_recipe(
        "recall_at_k_sop",
        "Patel et al., CVPR 2022, arXiv 2108.11179, and its code: batch 4000, 4 per class, 2e-4",
        "its code sets t1 = k for each k and mixes similarities; here the whole batch must fit into memory",
        SOP,
        {"loss": ls.RecallAtK(), "batch_size": 4000, "per_class": 4, "learning_rate": 2e-4, "optimizer": "adamw"},
    ),
    make_recipe(
        "recall_at_k_cub",
        "Patel et al., CVPR 2022, arXiv 2108.11179, and its code: batch 400, 4 per class, 1e-4",
        "its code sets t1 = k for each k and mixes similarities",
        CUB,
        {"loss": ls.RecallAtK(), "batch_size": 400, "per_class": 4, "learning_rate": 1e-4, "optimizer": "adamw"},
    ),
)
