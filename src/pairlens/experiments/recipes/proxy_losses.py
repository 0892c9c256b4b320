"""Recipes of losses that compare photos with learned proxies."""

from pairlens import losses as ls
from pairlens.experiments.recipes.recipe import (
    CUB,
    INCEPTION,
    REALITY,
    REALITY_DIFFERS,
    SOP,
    STEPS,
    make_recipe,
    reality_settings,
)

PROXY_RECIPES = (
    make_recipe(
        "circle_proxies_sop",
        "Sun et al., CVPR 2020, arXiv 2002.10857: class level, m = 0.25, gamma = 256",
        "the paper uses the class level for faces and persons, not for SOP; the optimizer is that of proxy_anchor_sop",
        SOP,
        {"loss": ls.Circle(0.25, 256), "references": "proxies", "optimizer": "adamw", "learning_rate": 6e-4},
        {"proxy_learning_rate": 6e-2, "weight_decay": 1e-4, "batch_size": 120, "freeze_bn": "none"},
    ),
    make_recipe(
        "proxy_nca_cub",
        "Movshovitz-Attias et al., ICCV 2017, arXiv 1703.07464; scale 3 as in dichotomies/proxy-nca",
        "its backbone is BN-Inception; the learning rate of the proxies is 1, the lower value of the port",
        {"loss": ls.ProxyNCA(3.0), "data_name": "cub", "dim": 64, "batch_size": 32, "per_class": 1},
        {"proxy_learning_rate": 1.0, "optimizer_eps": 0.01},
    ),
    make_recipe(
        "proxy_nca_plus_cub",
        "Teh et al., ECCV 2020, arXiv 2004.01113, and its code: max pooling, Adam eps 1, learning rates 4e-3 and 4e2",
        "no layer norm before the embedding; crops of 224 px, not 256 (use --image_size 256 with photos prepared at 288)",
        {"loss": ls.ProxyNCAPlus(), "data_name": "cub", "descriptors": "M", "dim": 2048, "batch_size": 32},
        {"per_class": 4, "learning_rate": 4e-3, "proxy_learning_rate": 400.0, "optimizer_eps": 1.0},
    ),
    make_recipe(
        "proxy_anchor_cub",
        "Kim et al., CVPR 2020, arXiv 2003.13911, and its code: AdamW 1e-4, proxies x 100, warm-up 5, clip 10, batch 120",
        "the code sums mean and max pooling, here mean; it draws photos at random, here two per class",
        CUB,
        {"loss": ls.ProxyAnchor(), "optimizer": "adamw", "learning_rate": 1e-4, "proxy_learning_rate": 1e-2},
        {"weight_decay": 1e-4, "clip_value": 10.0, "warm_up": 5, "batch_size": 120, "per_class": 2, "freeze_bn": "all"},
    ),
    make_recipe(
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
    make_recipe(
        "norm_softmax_cub",
        "Zhai and Wu, BMVC 2019, arXiv 1811.12649, and its code: sigma 0.05, batch 75, 25 per class, learning rate 1e-3",
        "no layer norm before the embedding; the proxies have the learning rate of the network",
        {"loss": ls.NormSoftmax(), "data_name": "cub", "dim": 2048, "batch_size": 75, "per_class": 25},
        {"optimizer": "sgd", "learning_rate": 1e-3, "proxy_learning_rate": 1e-3, "weight_decay": 1e-4},
    ),
    make_recipe(
        "cosface_cub",
        REALITY,
        REALITY_DIFFERS,
        reality_settings(ls.CosFace(100.0, 0.62)),
        {"proxy_learning_rate": 1e-2},
    ),
    make_recipe(
        "arcface_cub",
        REALITY + " (23.2 degrees)",
        REALITY_DIFFERS,
        reality_settings(ls.ArcFace(100.0, 0.405)),
        {"proxy_learning_rate": 1e-2},
    ),
    make_recipe(
        "sphereface_cub",
        "Liu et al., CVPR 2017, arXiv 1704.08063: m = 4; optimizer of the Reality Check",
        "the paper is about faces and uses the length of the embedding as scale; there is no published retrieval result",
        reality_settings(ls.SphereFace()),
        {"proxy_learning_rate": 1e-2},
    ),
    make_recipe(
        "sub_center_arcface_cub",
        "Deng et al., ECCV 2020: K = 3, 64, 0.5; optimizer of the Reality Check",
        "the paper is about faces; there is no published retrieval result",
        reality_settings(ls.SubCenterArcFace()),
        {"proxy_learning_rate": 1e-2},
    ),
    make_recipe(
        "softtriple_cub",
        "Qian et al., ICCV 2019, arXiv 1909.05235, and its code: Adam eps 0.01, 1e-4, centres 1e-2, batch 32, 64-d",
        INCEPTION + "; " + STEPS,
        {"loss": ls.SoftTriple(), "data_name": "cub", "dim": 64, "batch_size": 32, "per_class": 1},
        {
            "proxy_learning_rate": 1e-2,
            "optimizer_eps": 0.01,
            "weight_decay": 1e-4,
            "num_epochs": 50,
            "freeze_bn": "all",
        },
    ),
)
