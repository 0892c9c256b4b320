"""Where the figures of a served collection are kept."""

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent.parent / "benches" / "results" / "serving.json"


def write_figures(part: str, figures: Mapping[str, object]) -> None:
    """Put the figures of one part into the file, with the day on which they were measured."""
    earlier = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    changed = {**earlier, part: {"date": str(date.today()), **figures}}
    RESULTS.write_text(json.dumps(changed, indent=1) + "\n", encoding="utf-8")
