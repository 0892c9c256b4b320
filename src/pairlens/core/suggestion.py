"""The end of a sentence about an unknown name: the known name that was probably meant, or all known names."""

from collections.abc import Iterable
from difflib import get_close_matches

# The share of letters in common from which a known name counts as meant. With less, short names match anything.
CUTOFF = 0.6


def suggest(word: str, known: Iterable[str]) -> str:
    """Return "did you mean NAME?" for the most similar known name, or "available are NAME, NAME" if none is similar.

    Upper and lower case count as equal, and so do a hyphen and an underscore.

    Args:
        word: the unknown name.
        known: the names that exist, in the order in which they are listed.

    >>> suggest("crcle", ["triplet", "circle"])
    'did you mean circle?'
    >>> suggest("adam", ["triplet", "circle"])
    'available are triplet, circle'
    """
    names = list(known)
    meant = closest(word, names)
    return f"available are {', '.join(names) or 'none'}" if meant is None else f"did you mean {meant}?"


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar to a word; None if no name is similar.

    >>> closest("Multi-Similarty", ["multi_similarity", "margin"])
    'multi_similarity'
    """
    names: dict[str, str] = {}
    for name in known:
        # Of two names that are alike without their case, the first one stays.
        names.setdefault(_plain(name), name)
    found = get_close_matches(_plain(word), names, n=1, cutoff=CUTOFF)
    return names[found[0]] if found else None


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")
