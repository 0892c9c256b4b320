"""Photos of a batch taken two by two, for losses of papers whose batches hold two photos or two views of each class."""

from torch import Tensor

from pairlens.core.pairs import Pairs


def pair_up(labels: Tensor) -> Pairs:
    """Pair the first photo of each class with its second, the third with the fourth, and so on, in the order of the batch.

    The first of two is the anchor. Its only positive is the second; its negatives are the seconds of the same round of the
    other classes. So each round is one batch of the papers. A photo that is left alone at the end has no pair.

    Args:
        labels: (photo,) integers.

    >>> import torch
    >>> pair_up(torch.tensor([0, 0, 1, 1])).negative.int()
    tensor([[0, 0, 0, 1],
            [0, 0, 0, 0],
            [0, 1, 0, 0],
            [0, 0, 0, 0]], dtype=torch.int32)
    """
    every = Pairs.within(labels)
    rank = every.positive.tril().sum(dim=1)  # (photo,) earlier photos of the same class
    second = rank % 2 == 1
    same_round = (rank // 2)[:, None] == (rank // 2)[None, :]  # (photo, photo)
    meet = same_round & ~second[:, None] & second[None, :]
    return Pairs(every.positive & meet, every.negative & meet)
