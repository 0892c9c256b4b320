"""Photos of a batch taken two by two, for losses of papers whose batches hold two photos or two views of each class."""

from collections import Counter
from typing import NamedTuple

import torch
from torch import Tensor

from pairlens.core.pairs import Pairs
from pairlens.core.tracing import is_readable


class PhotoPairs(NamedTuple):
    """Photos of a batch taken two by two; on a GPU and while being traced, where no row can be left out, some are no pair.

    Attributes:
        first: (pair,) place in the batch of the first photo.
        second: (pair,) place of the second one.
        exists: (pair,) boolean, False in a row that is no pair.
        round: (pair,) the same number where pairs are of one round, in which each class has one pair.
    """

    first: Tensor
    second: Tensor
    exists: Tensor
    round: Tensor

    @property
    def meetings(self) -> Pairs:
        """(pair, pair) pairs of first photos with second ones: the own is positive, those of the same round are negative."""
        itself = torch.eye(len(self.first), dtype=torch.bool, device=self.first.device)
        same_round = self.round[:, None] == self.round  # true on the diagonal
        pairs = Pairs(itself & self.exists[:, None], same_round ^ itself)
        if is_readable(self.first):
            # A pair has a negative if it is not alone in its round.
            complete = sum(size for size in Counter(self.round.tolist()).values() if size > 1)
            pairs.note({"columns": torch.arange(len(self.first))[:, None], "complete_count": complete})
        return pairs


def pair_up(labels: Tensor) -> PhotoPairs:
    """Pair the first photo of each class with its second, the third with the fourth, and so on, in the order of the batch.

    Each round (the first pairs of all classes, the second pairs of all classes, and so on) is one batch of the papers. A
    photo that is left alone at the end has no pair.

    Args:
        labels: (photo,) integers.

    >>> found = pair_up(torch.tensor([0, 1, 0, 1, 1]))
    >>> found.first, found.second
    (tensor([0, 1]), tensor([2, 3]))
    >>> found.meetings.negative.int()
    tensor([[0, 1],
            [1, 0]], dtype=torch.int32)
    """
    order = labels.argsort(stable=True)  # (photo,) the photos of a class are neighbours, in the order of the batch
    ordered = labels[order]
    place = torch.arange(len(labels), device=labels.device)
    rank = place - torch.searchsorted(ordered, ordered)  # (photo,) earlier photos of the same class
    # (photo - 1,) whether a photo is the first of two; the next one is the second.
    exists = (ordered[:-1] == ordered[1:]) & (rank[:-1] % 2 == 0)
    if is_readable(labels):
        # The number of pairs may depend on the labels, so only pairs get a row.
        start = exists.nonzero().squeeze(1)  # (pair,)
        return PhotoPairs(order[start], order[start + 1], torch.ones_like(start, dtype=torch.bool), rank[start])
    # A row that is no pair has a round of its own, so that it meets no pair.
    return PhotoPairs(order[:-1], order[1:], exists, torch.where(exists, rank[:-1], -1 - place[:-1]))
