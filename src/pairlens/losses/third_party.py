"""Losses of other projects: functions that are wrapped, and classes that a run stores by their importable names."""

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, TypeAlias

from torch import Tensor, nn

from pairlens.core.pairs import Pairs
from pairlens.core.records import from_plain, require, to_plain
from pairlens.losses.base import SOURCES, Source
from pairlens.losses.loss_inputs import as_similarity
from pairlens.losses.protocols import is_embedding_loss, parts_of, possible_sources, takes_pairs, tuning_space
from pairlens.losses.tuning_space import Range

# The plain values that a field of a stored loss can have.
Scalar: TypeAlias = bool | int | float | str
# The last type is the one that an error names, so texts come last.
FieldValue: TypeAlias = tuple[Scalar, ...] | Scalar | None


# The default of the functions below, which is what a wrapped loss has after its run was read from disk. It takes the
# arguments of both kinds of functions.
def _not_stored(first: Any, second: Any) -> Tensor:
    raise ValueError(_obstacle("the function of a wrapped loss"))


def _obstacle(what: str, source: str = "") -> str:
    # What was found by an importable name can be found again; importing it runs code, so only a person can allow it.
    module = source.partition(":")[0]
    trust = f', or allow the import of its module with --trust {module} (in Python: trust={{"{module}"}})'
    return (
        f"{what} is not stored with its run; give the loss again, as in pl.resume_run(folder, loss=...)"
        f"{trust if module else ''}"
    )


@dataclass(frozen=True)
class _WrappedFunction:
    """What the two kinds of wrapped functions have in common."""

    name: str
    function: Callable[..., Tensor] = field(default=_not_stored, repr=False, metadata={"plain": False})
    source: str = field(default="", repr=False)

    @property
    def space(self) -> Mapping[str, Range]:
        """The tuning ranges that the function brings, if it can be made again with other settings."""
        return tuning_space(self.function) if self.source else {}

    @property
    def obstacle(self) -> str:
        """Why the loss cannot be computed; empty if it can."""
        missing = self.function is _not_stored
        return _obstacle(f"the function of the wrapped loss {self.name}", self.source) if missing else ""


