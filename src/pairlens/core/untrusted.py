"""Bounded reading of untrusted text, JSON and safetensors files, and checks of untrusted names, paths and tensors."""

import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from safetensors import safe_open

# Torch takes long to import, and this module is part of every command.
if TYPE_CHECKING:
    from torch import Tensor

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


def read_bytes(file: Path, limit: int | None = None) -> bytes:
    """Return the contents of a file.

    Raises:
        ValueError: if it is larger than the limit, 256 MiB by default, which no list, settings file or report is; or if
            it is not a regular file.
    """
    size = regular_file(file).stat().st_size
    most = MAX_JSON_BYTES if limit is None else limit
    if size > most:
        raise ValueError(f"{file} has {size:,} bytes, but at most {most:,} are read; check that it is the right file")
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


class TensorForm(NamedTuple):
    """What a stored tensor must have in common with the tensor that it is loaded into.

    Attributes:
        shape: its shape.
        numbers: the kind of its numbers: floats (of any precision), integers, truth values or complex numbers.
    """

    shape: tuple[int, ...]
    numbers: str


def form_of(tensor: "Tensor") -> TensorForm:
    """Return the form of a tensor.

    >>> import torch
    >>> form_of(torch.zeros(2, 3))
    TensorForm(shape=(2, 3), numbers='floats')
    """
    if tensor.is_floating_point():
        numbers = "floats"
    elif tensor.is_complex():
        numbers = "complex numbers"
    else:
        numbers = "truth values" if str(tensor.dtype) == "torch.bool" else "integers"
    return TensorForm(tuple(tensor.shape), numbers)


def read_forms(file: Path) -> dict[str, TensorForm]:
    """Return the form of each tensor of a safetensors file from its header, without reading the tensors.

    The library checks that the header fits the length of the file.

    Raises:
        SafetensorError: if it is not a safetensors file.
    """
    with safe_open(regular_file(file), framework="pt") as stored:
        slices = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118 (not a mapping)
        return {name: TensorForm(tuple(one.get_shape()), _numbers(one.get_dtype())) for name, one in slices.items()}


def _numbers(code: str) -> str:
    """Return the kind of the numbers that the format calls F32, BF16, F8_E4M3, C64, BOOL, I64, U8 and so on."""
    if code == "BOOL":
        return "truth values"
    return {"F": "floats", "B": "floats", "C": "complex numbers"}.get(code[0], "integers")


def first_mismatch(expected: Mapping[str, TensorForm], stored: Mapping[str, TensorForm]) -> str | None:
    """Describe the first tensor that is missing, unexpected, of another shape or of other numbers; None if all match.

    Floats of another precision match. Integers in the place of floats do not: weights that were quantised without their
    scales are no weights any more.

    >>> first_mismatch({"a": TensorForm((2, 3), "floats")}, {"a": TensorForm((2, 3), "integers")})
    'a holds integers, not floats'
    """
    for name, form in expected.items():
        if name not in stored:
            return f"{name} is missing"
        if stored[name].shape != form.shape:
            return f"{name} is of shape {stored[name].shape}, not {form.shape}"
        if stored[name].numbers != form.numbers:
            return f"{name} holds {stored[name].numbers}, not {form.numbers}"
    return next((f"{name} is unexpected" for name in stored if name not in expected), None)


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
