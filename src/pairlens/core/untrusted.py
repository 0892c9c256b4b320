"""Texts, JSON and tensors out of files that others may have written: of bounded size, and wrong ones end in a sentence."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

MAX_JSON_BYTES = 1 << 28
# In a form that Arrow's regular expressions read as well.
LEADS_OUT = r"(^|[/\\])\.\.([/\\]|$)|^[/\\]|(^|[/\\])\.?$|^[A-Za-z]:"
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")


def read_text(file: Path, encoding: str = "utf-8") -> str:
    """Return a text file; `UnicodeDecodeError` is for the caller, who knows what the file should be.

    Raises:
        ValueError: if it is larger than 256 MiB, which no list, table of settings or report is.
    """
    size = file.stat().st_size
    if size > MAX_JSON_BYTES:
        raise ValueError(
            f"{file} has {size:,} bytes where at most {MAX_JSON_BYTES:,} are read; it is not what its name says"
        )
    return file.read_text(encoding=encoding)


def parse_json(text: str) -> Any:
    """Return what a JSON text holds.

    Raises:
        ValueError: if it is no JSON, is nested deeper than Python reads, or has a number too long to read.

    >>> parse_json("[1, 2]")
    [1, 2]
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(file: Path) -> Any:
    """Return what a JSON file holds; raises ValueError, saying why without the name of the file, if it is none."""
    return parse_json(read_text(file))


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a safetensors file from its header, which the library holds against its length.

    Raises:
        SafetensorError: if it is none.
    """
    with safe_open(file, framework="pt") as stored:
        return {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118 (not a mapping)


def first_mismatch(wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> str | None:
    """Say which tensor is missing, too many or of another shape; None if all fit.

    >>> first_mismatch({"a": (2, 3)}, {"a": (2, 2)})
    'a is of shape (2, 2), not (2, 3)'
    """
    for name in wanted:
        if name not in found:
            return f"{name} is missing"
        if found[name] != wanted[name]:
            return f"{name} is of shape {found[name]}, not {wanted[name]}"
    return next((f"{name} is too many" for name in found if name not in wanted), None)


def is_plain_text(text: str) -> bool:
    r"""Whether a text has no control character, which a terminal would obey, and can be written as UTF-8.

    >>> is_plain_text("Größe 1"), is_plain_text("red \x1b[31m")
    (True, False)
    """
    return _CONTROLS.search(text) is None and _SURROGATES.search(text) is None


def strip_control_characters(text: str) -> str:
    r"""Return a text with each control character but line ends and tabs written out, so that a terminal shows it.

    >>> strip_control_characters("\x1b[31m")
    '\\x1b[31m'
    """
    return _CONTROLS.sub(lambda found: found[0] if found[0] in "\n\t" else f"\\x{ord(found[0]):02x}", text)


def escapes_folder(path: str) -> bool:
    r"""Whether a path from a list may lead out of the folder that it is relative to, or names no file in it.

    Backslashes and drive letters count too, so that a list that is safe here is safe elsewhere.

    >>> escapes_folder("a/b.jpg"), escapes_folder("../b.jpg"), escapes_folder("/etc/passwd"), escapes_folder("c:\\b.jpg")
    (False, True, True, True)
    """
    return re.search(LEADS_OUT, path) is not None
