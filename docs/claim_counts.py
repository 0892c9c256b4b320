"""Numbers that the documents state about the code itself, counted from the code."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import get_args

# These names change with the packages; keep them in one block.
from pairlens.analysis.audit import audit
from pairlens.analysis.loss_table import LOSS_CARDS as LOSS_CARDS
from pairlens.cli.main import COMMANDS
from pairlens.experiments.recipes import RECIPES
from pairlens.losses import Circle, Loss, miners

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "tests" / "losses" / "test_peers.py"


def count_closed_forms() -> int:
    """Return how many losses give their pair weights in closed form."""
    return sum(hasattr(card.loss, "weigh") for card in LOSS_CARDS)


def count_audit_checks() -> int:
    """Return how many rows an audit has without a reference, the name of a known circle loss left out."""
    return sum(finding.check != "known as" for finding in audit(Circle()).findings)


def peer_cases() -> list[ast.expr]:
    """Return the losses of Pairlens in the cases that tests hold equal to pytorch-metric-learning to 1e-8."""
    tree = ast.parse(PEERS.read_text(encoding="utf-8"))
    (same,) = (n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "SAME")
    assert isinstance(same, ast.Dict)
    return [case.elts[0] for case in same.values if isinstance(case, ast.Tuple)]


def count_peer_losses() -> int:
    """Return of how many different losses these cases are."""
    calls = (node for case in peer_cases() for node in ast.walk(case) if isinstance(node, ast.Call))
    return len({call.func.attr for call in calls if isinstance(call.func, ast.Attribute)})


COUNTS: dict[str, Callable[[], int]] = {
    "losses": lambda: len(get_args(Loss)),
    "closed_form_losses": count_closed_forms,
    "other_losses": lambda: len(LOSS_CARDS) - count_closed_forms(),
    "commands": lambda: len(COMMANDS),
    "audit_checks": count_audit_checks,
    "recipes": lambda: len(RECIPES),
    "miners": lambda: len(get_args(miners.Miner)),
    "peer_cases": lambda: len(peer_cases()),
    "peer_losses": count_peer_losses,
}
