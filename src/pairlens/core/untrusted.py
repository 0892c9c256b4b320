"""Bounded reading of untrusted text, JSON and safetensors files, and checks of untrusted names and paths."""

import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

MAX_JSON_BYTES = 1 << 28
# Matches a path that is empty or absolute, has a drive letter or a component "..", or ends in a separator or in the
# component ".". Arrow's regular expressions (RE2) read it as well, so it must not use lookahead.
LEADS_OUT = r"(^|[/\\])\.\.([/\\]|$)|^[/\\]|(^|[/\\])\.?$|^[A-Za-z]:"
# Control characters of ASCII and Latin-1, among them the escape that starts the commands of a terminal.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Half characters, which JSON can contain and UTF-8 cannot encode.
_SURROGATES = re.compile(r"[\ud800-\udfff]")


def regular_file(file: Path) -> Path:
    """Return the path of a file that is about to be read, if it is a file or a link to one.

    A pipe would block its reader for ever, and a device may deliver bytes without end. Every library that opens a file
    gets its path from here.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: if it is a pipe, a socket, a device or a folder.
    """
    mode = file.stat().st_mode
    if not stat.S_ISREG(mode):
        raise ValueError(f"{file} is {_kind_of(mode)} and not a file; replace it, or give another path")
    return file


def _kind_of(mode: int) -> str:
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((kind for is_kind, kind in kinds.items() if is_kind(mode)), "a device")


def read_bytes(file: Path, limit: int = MAX_JSON_BYTES) -> bytes:
    """Return the contents of a file.

    Raises:
        ValueError: if it is larger than the limit, 256 MiB by default, which no list, settings file or report is; or if
            it is not a regular file.
    """
    size = regular_file(file).stat().st_size
    if size > limit:
        raise ValueError(f"{file} has {size:,} bytes, but at most {limit:,} are read; check that it is the right file")
    with file.open("rb") as opened:
        # One byte more, because the stated size need not be true: files in /proc have the size 0.
        contents = opened.read(size + 1)
    if len(contents) > size:
        raise ValueError(
            f"{file} has more bytes than its system states; copy it to a disk, or wait until it is written"
        )
    return contents


def read_text(file: Path, encoding: str = "utf-8") -> str:
    """Return the text of a file with Unix line ends; raises as `read_bytes`.

    A `UnicodeDecodeError` is left to the caller, who knows what the file should be.
    """
    return read_bytes(file).decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: if it is not JSON, is nested deeper than Python can read, or contains a number that is too long.

    >>> parse_json("[1, 2]")
    [1, 2]
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(file: Path) -> Any:
    """Return the value of a JSON file; raises ValueError with the reason, but not the name of the file, as `parse_json`."""
    return parse_json(read_text(file))


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a safetensors file from its header, without reading the tensors.

    The library checks that the header fits the length of the file.

    Raises:
        SafetensorError: if it is not a safetensors file.
    """
    with safe_open(regular_file(file), framework="pt") as stored:
        return {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118 (not a mapping)


def first_mismatch(expected: Mapping[str, tuple[int, ...]], shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Describe the first tensor that is missing, unexpected or of another shape; None if all match.

    >>> first_mismatch({"a": (2, 3)}, {"a": (2, 2)})
    'a is of shape (2, 2), not (2, 3)'
    """
    for name, shape in expected.items():
        if name not in shapes:
            return f"{name} is missing"
        if shapes[name] != shape:
            return f"{name} is of shape {shapes[name]}, not {shape}"
    return next((f"{name} is unexpected" for name in shapes if name not in expected), None)


def is_plain_text(text: str) -> bool:
    r"""Return whether a text has no control characters, which a terminal would execute, and can be encoded as UTF-8.

    >>> is_plain_text("Größe 1"), is_plain_text("red \x1b[31m")
    (True, False)
    """
    return _CONTROLS.search(text) is None and _SURROGATES.search(text) is None


def strip_control_characters(text: str) -> str:
    r"""Return a text with control characters escaped, except line ends and tabs, so that a terminal can show it.

    >>> strip_control_characters("\x1b[31m")
    '\\x1b[31m'
    """
    return _CONTROLS.sub(lambda match: match[0] if match[0] in "\n\t" else f"\\x{ord(match[0]):02x}", text)


def escapes_folder(path: str) -> bool:
    r"""Return whether a relative path may lead out of its folder, or does not name a file in it.

    Backslashes and drive letters count on every system, so a list that is accepted here is safe on Windows, too.

    >>> escapes_folder("a/b.jpg"), escapes_folder("../b.jpg"), escapes_folder("/etc/passwd"), escapes_folder("c:\\b.jpg")
    (False, True, True, True)
    """
    return re.search(LEADS_OUT, path) is not None
