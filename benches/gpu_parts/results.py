"""The stored results of a GPU run: one JSON file that is complete after every row."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FINISHED = "finished"
SKIPPED = "skipped"


@dataclass(frozen=True)
class Results:
    """The file gpu.json: for each part its status, its seconds, the machine and the rows.

    Attributes:
        file: the JSON file.
    """

    file: Path

    def open_for(self, dry_run: bool) -> None:
        """Make the file if it is not there; what earlier runs stored of other parts stays.

        Raises:
            ValueError: if the file is of a dry run and this run is not, or the other way round.
        """
        stored = self.read() if self.file.is_file() else {"dry_run": dry_run, "parts": {}}
        if stored["dry_run"] != dry_run:
            raise ValueError(f"{self.file} is of {'a real' if dry_run else 'a dry'} run; give another --out")
        self._write(stored)

    def read(self) -> dict[str, Any]:
        """Return what is stored; raises ValueError if there is nothing."""
        if not self.file.is_file():
            raise ValueError(f"{self.file} does not exist; run benches/gpu.py first, or name its folder with --out")
        return json.loads(self.file.read_text(encoding="utf-8"))

    def save(self, part: str, key: str, row: Any) -> None:
        """Store one row of a part."""
        stored = self.read()
        stored["parts"].setdefault(part, {}).setdefault("rows", {})[key] = row
        self._write(stored)

    def begin(self, part: str, about: dict[str, Any]) -> dict[str, Any]:
        """Return the rows that an earlier run stored of a part; none if it ran on another machine or commit, or had ended.

        Args:
            part: its name.
            about: the machine that measures it now.
        """
        stored = self.read()
        earlier = stored["parts"].get(part, {})
        goes_on = _without_date(earlier.get("about")) == _without_date(about) and earlier.get("status") != FINISHED
        rows = (
            {key: row for key, row in earlier.get("rows", {}).items() if key not in ("error", SKIPPED)}
            if goes_on
            else {}
        )
        stored["parts"][part] = {"status": "started", "about": about, "rows": rows}
        self._write(stored)
        return rows

    def add(self, other: "Results") -> list[str]:
        """Take over every part that another file has rows of; returns their names.

        Raises:
            ValueError: if one of the two files is of a dry run and the other is not, or a file does not exist.
        """
        stored, taken = self.read(), other.read()
        if stored["dry_run"] != taken["dry_run"]:
            raise ValueError(f"{other.file} is of {'a dry' if taken['dry_run'] else 'a real'} run, {self.file} is not")
        parts = {name: part for name, part in taken["parts"].items() if part.get("rows")}
        stored["parts"].update(parts)
        self._write(stored)
        return list(parts)

    def finish(self, part: str, status: str, seconds: float) -> None:
        """Store how a part has ended."""
        stored = self.read()
        stored["parts"].setdefault(part, {"rows": {}}).update(status=status, seconds=round(seconds, 1))
        self._write(stored)

    def finished(self, parts: tuple[str, ...]) -> bool:
        """Return whether all these parts were finished, or skipped for a reason, without a failure."""
        stored = self.read()["parts"]
        statuses = [stored.get(part, {}).get("status", "") for part in parts]
        return all(status == FINISHED or status.startswith(SKIPPED) for status in statuses)

    def _write(self, stored: dict[str, Any]) -> None:
        # Written beside and renamed, so that a run that is cut off leaves the last complete file.
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        part.replace(self.file)


def _without_date(about: dict[str, Any] | None) -> dict[str, Any] | None:
    return {key: value for key, value in about.items() if key != "date"} if about is not None else None
