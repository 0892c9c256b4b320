"""What the commands about collections have in common: how regions are written, and how photos are shown."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro
from rich.table import Table

from pairlens.collection.collection import Collection
from pairlens.collection.item import Item, Region
from pairlens.core.untrusted import strip_control_characters

# The collection, as every verb has it first.
Name = tyro.conf.Positional[str]


def parse_region(text: str | None) -> Region | None:
    """Return the region that x,y,width,height writes; raises ValueError if it is none.

    >>> parse_region("10,20,30,40")
    Region(x=10, y=20, width=30, height=40)
    """
    if text is None:
        return None
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"--region {text} is not x,y,width,height in pixels, such as 10,20,300,200") from error
    return Region(x, y, width, height)


def parse_ids(words: Sequence[str]) -> list[int]:
    """Return the ids that words write, such as 3 or #3; raises ValueError naming one that is none.

    >>> parse_ids(["3", "#4"])
    [3, 4]
    """
    numbers = [word.removeprefix("#") for word in words]
    wrong = [word for word, number in zip(words, numbers, strict=True) if not number.isdecimal() or len(number) > 18]
    if wrong:
        raise ValueError(f"{wrong[0]} is not the id of a photo, which is a number; pairlens collection list shows them")
    return [int(number) for number in numbers]


def say_json(value: Any) -> None:
    """Print plain data as one JSON text, for programs."""
    # ASCII alone, so that every encoding of a pipe can carry it.
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def items_table(items: Sequence[Item]) -> Table:
    """Return a table of photos for the terminal."""
    table = Table("id", "label", "path", "size", "metadata", box=None)
    for item in items:
        size = f"{item.width}×{item.height}" if item.width else ""
        described = ", ".join(f"{key}={value}" for key, value in item.metadata.items())
        texts = (str(item.id), item.label or "", path_words(item), size, described)
        table.add_row(*(strip_control_characters(text) for text in texts))
    return table


def path_words(item: Item) -> str:
    """Return the path of a photo with its region, if it is one."""
    if item.region is None:
        return item.path
    region = item.region
    return f"{item.path} [{region.x},{region.y},{region.width},{region.height}]"


def open_collection(name: str, wait: float, read_only: bool = False) -> Collection:
    """Open a collection by what a user writes: a folder, or the address of a PostgreSQL database."""
    return Collection.open(name if "://" in name else Path(name), wait=wait, read_only=read_only)
