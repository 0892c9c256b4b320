"""The pictures of a run that its trackers show."""

from pathlib import Path

from pairlens.cli.runs import INSPECTION
from pairlens.core.files import make_folder


def draw_tracked_pictures(run: Path) -> list[Path]:
    """Write the embedding map and the worst queries of a run into its folder `inspection`; returns the PNG files."""
    # Imported here because only a run with trackers draws at its end.
    from pairlens.analysis.failure_sheets import write_summary_pictures

    return write_summary_pictures(run, make_folder(run / INSPECTION, below=run))
