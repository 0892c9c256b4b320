"""The processes that this one has started, as Linux lists them."""

import os
from collections.abc import Iterator
from pathlib import Path


def descendants() -> Iterator[tuple[int, str]]:
    """Yield the numbers and titles of all processes below this one."""
    pending = [os.getpid()]
    while pending:
        children = Path(f"/proc/{pending.pop()}/task")
        for task in children.iterdir() if children.is_dir() else ():
            for pid in (task / "children").read_text(encoding="utf-8").split():
                pending.append(int(pid))
                yield int(pid), Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
