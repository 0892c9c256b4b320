"""Recipes: the settings of the papers, for loss, references, miner, optimizer, learning rates, and batches.

Each recipe names the source of its settings and how it differs from that source. If a paper does not state its settings or
does not train for retrieval, the settings are those of a benchmark that ran the loss: Roth et al., ICML 2020 (arXiv
2002.08473), or Musgrave et al., "A Metric Learning Reality Check", ECCV 2020 (arXiv 2003.08505).
"""

from pairlens.experiments.recipes.pair_losses import PAIR_RECIPES
from pairlens.experiments.recipes.proxy_losses import PROXY_RECIPES
from pairlens.experiments.recipes.ranking_losses import RANKING_RECIPES
from pairlens.experiments.recipes.recipe import Recipe

RECIPES: tuple[Recipe, ...] = (*PAIR_RECIPES, *RANKING_RECIPES, *PROXY_RECIPES)


def find_recipe(name: str) -> Recipe:
    """Return the recipe of this name; raises ValueError that names the available recipes.

    >>> find_recipe("proxy_anchor_cub").experiment.objective.clip_value
    10.0
    """
    for recipe in RECIPES:
        if recipe.name == name:
            return recipe
    raise ValueError(f"there is no recipe {name!r}; available are {', '.join(recipe.name for recipe in RECIPES)}")
