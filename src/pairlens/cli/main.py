"""The program `pairlens`: all commands by their names, and the entry point."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import tyro

from pairlens.cli.compare import compare_command
from pairlens.cli.demo import demo
from pairlens.cli.launch import guard
from pairlens.cli.loss_words import take_loss
from pairlens.cli.losses import audit, explain, losses, recipes
from pairlens.cli.options import ranks_registry
from pairlens.cli.runs import evaluate, inspect, query, report
from pairlens.cli.train import prepare, profile, train_command
from pairlens.core.distributed import rank, world_size
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.recipes import find_recipe


def recipe_experiment(arguments: Sequence[str]) -> Experiment:
    """Return the experiment that `--recipe NAME` among the arguments names, or the defaults.

    The recipe determines the defaults of the other options, so it is read before them.
    """
    for word, next_word in zip(arguments, [*arguments[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        if option == "--recipe":
            return find_recipe(value if equals else next_word).experiment
    return Experiment()


def _option_names(arguments: Sequence[str]) -> frozenset[str]:
    """Return the names of the options in an argument list, spelled with underscores.

    >>> sorted(_option_names(["train", "--on-nan=stop", "--resume", "runs/mine"]))
    ['on_nan', 'resume']
    """
    options = (word for word in arguments if word.startswith("--"))
    return frozenset(option[2:].partition("=")[0].replace("-", "_") for option in options)


def commands(base: Experiment, named: frozenset[str] = frozenset(), loss: Any = None) -> dict[str, Callable[..., None]]:
    """Return every command by its name; the options of `train` have the defaults of an experiment."""
    return {
        "prepare": prepare,
        "train": train_command(base, named, loss),
        "evaluate": evaluate,
        "compare": compare_command(),
        "query": query,
        "losses": losses,
        "explain": explain,
        "audit": audit,
        "inspect": inspect,
        "report": report,
        "recipes": recipes,
        "profile": profile,
        "demo": demo,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; wrong input ends with one sentence on stderr and exit status 2."""
    words = sys.argv[1:] if arguments is None else list(arguments)

    def command() -> None:
        # Other commands would do the same work in every process, and write the same files.
        if world_size() > 1 and words[:1] not in (["train"], ["evaluate"]):
            raise ValueError("only pairlens train and evaluate run under torchrun; start other commands without it")
        arguments_of_tyro, loss = take_loss(words)
        base = recipe_experiment(words)
        tyro.extras.subcommand_cli_from_dict(
            commands(base if loss is None else replace(base, loss=loss), _option_names(words), loss),
            args=arguments_of_tyro,
            prog="pairlens",
            config=CONFIG,
            registry=ranks_registry(),
            use_underscores=True,
            # Under torchrun, only one process prints help and errors about options.
            console_outputs=rank() == 0,
        )

    guard(command)


CONFIG = (tyro.conf.CascadeSubcommandArgs, tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes)
