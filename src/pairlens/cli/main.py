"""All commands by their names, derived by tyro, and the entry point of the program `pairlens`."""

import sys
from collections.abc import Callable, Sequence

import tyro

from pairlens.cli.compare import compare_command
from pairlens.cli.demo import demo
from pairlens.cli.launch import guard
from pairlens.cli.losses import audit, explain, losses, recipes
from pairlens.cli.options import ranks_registry
from pairlens.cli.runs import evaluate, inspect, query, report
from pairlens.cli.train import prepare, profile, train_command
from pairlens.core.distributed import rank, world_size
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.recipes import find_recipe


def asked_recipe(arguments: Sequence[str]) -> Experiment:
    """Return the experiment that `--recipe NAME` among the arguments names, or the defaults.

    The recipe decides what the other options default to, so it is read before them.
    """
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        if option == "--recipe":
            return find_recipe(value if equals else following).experiment
    return Experiment()


def _named(arguments: Sequence[str]) -> frozenset[str]:
    """Return the names of the options among some arguments.

    >>> sorted(_named(["train", "--on-nan=stop", "--resume", "runs/mine"]))
    ['on_nan', 'resume']
    """
    options = (word for word in arguments if word.startswith("--"))
    return frozenset(option[2:].partition("=")[0].replace("-", "_") for option in options)


def commands(base: Experiment, named: frozenset[str] = frozenset()) -> dict[str, Callable[..., None]]:
    """Return every command by its name, `train` with the defaults of an experiment."""
    return {
        "prepare": prepare,
        "train": train_command(base, named),
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
        if world_size() > 1 and words[:1] not in (["train"], ["evaluate"]):
            raise ValueError("torchrun is for pairlens train and evaluate; start other commands without it")
        tyro.extras.subcommand_cli_from_dict(
            commands(asked_recipe(words), _named(words)),
            args=words,
            prog="pairlens",
            config=CONFIG,
            registry=ranks_registry(),
            use_underscores=True,
            console_outputs=rank() == 0,
        )

    guard(command)


CONFIG = (tyro.conf.CascadeSubcommandArgs, tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes)
