"""Settings: fields of frozen records with their ranges and option names, and the flat view of records within records."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache, reduce
from operator import or_
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pairlens.core.named_function import NamedFunction, named
from pairlens.core.records import field_types, require
from pairlens.core.suggestion import closest

Record = TypeVar("Record")

RULES = "rules"


@dataclass(frozen=True)
class Rules:
    """What holds for the value of a setting, and what it is called on the command line.

    Attributes:
        option: the name of its option, if this is not the name of the field.
        aliases: older names of its option.
        low: the smallest value.
        high: the largest value, far above any real setting; a config file from an untrusted source could otherwise ask
            for all memory.
        above: a value that it must be larger than.
        below: a value that it must be smaller than.
        hidden: whether it has no option, because it follows from the data.
    """

    option: str = ""
    aliases: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    hidden: bool = False


def setting(default: Any, rules: Rules) -> Any:
    """Return a field of a record, with rules that `check_settings` applies.

    >>> @dataclass(frozen=True)
    ... class Batches:
    ...     size: int = setting(128, Rules(option="batch_size", low=1))
    ...     def __post_init__(self):
    ...         check_settings(self)
    >>> Batches(size=0)
    Traceback (most recent call last):
    ValueError: --batch_size 0 must be at least 1
    """
    return field(default=default, metadata={RULES: rules})


def check_settings(record: Any) -> None:
    """Raise ValueError that names the option, if a field of a record has another type or is out of its range.

    Choices (`Literal`), numbers, truth values and texts are checked; other types are checked where they are made. A function
    becomes a `NamedFunction` where the type of the field allows one, and a scalar of NumPy or PyTorch a number of Python.
    """
    hints = field_types(type(record))
    for entry in fields(record):
        rules = entry.metadata.get(RULES, Rules())
        value = getattr(record, entry.name)
        name = f"--{rules.option or entry.name}"
        if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
            # A number of NumPy or a tensor of one number becomes a number of Python, which can be stored as JSON.
            value = value.item()
            object.__setattr__(record, entry.name, value)
        kind = without_functions(hints[entry.name])
        if kind is not hints[entry.name] and callable(value):
            # A frozen record can only be changed like this.
            object.__setattr__(record, entry.name, named(value))
            continue
        _check_type(name, value, kind)
        if isinstance(value, int | float):
            _check_range(name, value, rules)


def _check_type(name: str, value: Any, kind: Any) -> None:
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        # A value that is not hashable, or of another type, is simply none of the choices.
        is_choice = isinstance(value, str) and value in choices
        meant = None if is_choice else closest(str(value), choices)
        remedy = "" if meant is None else f"; did you mean {meant}?"
        require(is_choice, f"{name} {value!r} is not one of {', '.join(choices)}{remedy}")
    elif kind is int:
        # In Python a bool is an int, but it is no number of photos.
        require(isinstance(value, int) and not isinstance(value, bool), f"{name} {value!r} must be an integer")
    elif kind is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        require(is_number, f"{name} {value!r} must be a number")
    elif kind is type(None):
        require(value is None, f"{name} {value!r} must be a function; give it in Python")
    elif kind in (bool, str, Path):
        require(isinstance(value, kind), f"{name} {value!r} must be of type {kind.__name__}")


def without_functions(kind: Any) -> Any:
    """Return the type of a setting without functions, which only Python can give; NoneType if nothing else is left.

    >>> without_functions(Callable[[int], int] | NamedFunction | None)
    <class 'NoneType'>
    """
    kinds = get_args(kind)
    if NamedFunction not in kinds:
        return kind
    return reduce(or_, [one for one in kinds if one is not NamedFunction and get_origin(one) is not Callable])


def _check_range(name: str, value: float, rules: Rules) -> None:
    # Comparisons with NaN are false, so NaN is out of every range.
    if rules.low is not None:
        words = "must not be negative" if rules.low == 0 else f"must be at least {rules.low:g}"
        require(value >= rules.low, f"{name} {value} {words}")
    if rules.above is not None:
        require(value > rules.above, f"{name} {value} must be above {rules.above:g}")
    if rules.high is not None:
        require(value <= rules.high, f"{name} {value} must be at most {rules.high:,}")
    if rules.below is not None:
        require(value < rules.below, f"{name} {value} must be below {rules.below:g}")


@dataclass(frozen=True)
class Setting:
    """One setting of a record of records.

    Attributes:
        name: its unique name, which is that of its option.
        path: the names of the fields that lead to it.
        owner: the record that holds it.
        kind: its annotated type.
        aliases: older names of its option.
        default: the value that it has by default.
    """

    name: str
    path: tuple[str, ...]
    owner: type
    kind: Any
    aliases: tuple[str, ...]
    default: Any


@cache
def settings_of(kind: type) -> dict[str, Setting]:
    """Return every setting of a record class by its option name; fields that are records themselves are opened.

    A field whose type is a choice of several records, such as a loss, is one setting.
    """
    found: dict[str, Setting] = {}
    for entry in _entries(kind, ()):
        assert entry.name not in found, f"two settings are called {entry.name}"
        found[entry.name] = entry
    return found


def _entries(kind: type, path: tuple[str, ...]) -> list[Setting]:
    entries = []
    hints = field_types(kind)
    for entry in fields(kind):
        rules = entry.metadata.get(RULES, Rules())
        hint = hints[entry.name]
        here = (*path, entry.name)
        if is_dataclass(hint):
            entries += _entries(hint, here)  # pyright: ignore[reportArgumentType]
        elif not rules.hidden:
            entries.append(Setting(rules.option or entry.name, here, kind, hint, rules.aliases, entry.default))
    return entries


def find_setting(kind: type, name: str) -> Setting | None:
    """Return the setting with an option name or an older name; None if there is none."""
    settings = settings_of(kind)
    return settings.get(name) or next((one for one in settings.values() if name in one.aliases), None)


def flat_settings(record: Any) -> dict[str, Any]:
    """Return the values of all settings of a record by their option names."""
    values = {}
    for name, entry in settings_of(type(record)).items():
        value = record
        for step in entry.path:
            value = getattr(value, step)
        values[name] = value
    return values


def with_settings(record: Record, values: Mapping[str, Any]) -> Record:
    """Return a record with other values of some settings, given by their option names or older names.

    All values are set at once, so a combination of settings is checked only as a whole.

    Raises:
        ValueError: for an unknown name, or for values that the records refuse.
    """
    return _replace_nested(record, nested_settings(type(record), values))


def _replace_nested(record: Any, nested: Mapping[str, Any]) -> Any:
    hints = field_types(type(record))
    changed = {
        name: _replace_nested(getattr(record, name), value) if is_dataclass(hints[name]) else value
        for name, value in nested.items()
    }
    return replace(record, **changed)


def nested_settings(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return flat settings as dicts within dicts, in the form of the records; raises ValueError for an unknown name."""
    nested: dict[str, Any] = {}
    for name, value in values.items():
        entry = find_setting(kind, name)
        if entry is None:
            raise ValueError(f"there is no setting {name!r}; known are {', '.join(sorted(settings_of(kind)))}")
        inner = nested
        for step in entry.path[:-1]:
            inner = inner.setdefault(step, {})
        inner[entry.path[-1]] = value
    return nested
