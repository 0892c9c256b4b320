"""Files that appear under their name only when they are complete."""

from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """Write a text file whole or not at all: beside it first, then renamed."""
    part = file.with_name(file.name + ".part")
    part.write_text(text)
    part.replace(file)
