"""Losses of others, found by name: `module:callable` of (embeddings, labels)."""

import ast
import importlib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any


def find_stranger(text: str) -> Callable[..., Any]:
    """Return the function of (embeddings, labels) that a text names; a class is made, with the settings in brackets.

    To a function the settings are given at every call.

    Args:
        text: such as my_code.losses:circle or pytorch_metric_learning.losses:CircleLoss(m=0.4, gamma=80).

    Raises:
        ValueError: if there is no such module or name, or it cannot be made.

    >>> find_stranger("torch.nn:CosineSimilarity(dim=1)")
    CosineSimilarity()
    """
    module, _, wanted = text.partition(":")
    name, settings = _name_and_settings(wanted, text)
    try:
        found = getattr(importlib.import_module(module), name)
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
