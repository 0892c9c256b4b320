"""What became of everything that a reader found: read, refused or left out, each with its reason."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pairlens.core.files import write_text
from pairlens.core.table import csv_text
from pairlens.core.untrusted import strip_control_characters

# So many kinds are named in a sentence; the JSON and the CSV file have all of them.
_KINDS_NAMED = 8
_PLURAL = re.compile(r"\b(file|folder|link|photo|image|annotation|box)\b")


@dataclass(frozen=True)
class Exclusion:
    """One file, folder or annotation that is not among the photos of a prepared data set, or only after a repair.

    Attributes:
        path: where it is, relative to the raw data set.
        kind: what it is counted as, such as ".heic file"; a singular.
        reason: why, and what can be done.
    """

    path: str
    kind: str
    reason: str

    def __post_init__(self) -> None:
        # Names on a disk may hold anything; these are printed and stored. A frozen dataclass sets a field this way.
        for name in ("path", "kind", "reason"):
            object.__setattr__(self, name, _printable(getattr(self, name)))


def _printable(text: str) -> str:
    # Line ends and tabs are escaped, too: a name is one line of a list.
    encodable = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return strip_control_characters(encodable.replace("\n", "\\n").replace("\t", "\\t"))


@dataclass(frozen=True)
class KindCount:
    """How many exclusions there are of one kind."""

    kind: str
    count: int

    def __str__(self) -> str:
        """Return the count with its kind, such as "4 .heic files"."""
        return f"{self.count:,} {self.kind if self.count == 1 else _plural(self.kind)}"


def _plural(kind: str) -> str:
    return _PLURAL.sub(lambda match: match[0] + ("es" if match[0] == "box" else "s"), kind, count=1)


@dataclass(frozen=True)
class Account:
    """What became of everything that was found in a raw data set: found = read + refused + left out.

    Attributes:
        read: the photos that were prepared.
        refused: photos that could not be read, by kind.
        left_out: what is not read by rule, by kind.
        repaired: of the read photos, those whose file had a fault, by kind.

    >>> account = Account(5, refused=(KindCount("missing file", 1),), left_out=(KindCount(".heic file", 4),))
    >>> account.found, account.sentence()
    (10, 'Found 10: 5 read, 1 refused (1 missing file), 4 left out (4 .heic files).')
    """

    read: int = 0
    refused: tuple[KindCount, ...] = ()
    left_out: tuple[KindCount, ...] = ()
    repaired: tuple[KindCount, ...] = ()

    @property
    def found(self) -> int:
        """The sum of what was read, refused and left out."""
        return self.read + total(self.refused) + total(self.left_out)

    def sentence(self) -> str:
        """Return the sum by reason, as one sentence."""
        parts = [f"{self.read:,} read" + _by_kind(self.repaired, ", of them after a repair ", "")]
        parts += [f"{total(counts):,} {name}{_by_kind(counts)}" for name, counts in self._excluded()]
        return f"Found {self.found:,}: {', '.join(parts)}."

    def _excluded(self) -> tuple[tuple[str, tuple[KindCount, ...]], ...]:
        return ("refused", self.refused), ("left out", self.left_out)


def total(counts: Iterable[KindCount]) -> int:
    """Return the number of exclusions of all kinds."""
    return sum(count.count for count in counts)


def count_kinds(exclusions: Iterable[Exclusion]) -> tuple[KindCount, ...]:
    """Return how many exclusions there are of each kind, the most frequent first."""
    counts = Counter(exclusion.kind for exclusion in exclusions)
    return tuple(KindCount(kind, count) for kind, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _by_kind(counts: Sequence[KindCount], before: str = " (", after: str = ")") -> str:
    if not counts:
        return ""
    named = [str(count) for count in counts[:_KINDS_NAMED]]
    rest = total(counts[_KINDS_NAMED:])
    return before + ", ".join([*named, f"{rest:,} others"] if rest else named) + after


def reasons_by_kind(exclusions: Sequence[Exclusion]) -> list[str]:
    """Return a line for each of the most frequent kinds: its count, and the reason of its first exclusion."""
    reasons: dict[str, str] = {}
    for exclusion in exclusions:
        reasons.setdefault(exclusion.kind, exclusion.reason)
    return [f"{count}: {reasons[count.kind]}" for count in count_kinds(exclusions)[:_KINDS_NAMED]]


def because(exclusions: Sequence[Exclusion]) -> str:
    """Return the reasons as the end of an error message; empty if nothing was left out."""
    lines = reasons_by_kind(exclusions)
    return f" (left out: {'; '.join(lines)})" if lines else ""


def write_exclusions(
    file: Path, refused: Iterable[Exclusion], left_out: Iterable[Exclusion], repaired: Iterable[Exclusion]
) -> None:
    """Write a CSV file with the columns path, reason, outcome (refused, left out or repaired) and kind."""
    groups = {"refused": refused, "left out": left_out, "repaired": repaired}
    rows = [
        (entry.path, entry.reason, outcome, entry.kind)
        for outcome, exclusions in groups.items()
        for entry in exclusions
    ]
    write_text(file, csv_text([("path", "reason", "outcome", "kind"), *rows], "\r\n"))
