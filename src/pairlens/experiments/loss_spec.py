"""Losses and miners as text, as commands, files and tables write them: `circle:margin=0.25,gamma=64`.

Losses of others are found by name: `module:callable` of (embeddings, labels).
"""

import ast
import importlib
import inspect
import json
import re
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any, get_args

from pairlens.core.records import from_plain
from pairlens.core.untrusted import parse_json
from pairlens.losses import Loss
from pairlens.losses.miners import Miner
from pairlens.losses.protocols import Wrapped, wrap

NONE = "none"
# Modules by the names that studies of earlier versions hold, and where they are now: what people have stored stays
# readable, so an entry is never taken out.
MOVED_MODULES = {
    "pairlens.analysis.control": "pairlens.comparison.controls",
    "pairlens.analysis.known_circles": "pairlens.analysis.circle_variants",
}


def command_name(kind: type) -> str:
    """Return what a loss is called on the command line.

    >>> from pairlens.losses import ProxyAnchor
    >>> command_name(ProxyAnchor)
    'proxyanchor'
    """
    return kind.__name__.lower()


def miner_name(kind: type) -> str:
    """Return what a miner is called on the command line: its name in snake case.

    >>> from pairlens.losses.miners import SemiHard
    >>> miner_name(SemiHard)
    'semi_hard'
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def miner_from_text(text: str) -> Miner | None:
    """Return the miner written as its name, with settings after a colon.

    Raises:
        ValueError: naming the miners there are, or the setting that does not fit.

    >>> miner_from_text("semi_hard:margin=0.1")
    SemiHard(margin=0.1)
    """
    return None if text == NONE else _record_from_text(text, {miner_name(k): k for k in get_args(Miner)}, "miner")


def miner_text(miner: Miner | None) -> str:
    """Return a miner as it is written on the command line."""
    if miner is None:
        return NONE
    return _text_of(miner_name(type(miner)), miner)


def loss_from_text(text: str) -> Loss:
    """Return the loss written as its name, with or without underscores, and settings after a colon.

    Raises:
        ValueError: naming the losses there are, or the setting that does not fit.

    >>> loss_from_text("multi_similarity:beta=50").beta
    50.0
    """
    name, colon, settings = text.partition(":")
    return _record_from_text(_plain(name) + colon + settings, _losses(), "loss")


def any_loss_from_text(text: str) -> Any:
    """Return a loss of ours by its name, or anybody's function of (embeddings, labels) as module:callable.

    Raises:
        ValueError: if it is neither.
    """
    return loss_from_text(text) if _is_ours(text) or ":" not in text else find_third_party_loss(text)


def trainable_from_text(text: str, name: str = "") -> Loss | Wrapped:
    """Return what `any_loss_from_text` does, a stranger wrapped under a name so that a run can be made of it."""
    found = any_loss_from_text(text)
    return found if _is_ours(text) or ":" not in text else wrap(found, name or text)


def loss_text(loss: Loss | Wrapped) -> str:
    """Return a loss as it is written on the command line.

    >>> from pairlens.losses import Circle
    >>> loss_text(Circle())
    'circle:margin=0.4,gamma=80.0'
    """
    return loss.name if isinstance(loss, Wrapped) else _text_of(command_name(type(loss)), loss)


def _losses() -> dict[str, type]:
    return {command_name(kind): kind for kind in get_args(Loss)}


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _is_ours(text: str) -> bool:
    return _plain(text.partition(":")[0]) in _losses()


def _text_of(name: str, record: Any) -> str:
    settings = ",".join(f"{f.name}={json.dumps(getattr(record, f.name))}" for f in fields(record))
    return name + (f":{settings}" if settings else "")


def _record_from_text(text: str, kinds: dict[str, type], what: str) -> Any:
    name, _, settings = text.partition(":")
    if name not in kinds:
        raise ValueError(f"there is no {what} {name}; there are {', '.join(kinds)}")
    words = [word.partition("=") for word in re.split(r",(?![^\[]*\])", settings) if word]
    return from_plain(kinds[name], {key: _value(value) for key, _, value in words}, f"the {what} {name}")


def _value(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        return text


def find_third_party_loss(text: str) -> Callable[..., Any]:
    """Return the function of (embeddings, labels) that a text names; a class is made, with the settings in brackets.

    To a function the settings are given at every call.

    Args:
        text: such as my_code.losses:circle or pytorch_metric_learning.losses:CircleLoss(m=0.4, gamma=80).

    Raises:
        ValueError: if there is no such module or name, or it cannot be made.

    >>> find_third_party_loss("torch.nn:CosineSimilarity(dim=1)")
    CosineSimilarity()
    """
    module, _, wanted = text.partition(":")
    name, settings = _name_and_settings(wanted, text)
    try:
        found = getattr(importlib.import_module(MOVED_MODULES.get(module, module)), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{text} cannot be found ({error}); give module:callable with the module on the Python path"
        ) from error
    if not inspect.isclass(found):
        return partial(_callable(found, text), **settings) if settings else _callable(found, text)
    try:
        return _callable(found(**settings), text)
    except TypeError as error:
        raise ValueError(f"{text} cannot be made ({error}); give its settings, as in {text}(name=value)") from error


def _callable(found: Any, text: str) -> Callable[..., Any]:
    if callable(found):
        return found
    raise ValueError(f"{text} is not callable; give a function or a class of (embeddings, labels)")


def _name_and_settings(wanted: str, text: str) -> tuple[str, dict[str, Any]]:
    try:
        tree = ast.parse(wanted, mode="eval").body
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and not tree.args:
            return tree.func.id, {str(k.arg): ast.literal_eval(k.value) for k in tree.keywords}
        if isinstance(tree, ast.Name):
            return tree.id, {}
    # What is nested deeply exhausts Python's parser, and what follows its tree, in either of two ways.
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        pass
    raise ValueError(
        f"{text} names no loss; give module:callable or module:Class(name=value), values as numbers or text"
    )
