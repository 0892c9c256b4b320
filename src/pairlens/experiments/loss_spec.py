"""Text form of losses and miners in commands, files and tables: `circle:margin=0.25,gamma=64`.

Third-party losses are named by their module: `module:callable`, a callable of (embeddings, labels).
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
from pairlens.core.suggestion import closest, suggest
from pairlens.core.untrusted import parse_json
from pairlens.losses import Loss
from pairlens.losses.miners import Miner
from pairlens.losses.protocols import Wrapped, wrap

NONE = "none"
# Modules that stored studies of earlier versions name, and their present names. Entries are never removed, so that stored
# studies stay readable.
MOVED_MODULES = {
    "pairlens.analysis.control": "pairlens.comparison.controls",
    "pairlens.analysis.known_circles": "pairlens.analysis.circle_variants",
}


def command_name(kind: type) -> str:
    """Return the name of a loss on the command line.

    >>> from pairlens.losses import ProxyAnchor
    >>> command_name(ProxyAnchor)
    'proxyanchor'
    """
    return kind.__name__.lower()


def miner_name(kind: type) -> str:
    """Return the name of a miner on the command line: its class name in snake case.

    >>> from pairlens.losses.miners import SemiHard
    >>> miner_name(SemiHard)
    'semi_hard'
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def miner_from_text(text: str) -> Miner | None:
    """Return the miner that a text names, with settings after a colon; None for the text "none".

    Raises:
        ValueError: if there is no such miner or setting; the sentence names the most similar one, or all.

    >>> miner_from_text("semi_hard:margin=0.1")
    SemiHard(margin=0.1)
    """
    if text == NONE:
        return None
    return _record_from_text(text, {miner_name(kind): kind for kind in get_args(Miner)}, "miner")


def miner_text(miner: Miner | None) -> str:
    """Return the text of a miner, as `miner_from_text` reads it."""
    return NONE if miner is None else _text_of(miner_name(type(miner)), miner)


def loss_from_text(text: str) -> Loss:
    """Return the loss of Pairlens that a text names, with or without underscores, and with settings after a colon.

    Raises:
        ValueError: if there is no such loss or setting; the sentence names the most similar one, or all.

    >>> loss_from_text("multi_similarity:beta=50").beta
    50.0
    """
    name, colon, settings = text.partition(":")
    return _record_from_text(_normalized(name) + colon + settings, _losses(), "loss")


def any_loss_from_text(text: str) -> Any:
    """Return a loss of Pairlens by its name, or a third-party function of (embeddings, labels) by module:callable.

    Raises:
        ValueError: if the text is neither.
    """
    return find_third_party_loss(text) if _is_third_party(text) else loss_from_text(text)


def trainable_from_text(text: str, name: str = "") -> Loss | Wrapped:
    """Return the loss that `any_loss_from_text` returns; a third-party loss is wrapped, so that a run can train with it."""
    return wrap(find_third_party_loss(text), name or text) if _is_third_party(text) else loss_from_text(text)


def loss_text(loss: Loss | Wrapped) -> str:
    """Return the text of a loss, as `loss_from_text` reads it; a wrapped loss is written as its name.

    >>> from pairlens.losses import Circle
    >>> loss_text(Circle())
    'circle:margin=0.4,gamma=80.0'
    """
    return loss.name if isinstance(loss, Wrapped) else _text_of(command_name(type(loss)), loss)


def _losses() -> dict[str, type]:
    return {command_name(kind): kind for kind in get_args(Loss)}


def _normalized(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _is_third_party(text: str) -> bool:
    # "circle:gamma=64" and "module:callable" both have a colon; the names of the losses of Pairlens come first.
    name, colon, _ = text.partition(":")
    return bool(colon) and _normalized(name) not in _losses()


def _text_of(name: str, record: Any) -> str:
    # JSON, so that the text is read back to exactly the same numbers.
    settings = ",".join(f"{f.name}={json.dumps(getattr(record, f.name))}" for f in fields(record))
    return name + (f":{settings}" if settings else "")


def _record_from_text(text: str, kinds: dict[str, type], what: str) -> Any:
    name, _, settings = text.partition(":")
    if name not in kinds:
        raise ValueError(f"there is no {what} {name}; {suggest(name, kinds)}")
    # Split at commas, except at those within a list in brackets.
    words = [word.partition("=") for word in re.split(r",(?![^\[]*\])", settings) if word]
    return from_plain(kinds[name], {key: _setting(value) for key, _, value in words}, f"the {what} {name}")


def _setting(text: str) -> Any:
    # Numbers, truth values and lists are JSON; everything else is text, which needs no quotation marks.
    try:
        return parse_json(text)
    except ValueError:
        return text


def find_third_party_loss(text: str) -> Callable[..., Any]:
    """Return the function of (embeddings, labels) that a text names.

    If the text names a class, the result is an instance of it, made with the settings in parentheses. A function gets these
    settings at every call.

    Args:
        text: such as my_code.losses:circle or pytorch_metric_learning.losses:CircleLoss(m=0.4, gamma=80).

    Raises:
        ValueError: if there is no such module or name, or if the class cannot be instantiated.

    >>> find_third_party_loss("torch.nn:CosineSimilarity(dim=1)")
    CosineSimilarity()
    """
    module, _, expression = text.partition(":")
    name, settings = _name_and_settings(expression, text)
    try:
        target = getattr(importlib.import_module(MOVED_MODULES.get(module, module)), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{text} cannot be found ({error}); {_remedy(text, 'give module:callable with the module on the Python path')}"
        ) from error
    if not inspect.isclass(target):
        function = _checked_callable(target, text)
        return partial(function, **settings) if settings else function
    try:
        instance = target(**settings)
    except TypeError as error:
        raise ValueError(
            f"{text} cannot be instantiated ({error}); give its settings, as in {text}(name=value)"
        ) from error
    return _checked_callable(instance, text)


def _checked_callable(target: Any, text: str) -> Callable[..., Any]:
    if callable(target):
        return target
    raise ValueError(f"{text} is not callable; give a function of (embeddings, labels), or a class whose instances are")


def _name_and_settings(expression: str, text: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the keyword arguments of `name` or `name(key=value)`, without running any code."""
    try:
        tree = ast.parse(expression, mode="eval").body
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and not tree.args:
            return tree.func.id, {str(k.arg): ast.literal_eval(k.value) for k in tree.keywords}
        if isinstance(tree, ast.Name):
            return tree.id, {}
    # Deep nesting overflows `ast.parse` (MemoryError) or `literal_eval` (RecursionError).
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        pass
    callables = "give module:callable or module:Class(name=value), with numbers or text as values"
    raise ValueError(f"{text} does not name a loss; {_remedy(text, callables)}")


def _remedy(text: str, otherwise: str) -> str:
    """Return the end of a sentence about a text that names no third-party loss."""
    # crcle:gamma=64 is read as module:callable, because it names no loss of Pairlens.
    meant = closest(text.partition(":")[0], _losses())
    return otherwise if meant is None else f"did you mean {meant}?"
