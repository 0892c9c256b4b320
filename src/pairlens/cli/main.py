"""The program `pairlens`: the table of its commands, and its entry point.

A command is imported when it is called. `pairlens --help`, `pairlens --version` and the sentence about a misspelt command
therefore need none of the libraries that train a model, and answer at once.
"""

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import chdir
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from pairlens.cli.launch import guard
from pairlens.core.suggestion import suggest


@dataclass(frozen=True)
class Command:
    """What the table of commands says about one of them.

    Attributes:
        module: where its function is, which has the name of the command.
        summary: the first sentence of the docstring of that function.
    """

    module: str
    summary: str


# The summaries repeat the docstrings, because `pairlens --help` does not import the modules; a test holds them equal.
COMMANDS = {
    "index": Command(
        "pairlens.cli.search",
        "Make photos searchable: embed them and put them into a collection, which is made if there is none.",
    ),
    "search": Command(
        "pairlens.cli.search",
        "Find the photos of a collection that are most similar to a photo, and say whether it shows the same at all.",
    ),
    "serve": Command(
        "pairlens.cli.serve",
        "Serve a collection: a page to search with a photo, and an HTTP API.",
    ),
    "collection": Command(
        "pairlens.cli.collection",
        "Show, check, list, remove, relabel, calibrate, migrate, copy, export or import the photos of a collection.",
    ),
    "migrate": Command(
        "pairlens.cli.collection",
        "Embed a collection again with another model; searches answer from the old vectors until one change-over.",
    ),
    "prepare": Command(
        "pairlens.cli.train", "Read a raw data set and write it as one file of reduced photos, ready for training."
    ),
    "train": Command(
        "pairlens.cli.train", "Train an embedding model with a pairwise loss, and evaluate it after every epoch."
    ),
    "evaluate": Command(
        "pairlens.cli.runs",
        "Embed the test photos of a run again with its saved model, write its gallery, and print the metrics.",
    ),
    "compare": Command(
        "pairlens.cli.compare",
        "Compare losses fairly: the same batches for the same seed, the same budget, intervals, and a verdict.",
    ),
    "query": Command(
        "pairlens.cli.runs",
        "Find the photos of a run's gallery that are nearest to a photo, and write them as pictures.",
    ),
    "losses": Command(
        "pairlens.cli.losses",
        "Print every loss: its formula, its parameters, its gradient, its cost and when to use it.",
    ),
    "explain": Command(
        "pairlens.cli.losses",
        "Draw what a loss does, without any data: its similarity plane, where gradient descent leads, and its pair "
        "weights.",
    ),
    "audit": Command(
        "pairlens.cli.losses",
        "Check whether a loss is what it claims to be; ends with exit status 1 if a check fails.",
    ),
    "inspect": Command(
        "pairlens.cli.runs",
        "Show statistics of a trained model's embeddings, of classes it was trained on and of unseen classes.",
    ),
    "report": Command(
        "pairlens.cli.runs",
        "Write one page about a run or a comparison: the verdict, tables, typical queries, failures, figures, "
        "configuration.",
    ),
    "export": Command(
        "pairlens.cli.export",
        "Write the model of a run as one ONNX file that runs without PyTorch, with a model card.",
    ),
    "recipes": Command("pairlens.cli.losses", "Print recipes: all settings of published experiments."),
    "profile": Command("pairlens.cli.train", "Print the parameters and multiply-adds of a model."),
    "demo": Command(
        "pairlens.cli.demo",
        "Train on a drawn data set with circle loss and with triplet loss, compare them, and draw what is retrieved.",
    ),
}
# Other commands would do the same work in every process of torchrun, and write the same files.
DISTRIBUTED = ("train", "evaluate")
# The column of the names in the help text, and the widest text that is easy to read.
NAME_WIDTH, TEXT_WIDTH = 13, 100


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; wrong input ends with one sentence on stderr and exit status 2."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    guard(lambda: _answer(words))


def _answer(words: list[str]) -> None:
    """Print the help text or the version, or run the command that the first word names."""
    match words:
        case [] | ["-h" | "--help", *_]:
            sys.stdout.write(help_text())
        case ["--version", *_]:
            sys.stdout.write(f"pairlens {installed_version()}\n")
        case [name, *options] if name in COMMANDS:
            _run_command(name, options)
        case [word, *_] if word.startswith("-"):
            raise ValueError(
                f"pairlens has no option {word} before the command; {suggest(word, ('--help', '--version'))}"
            )
        case [word, *_]:
            raise ValueError(f"there is no command {word}; {suggest(word, COMMANDS)}")


def _run_command(name: str, words: list[str]) -> None:
    # Imported here, because tyro takes long to import.
    from pairlens.cli.arguments import read_arguments
    from pairlens.core.freed_memory import keep_freed_memory

    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and name not in DISTRIBUTED and "TORCHELASTIC_RUN_ID" in os.environ:
        raise ValueError("only pairlens train and evaluate run under torchrun; start other commands without it")
    keep_freed_memory()
    _ignore_figure_settings()
    command, rest = find_command(name, words)
    # The verb of `pairlens collection` belongs to the name of the command.
    verb = words[: len(words) - len(rest)] if name == "collection" else []
    read_arguments(command, rest, " ".join(["pairlens", name, *verb]))()


def _ignore_figure_settings() -> None:
    """Keep Matplotlib from reading a file matplotlibrc in the current folder.

    The folder may be somebody else's, and such a file can make Matplotlib run LaTeX on every text of a figure.
    """
    if Path("matplotlibrc").exists():
        # Matplotlib looks for the file once, when it is imported.
        with TemporaryDirectory() as empty, chdir(empty):
            import_module("matplotlib")


def find_command(name: str, words: Sequence[str] = ()) -> tuple[Callable[..., None], list[str]]:
    """Import the module of a command; returns its function, and the words that are left for its options.

    Args:
        name: of the command.
        words: the words after the command; the defaults of `train` depend on its --recipe.
    """
    module = import_module(COMMANDS[name].module)
    match name:
        case "train":
            return module.find_train_command(words)
        case "compare":
            return module.compare_command(), list(words)
        case "collection":
            return module.find_collection_command(words)
    return getattr(module, name), list(words)


def help_text() -> str:
    """Return the help text of the program: one sentence for each command, as wide as the terminal."""
    width = min(shutil.get_terminal_size().columns, TEXT_WIDTH)
    lines = [
        "usage: pairlens COMMAND [OPTIONS]",
        "",
        *textwrap.wrap("Deep metric learning for image retrieval, with the pairwise loss as its subject.", width),
        "",
        "commands:",
    ]
    for name, command in COMMANDS.items():
        first, rest = f"  {name}".ljust(NAME_WIDTH), " " * NAME_WIDTH
        lines += textwrap.wrap(command.summary, width, initial_indent=first, subsequent_indent=rest)
    lines += [
        "",
        "options:",
        "  --help, -h  Show this text; after a command, its options.",
        "  --version   Show the version.",
    ]
    return "\n".join(lines) + "\n"


def installed_version() -> str:
    """Return the version of the installed package."""
    from importlib.metadata import version

    return version("pairlens")