@dataclass(frozen=True)
class Wrapped(_WrappedFunction):
    """Any function of (embeddings, labels) as a loss; made by `wrap`.

    Attributes:
        name: its name in folders, tables and figures.
        function: the function itself, which is not stored with a run.
        source: the text `module:callable` by which a user named the function; empty if it was given as an object.
    """

    references: ClassVar[tuple[Source, ...]] = ("batch",)

    def of_embeddings(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of (photo, dim) embeddings and (photo,) labels."""
        return self.function(embeddings, labels)


@dataclass(frozen=True)
class WrappedPairs(_WrappedFunction):
    """Any function of (similarity, pairs) as a loss; made by `wrap_pairs`.

    Attributes:
        name: its name in folders, tables and figures.
        function: the function itself, which is not stored with a run.
        source: the text `module:callable` by which a user named the function; empty if it was given as an object.
    """

    references: ClassVar[tuple[Source, ...]] = SOURCES

    def __call__(self, similarity: Tensor, pairs: Pairs, **needed: Tensor) -> Tensor:
        """Return the loss of (anchor, reference) similarities, which the function gets in float32 or float64.

        Further values per photo are those that the function needs; see `Criterion`.
        """
        return self.function(as_similarity(similarity, pairs), pairs, **needed)


def wrap(function: Callable[[Tensor, Tensor], Tensor], name: str | None = None) -> Wrapped:
    """Return any function of (embeddings, labels), such as a loss of pytorch-metric-learning, as a loss of Pairlens.

    It can be given to a `Criterion` or an `Experiment`, so it can be trained and analysed like the others. If the
    function is a module, its parameters become parameters of the criterion.

    Args:
        function: takes (photo, dim) embeddings and (photo,) labels, and returns a scalar.
        name: its name; by default that of the function or its class.

    Raises:
        ValueError: if the parameters of the function are called `similarity, pairs`.

    >>> import torch
    >>> from pairlens.training.criterion import Criterion
    >>> criterion = Criterion(wrap(lambda embeddings, labels: embeddings.pow(2).sum()))
    >>> criterion(torch.eye(3), torch.tensor([0, 0, 1]))
    tensor(3.)
    """
    name = name or _name_of(function)
    require(not _sees_pairs(function), f"{name} takes similarity and pairs; wrap it with pl.wrap_pairs")
    return Wrapped(name, function)


def wrap_pairs(function: Callable[[Tensor, Pairs], Tensor], name: str = "") -> WrappedPairs:
    """Return any function of (similarity, pairs) as a loss of Pairlens, for every source of references.

    It can be given to a `Criterion`, an `Experiment`, `audit` and `explain` like the losses of Pairlens: the batch, a memory
    or proxies are its references, and its pair weights are its gradient. If the function is a module, its parameters become
    parameters of the criterion.

    Args:
        function: takes (anchor, reference) similarities and their `Pairs`, and returns a scalar.
        name: its name; by default that of the function or its class.

    Raises:
        ValueError: if the parameters of the function are called `embeddings, labels`.

    >>> import torch
    >>> from pairlens.training.criterion import Criterion
    >>> def mean_negative(similarity, pairs):
    ...     return similarity[pairs.negative].mean()
    >>> criterion = Criterion(wrap_pairs(mean_negative))
    >>> criterion(torch.eye(3), torch.tensor([0, 0, 1]))
    tensor(0.)
    """
    name = name or _name_of(function)
    require(not _sees_embeddings(function), f"{name} takes embeddings and labels; wrap it with pl.wrap")
    return WrappedPairs(name, function)


def wrap_named(function: Callable[..., Any], name: str, source: str) -> Wrapped | WrappedPairs:
    """Return a function that a user named by `module:callable` as a loss; its parameter names say which kind it is."""
    kind = WrappedPairs if _sees_pairs(function) else Wrapped
    return kind(name, function, source)


def _name_of(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _sees_pairs(function: Any) -> bool:
    # The signature of a module is that of `nn.Module.__call__`, which takes anything.
    return takes_pairs(function.forward if isinstance(function, nn.Module) else function)


def _sees_embeddings(function: Any) -> bool:
    called = function.forward if isinstance(function, nn.Module) else function
    code = getattr(called, "__code__", None)
    return code is not None and {"embeddings", "labels"} <= set(code.co_varnames[: code.co_argcount])


@dataclass(frozen=True)
class StoredLoss:
    """A loss of another project as its run stores it, without the code that computes it.

    Attributes:
        name: the importable name of its class, `module:Class`.
        fields: its hyper-parameters.
        references: the sources of references that it can be compared with, its usual one first.
    """

    name: str
    fields: dict[str, FieldValue]
    references: tuple[Source, ...] = SOURCES

    def __post_init__(self) -> None:
        named = re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", self.name) is not None
        require(named, f"the stored loss is called {self.name[:80]!r}, but must be named by module:Class")
        require(bool(self.references), f"the stored loss {self.name} has no source of references")

    @property
    def obstacle(self) -> str:
        """Why the loss cannot be computed."""
        return _obstacle(f"the code of the loss {self.name}", self.name)


def stored_form(loss: Any) -> Any:
    """Return the record that a run stores for a loss: the loss itself, or a `StoredLoss` for a class of another project.

    Raises:
        ValueError: if the loss cannot be stored, with the reason and what to do.

    >>> from pairlens.losses import Circle
    >>> stored_form(Circle())
    Circle(margin=0.4, gamma=80.0)
    """
    kind = type(loss)
    if kind.__module__.partition(".")[0] == "pairlens":
        return loss
    _check_is_loss_record(loss, kind)
    _check_is_importable(kind)
    values = {f.name: getattr(loss, f.name) for f in fields(loss) if f.init}
    name = f"{kind.__module__}:{kind.__qualname__}"
    try:
        plain = {"name": name, "fields": to_plain(values), "references": list(possible_sources(loss))}
        stored = from_plain(StoredLoss, json.loads(json.dumps(plain, allow_nan=False)), name)
        again = restore(kind, stored)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} cannot be stored with a run ({error}); its fields must be finite numbers, truth values, texts or "
            "tuples of these"
        ) from error
    # A field that `__post_init__` changes, or whose value is not the whole of it, would come back as another loss.
    changed = [key for key, value in values.items() if getattr(again, key) != value]
    require(not changed, f"{name} cannot be stored with a run: its field {changed[:1]} does not come back as it was")
    return stored


def is_own_loss(loss: Any) -> bool:
    """Return whether Pairlens itself computes a loss, or every part of it, so that its errors are faults of Pairlens."""
    own = [type(part).__module__.partition(".")[0] == "pairlens" for _, part in parts_of(loss)]
    wrapped = [isinstance(part, Wrapped | WrappedPairs | StoredLoss) for _, part in parts_of(loss)]
    return all(own) and not any(wrapped)


def restore(kind: Callable[..., Any], stored: StoredLoss) -> Any:
    """Return an instance of a class with the fields that are stored."""
    return kind(**stored.fields)


def _check_is_loss_record(loss: Any, kind: type) -> None:
    if isinstance(loss, type) or not is_dataclass(loss) or isinstance(loss, nn.Module):
        name = loss.__name__ if isinstance(loss, type) else _name_of(loss)
        raise ValueError(
            f"{name} is not a record with settings; give an instance of a frozen dataclass, or wrap a function or a module "
            "with pl.wrap (of embeddings and labels) or pl.wrap_pairs (of similarity and pairs)"
        )
    frozen = kind.__dataclass_params__.frozen  # pyright: ignore[reportAttributeAccessIssue]
    require(frozen, f"{kind.__name__} can change during a run; make it a frozen dataclass: @dataclass(frozen=True)")
    computes = is_embedding_loss(loss) or (callable(loss) and not _sees_embeddings(kind.__call__))
    require(
        computes,
        f"{kind.__name__} has no method that computes it; write __call__(self, similarity, pairs) or "
        "of_embeddings(self, embeddings, labels)",
    )


def _check_is_importable(kind: type) -> None:
    # The class that another process would find under this name must be this class.
    found = getattr(sys.modules.get(kind.__module__), kind.__qualname__, None)
    require(
        kind.__module__ != "__main__" and found is kind,
        f"{kind.__qualname__} of {kind.__module__} cannot be imported by another process; write the class at the top of a "
        "module that can be imported, or wrap a function with pl.wrap or pl.wrap_pairs",
    )
