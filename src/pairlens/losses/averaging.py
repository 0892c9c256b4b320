"""Averaging of a loss: over the anchors, each of which counts the same, or over the pairs of the batch."""

from typing import Any, Literal, TypeAlias, get_args

from pairlens.core.records import require

# With classes of equal size both averages are the same. With uneven classes, "pair" gives the photos of large classes more
# weight, because they have more positives.
Average: TypeAlias = Literal["anchor", "pair"]
AVERAGES: tuple[Average, ...] = get_args(Average)
# Metadata of a field that came later: records, texts and folder names of runs with its default stay as they were.
LATER: dict[str, Any] = {"omit_default": True}


def check_average(average: str, name: str) -> None:
    """Raise ValueError unless an average is one of `AVERAGES`.

    Args:
        average: the setting.
        name: of the loss, for the sentence.
    """
    require(average in AVERAGES, f"the average {average!r} of {name} is unknown; use {' or '.join(AVERAGES)}")
