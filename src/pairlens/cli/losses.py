"""The commands about losses: `pairlens losses | recipes | explain | audit`."""

import sys
from pathlib import Path

import tyro

from pairlens.cli.tables import audit_table, losses_table, recipe_text
from pairlens.cli.terminal import open_console, say
from pairlens.experiments.recipes import RECIPES, find_recipe

FAILED = 1


def losses() -> None:
    """Print every loss: its formula, its parameters, its gradient, its cost and when to use it."""
    open_console().print(losses_table())


def explain(
    losses: tyro.conf.Positional[tuple[str, ...]] = (),
    compare: tuple[str, ...] = (),
    out: Path = Path("explain"),
    classes: int = 8,
    per_class: int = 4,
    positives: float = 0.6,
) -> None:
    """Draw what a loss does, without any data: its similarity plane, where gradient descent leads, and its pair weights.

    Args:
        losses: one or more, such as circle or circle:margin=0.25,gamma=32.
        compare: more losses, drawn in the same figure.
        out: folder of the figure (explain.svg, explain.png) and of its numbers (plane.csv, paths.csv, weights.csv).
        classes: number of classes in the batch for which the weight of a pair is computed.
        per_class: photos per class in that batch.
        positives: similarity of the other positive pairs in that batch.
    """
    # Imported here, because the figures need Matplotlib, which `losses` and `recipes` do not wait for.
    from pairlens.analysis.explain import explain as explain_losses
    from pairlens.analysis.pair_weights import ProbeBatch

    if not losses and not compare:
        raise ValueError("explain needs a loss, as in pairlens explain circle --compare triplet")
    if classes < 2 or per_class < 2 or not -1 <= positives <= 1:
        raise ValueError("--classes and --per_class must be 2 or more, and --positives must be from -1 to 1")
    explanation = explain_losses((*losses, *compare), out, batch=ProbeBatch(classes, per_class, positives))
    for file in explanation.files:
        say(str(file))


def audit(loss: tyro.conf.Positional[str], against: str | None = None) -> None:
    """Check whether a loss is what it claims to be; ends with exit status 1 if a check fails.

    Args:
        loss: a loss of Pairlens, such as circle:gamma=64, or a function of (embeddings, labels) as module:callable, such
            as "pytorch_metric_learning.losses:CircleLoss(m=0.4, gamma=80)". A loss with proxies must have 16 classes and
            128 dimensions.
        against: a reference loss, written in the same way; both values and gradients are compared.
    """
    from pairlens.analysis.audit import audit as audit_loss

    result = audit_loss(loss, against=against)
    open_console().print(audit_table(result))
    # A status of its own, so that a script can tell a failed check from wrong input.
    if result.failed:
        sys.exit(FAILED)


def recipes(name: tyro.conf.Positional[str | None] = None) -> None:
    """Print recipes: all settings of published experiments.

    Args:
        name: the recipe to print; by default all.
    """
    for recipe in RECIPES if name is None else (find_recipe(name),):
        say(recipe_text(recipe))
