"""The end of a sentence about an unknown name: the known name that was probably meant, or all known names."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

# The share of letters in common from which a known name counts as meant. With less, short names match anything.
CUTOFF = 0.6
# A beginning with fewer letters says too little about the name.
MIN_BEGINNING = 3
# No name is longer. The comparison takes long for the long texts that a damaged or hostile file may hold.
MAX_LETTERS = 200


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
    >>> closest("multi", ["multi_similarity", "margin"])
    'multi_similarity'
    """
    if len(word) > MAX_LETTERS:
        return None
    names: dict[str, str] = {}
    for name in known:
        # Of two names that are alike without their case, the first one stays.
        names.setdefault(_plain(name), name)
    # Of long names, such as vit_small_patch16_224, often only the beginning is given.
    begun = [name for name in names if len(word) >= MIN_BEGINNING and name.startswith(_plain(word))]
    if begun:
        return names[min(begun, key=len)]
    found = get_close_matches(_plain(word), names, n=1, cutoff=CUTOFF)
    return names[found[0]] if found else None


def closest_folder(missing: Path, file: str) -> Path | None:
    """Return the folder beside a missing one that has the most similar name and a file of this name.

    None if no name is similar, or if the folder exists.
    """
    if missing.exists():
        return None
    meant = closest(missing.name, (found.parent.name for found in missing.parent.glob(f"*/{file}")))
    return None if meant is None else missing.with_name(meant)


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")
