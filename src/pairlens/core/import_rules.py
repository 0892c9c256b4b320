"""What may be imported by its name: the only place where the name of a module becomes code.

A name that a person types is imported. A name that a file holds, such as the loss of a study, is imported only if a person
trusts its module; and never from the standard library, which has no loss and no metric, but classes that start programs.
"""

import functools
import inspect
import sys
from collections.abc import Collection
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pairlens.core.records import require

# Modules that stored studies of earlier versions name, and their present names. Entries are never removed, so that stored
# studies stay readable.
MOVED_MODULES = {
    "pairlens.analysis.control": "pairlens.comparison.controls",
    "pairlens.analysis.known_circles": "pairlens.analysis.circle_variants",
}
# Modules of Pairlens that hold functions to compare losses with; what they define is known, so any file may name it.
OWN_MODULES = ("pairlens.comparison.controls", "pairlens.analysis.circle_variants")
# Stands for every installed module in a collection of trusted ones.
ANY_MODULE = "*"
# What a class must have so that its instances can compute a loss or a metric.
COMPUTING_METHODS = ("__call__", "of_embeddings")


@dataclass(frozen=True)
class NamedIn:
    """A file that names code of other projects, and the modules that a person lets it import.

    Attributes:
        file: the study.
        trust: names of modules, each with everything in it; `ANY_MODULE` allows every module that does not lie in the
            folder of the file.
    """

    file: Path
    trust: tuple[str, ...] = ()

    def check(self, name: str) -> None:
        """Raise ValueError unless the module of `module:callable` may be imported; nothing is imported here."""
        if is_trusted(name, self.trust):
            return
        module = module_of(name)
        check_not_standard(module, name)
        require(
            ANY_MODULE in self.trust,
            f"{self.file} names {name[:80]}, and to import it would run its code; if you trust the file, allow it with "
            f"--trust {module} or --trust_study (in Python: trust={{{module!r}}})",
        )
        require(
            not _lies_in(module, self.file.parent),
            f"{self.file} names {name[:80]}, a module that lies beside the file; --trust_study trusts installed packages "
            f"only, so allow this module by its name with --trust {module}, or install it",
        )


def is_trusted(name: str, trust: Collection[str]) -> bool:
    """Return whether the module of `module:callable`, or a package that contains it, may be imported.

    >>> is_trusted("my_code.losses:MyLoss", {"my_code"}), is_trusted("other:loss", {"my_code"})
    (True, False)
    """
    module = module_of(name)
    trusted = [*OWN_MODULES, *filter(None, trust)]
    return any(module == allowed or module.startswith(allowed + ".") for allowed in trusted)


def module_of(name: str) -> str:
    """Return the present name of the module of `module:callable`."""
    module = name.partition(":")[0].strip()
    return MOVED_MODULES.get(module, module)


def import_named(text: str, name: str) -> Any:
    """Import the module of `module:callable` and return what has the given name in it; nothing is called.

    Raises:
        ImportError, AttributeError: if there is no such module or name.
        ValueError: if it belongs to the standard library, also if the module has only imported it from there.
    """
    module = module_of(text)
    if not all(part.isidentifier() for part in module.split(".")):
        raise ImportError(f"{module[:80]!r} is not the name of a module")
    check_not_standard(module, text)
    target = getattr(import_module(module), name)
    if callable(target):
        _check_origin(target, text)
    # A module also holds what it imports, so a file could name everything that our own modules use.
    require(
        module not in OWN_MODULES or getattr(target, "__module__", "") == module,
        f"{text[:80]} is not defined in {module}; name it by the module that defines it",
    )
    return target


def check_not_standard(module: str, text: str) -> None:
    """Raise ValueError if a module is part of Python's standard library."""
    require(
        _top(module) not in sys.stdlib_module_names,
        f"{text[:80]} names a part of Python's standard library, which has no loss and no metric; name your own module",
    )


def _check_origin(target: Any, text: str) -> None:
    """Raise ValueError if a function or a class, or that of an object, is one of the standard library."""
    if isinstance(target, functools.partial):
        _check_origin(target.func, text)
        return
    kind = target if inspect.isclass(target) or inspect.isroutine(target) else type(target)
    # Built-in functions of extension modules have no module.
    check_not_standard(getattr(kind, "__module__", None) or "", text)


def check_instances_compute(kind: type, text: str) -> None:
    """Raise ValueError unless the instances of a class can be called or compute a loss; no instance is made."""
    # Not hasattr: every class is itself callable, because calling it makes an instance.
    computes = any(method in vars(base) for base in kind.__mro__ for method in COMPUTING_METHODS)
    require(
        computes,
        f"{text[:80]} is not callable; give a function of (embeddings, labels), or a class whose instances are",
    )


def _top(module: str) -> str:
    return module.partition(".")[0]


def _lies_in(module: str, folder: Path) -> bool:
    """Return whether a module, or the package that contains it, would be imported from a folder; imports nothing."""
    try:
        # Only the first part of the name is looked up: to find a submodule, Python imports its package.
        spec = find_spec(_top(module))
    except (ImportError, ValueError):
        return False
    if spec is None:
        return False
    places = [spec.origin or "", *(spec.submodule_search_locations or [])]
    base = folder.resolve()
    return any(place and Path(place).resolve().is_relative_to(base) for place in places)
