"""Lines of text on the terminal, or in the file or pipe that stands in its place."""

from rich.console import Console

from pairlens.core.untrusted import strip_control_characters

WIDTH_IN_FILES = 160


def open_console() -> Console:
    """Return the terminal, or a wide page if the output is a file or a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH_IN_FILES)


def say(line: str) -> None:
    """Print one line immediately, also into a pipe; control characters, which a terminal obeys, are made visible."""
    print(strip_control_characters(line), flush=True)  # noqa: T201
