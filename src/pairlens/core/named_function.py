"""Functions as settings: a record holds the function, a file holds only its name."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class NamedFunction:
    """A function that is the value of a setting, such as an optimizer of your own.

    A run stores the name for display. It never imports the function by this name, because opening a run must not run code;
    so the function is given again when the run is resumed.

    Attributes:
        name: module and name, as in `torch.optim.sgd:SGD`.
        function: the function itself; None after the record was read from a file.

    Raises:
        ValueError: when it is called without the function.

    >>> named(len)
    NamedFunction(name='builtins:len')
    >>> named(len)("four"), named("adam")
    (4, 'adam')
    """

    name: str
    function: Callable[..., Any] | None = field(default=None, repr=False, metadata={"plain": False})

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        if self.function is None:
            raise ValueError(
                f"the function {self.name} of this run is not stored with it; resume the run in Python and give it again, "
                "as in pl.resume_run(folder, functions={'optimizer': my_function})"
            )
        return self.function(*arguments)

    def __str__(self) -> str:
        return self.name


def named(value: Any) -> Any:
    """Return a function as a setting with its importable name, and any other value unchanged."""
    if not callable(value) or isinstance(value, NamedFunction):
        return value
    # A callable object and a `functools.partial` have no name of their own, but that of their class.
    origin = value if hasattr(value, "__qualname__") else type(value)
    return NamedFunction(f"{origin.__module__}:{origin.__qualname__}", value)
