"""Removal of the current folder from the module path of `python -m pairlens`.

`python -m` puts the current folder in front of all others, so a file `numpy.py` or `tyro.py` there would be run in the place
of the library, also by `python -m pairlens report .` in a folder that somebody else has made. This module is imported
before any other, and imports only what Python itself has already loaded.
"""

import sys

# Options that take the name of a module, which may lie in the current folder.
_MODULE_OPTIONS = ("--trust",)


def protect_module_path() -> None:
    """Take the current folder from the front of the module path, if it was put there by `python -m pairlens`.

    If a word of the command names code, as in my_code:loss, the folder goes to the end of the path. The module is found
    there, and no library can be replaced.
    """
    # While Python looks for the module of -m, the name of the program is "-m".
    if sys.argv[:1] != ["-m"] or not _runs_pairlens(sys.orig_argv):
        return
    # With -P, -I or PYTHONSAFEPATH, Python has not put the folder there.
    if sys.flags.safe_path or not sys.path:
        return
    folder = sys.path.pop(0)
    if any(map(_names_code, sys.argv[1:])):
        sys.path.append(folder)


def _runs_pairlens(words: list[str]) -> bool:
    position = words.index("-m") if "-m" in words else len(words)
    return [word.partition(".")[0] for word in words[position + 1 : position + 2]] == ["pairlens"]


def _names_code(word: str) -> bool:
    module, colon, name = word.partition(":")
    is_named = bool(colon) and all(part.isidentifier() for part in module.rpartition("*")[2].strip().split("."))
    return (is_named and name[:1].isidentifier()) or word.partition("=")[0] in _MODULE_OPTIONS
