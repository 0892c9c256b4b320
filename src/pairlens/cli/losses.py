"""The commands that look at losses: `pairlens losses | recipes | explain | audit`."""

import sys
from pathlib import Path

import tyro

from pairlens.analysis.audit import audit as audit_loss
from pairlens.analysis.explain import explain as explain_loss
from pairlens.analysis.explain import write_explanations
from pairlens.analysis.pair_weights import ProbeBatch
from pairlens.cli.console import open_console, say
from pairlens.cli.tables import audit_table, losses_table, recipe_text
from pairlens.experiments.loss_spec import any_loss_from_text, loss_from_text
from pairlens.experiments.recipes import RECIPES, find_recipe

FAILED = 1


def losses() -> None:
    """Print every loss: its formula, parameters, where it pushes, its cost and when to use it."""
    open_console().print(losses_table())


def explain(
    losses: tyro.conf.Positional[tuple[str, ...]] = (),
    compare: tuple[str, ...] = (),
    out: Path = Path("explain"),
    classes: int = 8,
    per_class: int = 4,
    positives: float = 0.6,
) -> None:
    """Draw what a loss does, without any data: its similarity plane, where it leads, and how hard it pulls at a pair.

    Args:
        losses: one or more, such as circle or circle:margin=0.25,gamma=32.
        compare: more losses, on the same sheet.
        out: folder of the sheet (explain.svg, explain.png) and of its numbers (plane.csv, paths.csv, weights.csv).
        classes: of the batch in which the weight of a pair is looked at.
        per_class: photos a class in it.
        positives: similarity of the other positive pairs in it.
    """
    asked = [loss_from_text(text) for text in (*losses, *compare)]
    if not asked:
        raise ValueError("explain draws losses; name one, such as pairlens explain circle --compare triplet")
    if classes < 2 or per_class < 2 or not -1 <= positives <= 1:
        raise ValueError("a batch has at least 2 --classes and 2 --per_class, and --positives is a similarity, -1 to 1")
    scene = ProbeBatch(classes, per_class, positives)
    explained = [explain_loss(loss, scene) for loss in asked]
    out.mkdir(parents=True, exist_ok=True)
    for file in write_explanations(explained, out):
        say(str(file))


def audit(loss: tyro.conf.Positional[str], against: str | None = None) -> None:
    """Try whether a loss is what it claims to be; ends with status 1 if a check fails.

    Args:
        loss: one of ours, such as circle:gamma=64, or module:callable of (embeddings, labels), such as
            "pytorch_metric_learning.losses:CircleLoss(m=0.4, gamma=80)". One with proxies has 16 classes, 128 dimensions.
        against: a reference of either kind, whose value and gradient it is compared with.
    """
    reference = None if against is None else any_loss_from_text(against)
    found = audit_loss(any_loss_from_text(loss), loss, reference)
    open_console().print(audit_table(found))
    if found.failed:
        sys.exit(FAILED)


def recipes(name: tyro.conf.Positional[str | None] = None) -> None:
    """Print the settings of the papers in full.

    Args:
        name: one of them; by default all.
    """
    for recipe in RECIPES if name is None else (find_recipe(name),):
        say(recipe_text(recipe))
