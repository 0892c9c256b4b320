"""The loss among the words of `pairlens train`: a name in any spelling, a sum of losses, or module:callable."""

from collections.abc import Sequence
from typing import Any

from pairlens.core.settings import settings_of
from pairlens.experiments.experiment import Experiment
from pairlens.losses.loss_text import current_spelling, is_loss_expression, trainable_from_text


def take_loss(words: Sequence[str]) -> tuple[list[str], Any]:
    """Return the words after `train` that tyro parses, and the loss that one of them is; None if it is a subcommand of tyro.

    The losses are subcommands with options of their own, which are only found by their present names. What is more than a
    name, such as circle:gamma=64, circle+0.5*triplet or my_code:MyLoss(margin=0.2), is read here and left out of the words.

    Raises:
        ValueError: if such a text names no loss.

    >>> take_loss(["--batch_size", "64", "softtriple", "--centers", "5"])
    (['--batch_size', '64', 'soft_triple', '--centers', '5'], None)
    >>> take_loss(["circle:gamma=64", "--seed", "1"])
    (['--seed', '1'], Circle(margin=0.4, gamma=64.0))
    """
    for number, word in enumerate(words):
        if word.startswith("-") or (number > 0 and _takes_a_value(words[number - 1])):
            continue
        before, after = words[:number], words[number + 1 :]
        if is_loss_expression(word):
            return [*before, *after], trainable_from_text(word)
        return [*before, current_spelling(word), *after], None
    return list(words), None


def _takes_a_value(word: str) -> bool:
    """Return whether the word after this one is its value."""
    flags = {name for name, entry in settings_of(Experiment).items() if entry.kind is bool}
    name = word.lstrip("-").replace("-", "_").removeprefix("no_")
    return word.startswith("--") and "=" not in word and name not in flags
