"""Where the few positives of each anchor are, so that they can be gathered into a narrow matrix."""

from typing import NamedTuple

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.tracing import is_known

# Positives are gathered if no anchor has more of them than a quarter of the references; otherwise gathering costs more
# than it saves.
GATHERING_FACTOR = 4


class PositiveColumns(NamedTuple):
    """The columns of each anchor's positives, padded to the largest number of positives.

    Attributes:
        column: (anchor, slot) column of the similarity matrix; 0 in slots that are not taken.
        taken: (anchor, slot) boolean, True where the slot holds a positive.
        full: whether every slot is known to be taken.
    """

    column: Tensor
    taken: Tensor
    full: bool = False


def positive_columns(pairs: Pairs) -> PositiveColumns | None:
    """Return the columns of each anchor's positives, or None where there are too many for gathering to pay.

    >>> positive_columns(Pairs.within(torch.arange(12) % 6)).column.T
    tensor([[ 6,  7,  8,  9, 10, 11,  0,  1,  2,  3,  4,  5]])
    """
    rows, references = pairs.positive.shape
    column = pairs.noted("columns")
    if column is not None:
        return _full(column, references)
    anchors, columns = pairs.positive.nonzero(as_tuple=True)  # both (positive,), sorted by anchor
    slots, rest = divmod(len(anchors), max(1, rows))
    own = torch.arange(rows)[:, None].expand(rows, slots)
    if slots and not rest and torch.equal(anchors.view(rows, slots), own):
        # Every anchor has equally many positives, as in batches of K photos per class: no slot is empty.
        return _full(columns.view(rows, slots), references)
    counts = torch.bincount(anchors, minlength=rows)
    slots = max(1, int(counts.max())) if len(anchors) else 1
    if slots * GATHERING_FACTOR > references:
        return None
    # The slot of a positive is its number among all positives, less the number of the first one of its anchor.
    slot = torch.arange(len(anchors)) - (counts.cumsum(0) - counts)[anchors]
    column = anchors.new_zeros(len(counts), slots)
    column[anchors, slot] = columns
    return PositiveColumns(column, torch.arange(slots) < counts[:, None])


def known_columns(pairs: Pairs) -> PositiveColumns | None:
    """Return `positive_columns` within a transform of `torch.func`, or None where the transform varies the pairs as well.

    >>> pairs = Pairs.within(torch.arange(12) % 6)
    >>> torch.func.vmap(lambda x: x.gather(0, known_columns(pairs).column[0]))(torch.eye(12))[6]
    tensor([1.])
    """
    return positive_columns(pairs) if is_known(pairs.positive) and not pairs.positive.is_cuda else None


def _full(column: Tensor, references: int) -> PositiveColumns | None:
    if column.shape[1] * GATHERING_FACTOR > references:
        return None
    return PositiveColumns(column, torch.ones_like(column, dtype=torch.bool), full=True)
