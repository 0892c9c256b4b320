"""The settings of a loss by their names: of one loss, of the parts of a sum, or of a function that a text names."""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pairlens.core.records import require
from pairlens.losses.loss_import import find_third_party_loss, name_and_settings, third_party_loss
from pairlens.losses.sum import WEIGHT, Sum
from pairlens.losses.third_party import Wrapped, WrappedPairs


def loss_settings(loss: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return the values of some settings of a loss; a setting of a part of a sum is named as in triplet.margin.

    Raises:
        ValueError: if the loss has no such setting.

    >>> from pairlens.losses import Circle, Triplet
    >>> loss_settings(Sum((Circle(), Triplet()), (1, 0.5)), ["circle.margin", "triplet.weight"])
    {'circle.margin': 0.4, 'triplet.weight': 0.5}
    """
    return {name: _value(loss, name) for name in names}


def with_loss_settings(loss: Any, values: Mapping[str, Any]) -> Any:
    """Return a loss with other values of some settings, named as in `loss_settings`.

    Raises:
        ValueError: if the loss has no such setting, or refuses a value.

    >>> from pairlens.losses import Circle, Triplet
    >>> with_loss_settings(Sum((Circle(), Triplet())), {"triplet.margin": 0.2, "triplet.weight": 3.0}).parts[1]
    (3.0, Triplet(margin=0.2, measure='distance', soft=False))
    """
    # A function without settings has no fields to replace, so a loss is replaced only where there is something to change.
    if not values:
        return loss
    if isinstance(loss, Sum):
        return _with_part_settings(loss, values)
    # This also refuses a setting that the loss does not have.
    loss_settings(loss, values)
    if isinstance(loss, Wrapped | WrappedPairs):
        # The loss of a stored run, whose code nobody has given, is not imported here.
        require(not loss.obstacle, loss.obstacle)
        module, _, expression = loss.source.partition(":")
        called, settings = name_and_settings(expression, loss.source)
        given = ", ".join(f"{name}={value!r}" for name, value in (settings | dict(values)).items())
        return replace(third_party_loss(f"{module}:{called}({given})"), name=loss.name)
    return replace(loss, **values)


def _with_part_settings(loss: Sum, values: Mapping[str, Any]) -> Sum:
    by_label: dict[str, dict[str, Any]] = {label: {} for label in loss.labels}
    for name, value in values.items():
        label, _, setting = name.partition(".")
        if label not in by_label:
            raise ValueError(f"{name} is no setting of this sum, whose losses are {', '.join(by_label)}")
        by_label[label][setting] = value
    weights = [by_label[label].pop(WEIGHT, weight) for label, weight in zip(loss.labels, loss.weights, strict=True)]
    parts = [with_loss_settings(part, by_label[label]) for label, part in zip(loss.labels, loss.losses, strict=True)]
    return Sum(tuple(parts), tuple(weights))


def _value(loss: Any, name: str) -> Any:
    if isinstance(loss, Sum):
        label, _, setting = name.partition(".")
        parts = dict(zip(loss.labels, loss.parts, strict=True))
        if label not in parts:
            raise ValueError(f"{name} is no setting of this sum, whose losses are {', '.join(parts)}")
        weight, part = parts[label]
        return weight if setting == WEIGHT else _value(part, setting)
    values = _named_settings(loss) if isinstance(loss, Wrapped | WrappedPairs) else vars(loss)
    if name not in values:
        raise ValueError(f"{name} is no setting of {loss}, which has {', '.join(values) or 'none'}")
    return values[name]


def _named_settings(loss: Wrapped | WrappedPairs) -> dict[str, Any]:
    """Return the settings of a function that was named by module:callable: those of its name, and its defaults."""
    if not loss.source or loss.obstacle:
        return {}
    module, _, expression = loss.source.partition(":")
    called, settings = name_and_settings(expression, loss.source)
    # Of a class these are the parameters of its constructor.
    target = find_third_party_loss(f"{module}:{called}", instantiate=False)
    defaults = {
        parameter.name: parameter.default
        for parameter in inspect.signature(target).parameters.values()
        if parameter.default is not inspect.Parameter.empty
    }
    return defaults | settings
