"""Command-line options from dataclasses: what tyro cannot derive from the types alone."""

import inspect
from dataclasses import field, fields, make_dataclass
from functools import reduce
from operator import or_
from typing import Annotated, Any, get_args

import docstring_parser
import tyro

from pairlens.comparison.reproduce import loss_option
from pairlens.core.settings import Setting, flat_settings, settings_of, with_settings, without_functions
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.metric_spec import metric_text
from pairlens.losses import Loss
from pairlens.losses.loss_text import command_name, miner_from_text, miner_text
from pairlens.losses.miners import Miner


def first_sentence(kind: type) -> str:
    """Return the first sentence of a docstring, on one line.

    >>> from pairlens.losses import Margin
    >>> first_sentence(Margin)
    'Margin loss: positives nearer and negatives farther than a boundary, which is learned per class.'
    """
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


def _with_option_names(kind: type) -> type:
    """Return a subclass of a loss whose settings have other names as options, or the loss itself if none has."""
    renamed = [
        (f.name, Annotated[f.type, tyro.conf.arg(name=loss_option(f.name))], field(default=f.default))
        for f in fields(kind)
        if loss_option(f.name) != f.name
    ]
    if not renamed:
        return kind
    subclass = make_dataclass(kind.__name__, renamed, bases=(kind,), frozen=True)
    subclass.__doc__ = kind.__doc__
    return subclass


# A setting of a loss and a setting of a run may have the same name, such as temperature. On the command line the loss is
# then a subclass in which that setting is called loss_temperature.
OPTION_CLASSES: dict[type, type] = {kind: _with_option_names(kind) for kind in get_args(Loss)}
LOSS_CLASSES: dict[type, type] = {options: kind for kind, options in OPTION_CLASSES.items()}


def to_command_line(loss: Any) -> Any:
    """Return a loss as the class that the command line has for it."""
    return _as_instance(loss, OPTION_CLASSES.get(type(loss), type(loss)))


def _from_command_line(loss: Any) -> Any:
    return _as_instance(loss, LOSS_CLASSES.get(type(loss), type(loss)))


def _as_instance(loss: Any, kind: type) -> Any:
    return loss if kind is type(loss) else kind(**{f.name: getattr(loss, f.name) for f in fields(loss)})


def loss_choice() -> Any:
    """Return the union of all losses as subcommands, each with its name and the first sentence of its docstring."""
    choices = [
        Annotated[OPTION_CLASSES[kind], tyro.conf.subcommand(command_name(kind), description=first_sentence(kind))]
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
    """Return a flat dataclass with a field for every setting of an experiment, from which tyro derives the options.

    Args:
        name: the name of the class.
        base: the defaults of the options.
        changed: fields with another (type, default).
    """
    values = flat_settings(base)
    # A sum, or a loss of another project, was typed as a text and is no subcommand; its value is kept as it is.
    loss_kind = LossChoice if type(base.loss) in OPTION_CLASSES else Annotated[Any, tyro.conf.Fixed, tyro.conf.Suppress]
    special = {"loss": (loss_kind, to_command_line(base.loss)), "miner": (MinerChoice, base.miner)}
    # On the command line a metric is always a text.
    special["metrics"] = (tuple[str, ...], tuple(map(metric_text, base.evaluation.metrics)))
    special |= changed or {}
    options = []
    for entry in settings_of(Experiment).values():
        kind, default = special.get(entry.name, (without_functions(entry.kind), values[entry.name]))
        # A setting that only Python can give has no option.
        if kind is type(None):
            continue
        aliases = tuple(f"--{alias}" for alias in entry.aliases)
        # The losses are subcommands, which have their own help texts.
        if entry.name != "loss":
            kind = Annotated[kind, tyro.conf.arg(help=_help_of(entry), aliases=aliases)]
        options.append((entry.name, kind, field(default=default)))
    return make_dataclass(name, options, frozen=True)


def _help_of(entry: Setting) -> str:
    """Return the description of a setting in the docstring of the record that holds it, on one line."""
    described = {
        one.arg_name: one.description or "" for one in docstring_parser.parse(entry.owner.__doc__ or "").params
    }
    return " ".join(described[entry.path[-1]].split())


def as_experiment(settings: Any, loss: Loss | None = None) -> Experiment:
    """Return the experiment of a settings record, with its own loss or with another one."""
    values: dict[str, Any] = {
        name: getattr(settings, name) for name in settings_of(Experiment) if hasattr(settings, name)
    }
    values["loss"] = _from_command_line(values["loss"]) if loss is None else loss
    return with_settings(Experiment(), values)
