"""Import of losses of other projects by their names, which runs their code: only for names that a person typed or trusts."""

import ast
import inspect
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Any, get_args

from pairlens.core.import_rules import check_instances_compute, import_named, is_trusted
from pairlens.core.records import to_plain
from pairlens.core.suggestion import closest
from pairlens.losses.all_losses import Loss
from pairlens.losses.protocols import is_embedding_loss, needs_criterion, obstacle_of
from pairlens.losses.sum import Sum
from pairlens.losses.third_party import StoredLoss, Wrapped, WrappedPairs, restore, stored_form, wrap_named

# The end of a word: in circle_loss after a small letter or a digit, in NTXent before the last capital.
_WORD_ENDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def third_party_loss(text: str, name: str = "") -> Any:
    """Return the loss that `module:callable` names, ready to be trained: a record as it is, a function wrapped.

    Args:
        text: as `find_third_party_loss` takes it.
        name: the name of a wrapped function; by default the text.

    Raises:
        ValueError: if there is no such loss.
    """
    loss = find_third_party_loss(text)
    # A record of settings is a loss as it is, but a module of PyTorch and a plain function are wrapped.
    is_record = not inspect.isroutine(loss) and not isinstance(loss, partial) and needs_criterion(loss)
    return loss if is_record else wrap_named(loss, name or text, text)


def open_stored(stored: Any, given: Any = None, trust: Collection[str] = ()) -> Any:
    """Return a loss that was read from a run, with its code if the code was given or its module is trusted.

    Nothing is imported unless its module, or a package that contains it, is among `trust`.

    Args:
        stored: the loss as the run stores it.
        given: the same loss, which a caller has at hand; None if it has not.
        trust: names of modules, such as my_code.losses, that may be imported.

    Raises:
        ValueError: if another loss was given than the run was trained with, or a trusted module does not hold the loss.
    """
    if given is not None:
        _check_same_loss(stored, given)
        return given
    if isinstance(stored, Sum):
        return replace(stored, losses=tuple(open_stored(part, trust=trust) for _, part in stored.parts))
    if isinstance(stored, StoredLoss) and is_trusted(stored.name, trust):
        return _restored(stored)
    if isinstance(stored, Wrapped | WrappedPairs) and obstacle_of(stored) and is_trusted(stored.source, trust):
        return replace(third_party_loss(stored.source), name=stored.name)
    return stored


def _check_same_loss(stored: Any, given: Any) -> None:
    # A wrapped function cannot be compared with what is stored, which is only its name. Plain forms are compared, because
    # the parts of a sum are records of other projects on one side and what is stored of them on the other.
    if not isinstance(stored, Wrapped | WrappedPairs) and to_plain(stored_form(given)) != to_plain(stored):
        raise ValueError(f"the run was trained with {stored}, not with {given}; give the same loss, or none")


def _restored(stored: StoredLoss) -> Any:
    name = stored.name.partition(":")[2]
    try:
        kind = import_named(stored.name, name)
        check_instances_compute(kind, stored.name)
        return restore(kind, stored)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"the loss {stored.name} cannot be made again from its stored fields ({error}); use the version of its module "
            "with which the run was trained"
        ) from error


def command_name(kind: type) -> str:
    """Return the name of a loss or a miner on the command line: its class name in snake case.

    >>> from pairlens.losses import NTXent, ProxyNCAPlus
    >>> command_name(NTXent), command_name(ProxyNCAPlus)
    ('nt_xent', 'proxy_nca_plus')
    """
    return _WORD_ENDS.sub("_", kind.__name__).lower()


def find_third_party_loss(text: str, instantiate: bool = True) -> Callable[..., Any]:
    """Return the loss of another project that a text names: a function, a module or a record.

    If the text names a class, the result is an instance of it, made with the settings in parentheses. A function gets these
    settings at every call.

    Args:
        text: such as my_code.losses:circle or pytorch_metric_learning.losses:CircleLoss(m=0.4, gamma=80).
        instantiate: whether a class is instantiated; otherwise it is returned itself.

    Raises:
        ValueError: if there is no such module or name, if it is of the standard library or nothing that computes, or if the
            class cannot be instantiated.

    >>> find_third_party_loss("torch.nn:CosineSimilarity(dim=1)")
    CosineSimilarity()
    """
    name, settings = name_and_settings(text.partition(":")[2], text)
    try:
        target = import_named(text, name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{text} cannot be found ({error}); {_remedy(text, 'give module:callable with the module on the Python path')}"
        ) from error
    if not instantiate:
        return target
    if not inspect.isclass(target):
        function = _checked_callable(target, text)
        return partial(function, **settings) if settings else function
    check_instances_compute(target, text)
    try:
        instance = target(**settings)
    except TypeError as error:
        raise ValueError(
            f"{text} cannot be instantiated ({error}); give its settings, as in {text}(name=value)"
        ) from error
    return _checked_callable(instance, text)


def _checked_callable(target: Any, text: str) -> Callable[..., Any]:
    if callable(target) or is_embedding_loss(target):
        return target
    raise ValueError(f"{text} is not callable; give a function of (embeddings, labels), or a class whose instances are")


def name_and_settings(expression: str, text: str) -> tuple[str, dict[str, Any]]:
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
    """Return the end of a sentence about a text that names no loss of another project."""
    # crcle:gamma=64 is read as module:callable, because it names no loss of Pairlens.
    meant = closest(text.partition(":")[0], map(command_name, get_args(Loss)))
    return otherwise if meant is None else f"did you mean {meant}?"
