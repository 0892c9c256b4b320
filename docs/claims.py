"""The figures of the documents, read from stored results and from the code.

    python docs/claims.py            # rewrite every marked figure and table of README.md, CHANGELOG.md and docs/*.md

A marker is an HTML comment, which a reader of the page does not see:

    10.0<!-- claim: photos.json#/loading/results/train 224 standard/ratio:.1f -->     a figure from benches/results
    33<!-- code: losses -->                                                           a number that the code gives
    <!-- table: demo --> ... <!-- end of table: demo -->                              a table made by claim_tables.py

A claim names a file of benches/results, a JSON pointer and a format (none for a date). Between pointer and format may stand
steps, each after a bar: mean, stdev, min, max, sum, len, *100, /1e6, or the pointer that the value is divided by.
tests/test_claims.py holds that this script would change nothing.
"""

import json
import re
import statistics
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from claim_counts import COUNTS
from claim_tables import TABLES

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benches" / "results"
NUMBER = r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?"
DATE = r"\d{4}-\d\d-\d\d"
CLAIM = re.compile(rf"({DATE}|{NUMBER})<!-- claim: ([\w.]+)#(.+?):([^:]*?) -->")
CODE = re.compile(rf"({NUMBER})<!-- code: (\w+) -->")
TABLE = re.compile(r"<!-- table: (\w+) -->\n.*?<!-- end of table: \1 -->", re.DOTALL)
MARKER = re.compile(r"<!-- (?:claim|code|table): ")
STEPS: dict[str, Callable[[Any], Any]] = {
    "mean": statistics.mean,
    "stdev": statistics.stdev,
    "min": min,
    "max": max,
    "sum": sum,
    "len": len,
}


def documents() -> list[Path]:
    """Return every document whose figures are held."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@cache
def read_result(name: str) -> Any:
    """Return the contents of a file of benches/results."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def follow(stored: Any, pointer: str) -> Any:
    """Return what a JSON pointer (RFC 6901) leads to.

    Raises:
        ValueError: if it leads nowhere.
    """
    for part in pointer.strip().removeprefix("/").split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        try:
            stored = stored[int(key)] if isinstance(stored, list) else stored[key]
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"{pointer!r} leads nowhere: there is no {key!r}") from error
    return stored


def claimed_text(file: str, steps: str, form: str) -> str:
    """Return the figure of a claim as it must be printed.

    Args:
        file: name of a file of benches/results.
        steps: a JSON pointer, and what is done with the value, each after a bar.
        form: a format specification of Python.
    """
    stored = read_result(file)
    pointer, *others = (step.strip() for step in steps.split("|"))
    value = follow(stored, pointer)
    for step in others:
        if step in STEPS:
            value = STEPS[step](value)
        elif step.startswith("*"):
            value *= float(step[1:])
        elif step.startswith("/") and re.fullmatch(NUMBER, step[1:]):
            value /= float(step[1:])
        else:
            value /= follow(stored, step)
    return format(value, form)


def updated(text: str) -> str:
    """Return a document with every marked figure and table as results and code have it.

    Raises:
        ValueError: for a marker that is not understood.
    """
    used = sum(len(pattern.findall(text)) for pattern in (CLAIM, CODE, TABLE))
    if used != len(MARKER.findall(text)):
        raise ValueError(
            f"{len(MARKER.findall(text)) - used} markers do not stand directly after a number, or lack an end"
        )
    text = CLAIM.sub(lambda m: m[0].replace(m[1], claimed_text(m[2], m[3], m[4]), 1), text)
    text = CODE.sub(lambda m: m[0].replace(m[1], str(COUNTS[m[2]]()), 1), text)
    return TABLE.sub(lambda m: f"<!-- table: {m[1]} -->\n{TABLES[m[1]]()}\n<!-- end of table: {m[1]} -->", text)


def main() -> None:
    """Rewrite the documents."""
    for document in documents():
        text = document.read_text(encoding="utf-8")
        new = updated(text)
        if new != text:
            document.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
