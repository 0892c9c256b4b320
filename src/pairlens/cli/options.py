"""Command line options from dataclasses: how tyro is told what it cannot see from the types."""

import inspect
from dataclasses import MISSING, field, fields, make_dataclass
from functools import reduce
from operator import or_
from typing import Annotated, Any, get_args, get_type_hints

import tyro

from pairlens.comparison.reproduce import loss_option
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.loss_spec import command_name, miner_from_text, miner_text
from pairlens.losses import Loss
from pairlens.losses.miners import Miner


def first_sentence(kind: type) -> str:
    """Return the first sentence of a docstring, on one line.

    >>> from pairlens.losses import Margin
    >>> first_sentence(Margin)
    'Margin loss: positives nearer and negatives farther than a boundary that each class learns.'
    """
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


def _typed(kind: type) -> type | None:
    """Return a loss with its settings under the names they have as options, None if these are its own."""
    taken = [f for f in fields(kind) if loss_option(f.name) != f.name]
    renamed = [
        (f.name, Annotated[f.type, tyro.conf.arg(name=loss_option(f.name))], field(default=f.default)) for f in taken
    ]
    if not renamed:
        return None
    typed = make_dataclass(kind.__name__, renamed, bases=(kind,), frozen=True)
    typed.__doc__ = kind.__doc__
    return typed


TYPED: dict[type, type] = {kind: typed for kind in get_args(Loss) if (typed := _typed(kind)) is not None}


def as_typed(loss: Any) -> Any:
    """Return a loss as the command line knows it."""
    return _copied(loss, TYPED.get(type(loss), type(loss)))


def _as_own(loss: Any) -> Any:
    return _copied(loss, {typed: kind for kind, typed in TYPED.items()}.get(type(loss), type(loss)))


def _copied(loss: Any, kind: type) -> Any:
    return loss if kind is type(loss) else kind(**{f.name: getattr(loss, f.name) for f in fields(loss)})


def loss_choice() -> Any:
    """Return the union of all losses as subcommands: the name in lower case, the first sentence of the docstring."""
    choices = [
        Annotated[TYPED.get(kind, kind), tyro.conf.subcommand(command_name(kind), description=first_sentence(kind))]
        for kind in get_args(Loss)
    ]
    return reduce(or_, choices)


LossChoice: Any = loss_choice()
MinerChoice: Any = Annotated[
    Miner | None,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="MINER",
        instance_from_str=lambda words: miner_from_text(words[0]),
        is_instance=lambda value: value is None or isinstance(value, Miner),
        str_from_instance=lambda value: [miner_text(value)],
    ),
]


def settings_record(name: str, base: Experiment, changed: dict[str, tuple[Any, Any]] | None = None) -> type:
    """Return a record with the fields of `Experiment` and the values of `base` as defaults, for tyro to read options from.

    Args:
        name: of the record.
        base: what is not given on the command line.
        changed: fields with another (type, default).
    """
    changed = {"loss": (LossChoice, as_typed(base.loss)), "miner": (MinerChoice, base.miner), **(changed or {})}
    hints = get_type_hints(Experiment) | {key: kind for key, (kind, _) in changed.items()}
    defaults = {f.name: getattr(base, f.name) for f in fields(Experiment)}
    defaults |= {key: default for key, (_, default) in changed.items()}
    kept = [(key, hints[key], field(default=default)) for key, default in defaults.items() if default is not MISSING]
    record = make_dataclass(name, kept, frozen=True)
    record.__doc__ = Experiment.__doc__
    return record


def as_experiment(settings: Experiment, loss: Loss | None = None) -> Experiment:
    """Return the run that a settings record asks for, under its own loss or this one."""
    values: dict[str, Any] = {f.name: getattr(settings, f.name) for f in fields(Experiment)}
    values["loss"] = _as_own(values["loss"]) if loss is None else loss
    return Experiment(**values)


def ranks_registry() -> tyro.constructors.ConstructorRegistry:
    """Return tyro's rules and one more: a tuple of integers is written 1,2,4,8, as history does."""
    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
    def ranks(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
        if info.type != tuple[int, ...]:
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar="K,K,...",
            instance_from_str=lambda words: tuple(int(k) for k in words[0].split(",")),
            is_instance=lambda value: isinstance(value, tuple),
            str_from_instance=lambda value: [",".join(map(str, value))],
        )

    return registry
