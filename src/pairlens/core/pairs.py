"""Masks of positive and negative pairs between anchors and references."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from pairlens.core.inputs import Numbers, as_labels, as_mask
from pairlens.core.tracing import is_readable, is_traced


@dataclass(frozen=True, eq=False)
class Pairs:
    """Two boolean masks over a similarity matrix; a pair that is in neither mask is ignored by the loss.

    Attributes:
        positive: (anchor, reference), True where both are of the same class.
        negative: (anchor, reference), True where they are of different classes.
    """

    positive: Tensor
    negative: Tensor

    def __post_init__(self) -> None:
        for name in ("positive", "negative"):
            given = getattr(self, name)
            mask = as_mask(given, name)
            if mask is not given:
                # A frozen record can only be changed like this.
                object.__setattr__(self, name, mask)
        if self.positive.shape != self.negative.shape:
            raise ValueError(
                f"the masks of Pairs must have the same shape, not {tuple(self.positive.shape)} and "
                f"{tuple(self.negative.shape)}; make both from the same labels"
            )

    @classmethod
    def within(cls, labels: Numbers) -> Self:
        """Pair a batch with itself; a photo is never its own positive (it is excluded by index, not by similarity).

        Args:
            labels: (anchor,) integers.

        >>> Pairs.within(torch.tensor([0, 0, 1])).positive.int()
        tensor([[0, 1, 0],
                [1, 0, 0],
                [0, 0, 0]], dtype=torch.int32)
        """
        known = as_labels(labels)
        same = known[:, None] == known[None, :]  # (anchor, anchor), true on the diagonal
        negative = ~same
        if is_traced():
            itself = torch.eye(len(known), dtype=torch.bool, device=known.device)
            return cls(positive=same & ~itself, negative=negative)
        # In place, because a small batch takes as long as the number of its operations.
        pairs = cls(positive=same.fill_diagonal_(False), negative=negative)
        if is_readable(known):
            # A photo has a positive if its class has another one, and a negative if there is another class. Counting the
            # labels takes a third of the time of counting in the masks.
            sizes = Counter(known.tolist()).values()
            pairs.note({"complete_count": sum(size for size in sizes if size > 1) if len(sizes) > 1 else 0})
        return pairs

    @classmethod
    def between(cls, anchor_labels: Numbers, reference_labels: Numbers) -> Self:
        """Pair anchors with references that are not the batch itself: proxies, a memory, the batch of another rank.

        Args:
            anchor_labels: (anchor,) integers.
            reference_labels: (reference,) integers.

        >>> Pairs.between(torch.tensor([0, 1]), torch.tensor([0, 1, 2])).positive.int()
        tensor([[1, 0, 0],
                [0, 1, 0]], dtype=torch.int32)
        """
        same = as_labels(anchor_labels)[:, None] == as_labels(reference_labels)[None, :]
        return cls(positive=same, negative=~same)

    @property
    def complete(self) -> Tensor:
        """(anchor,) True where an anchor has at least one positive and one negative; other anchors contribute no loss."""
        return self._once("complete", self._complete)

    def _complete(self) -> Tensor:
        return (_highest_byte(self.positive) & _highest_byte(self.negative)).bool()

    @property
    def complete_count(self) -> int:
        """Number of anchors with a positive and a negative; reading it stalls a GPU and ends a trace."""
        return self._once("complete_count", lambda: int(self.complete.sum()))

    @property
    def all_complete(self) -> bool:
        """Whether there are anchors and each has both sides; False where that cannot be read without a cost."""
        return is_readable(self.positive) and 0 < self.complete_count == len(self.positive)

    @property
    def some_positive(self) -> Tensor:
        """(anchor,) True where an anchor has at least one positive."""
        return _highest_byte(self.positive).bool()

    @property
    def transposed(self) -> "Pairs":
        """The same pairs with the references as anchors, for losses in which the proxies are the anchors."""
        return Pairs(self.positive.T, self.negative.T)

    def note(self, known: dict[str, Any]) -> None:
        """Keep what the caller knows of the pairs, so that it need not be computed, until a mask is changed in place.

        Args:
            known: values by the name of their property, or `columns`: the (anchor, slot) columns of the positives of each
                anchor where all anchors have equally many.
        """
        # Inference tensors do not count their changes.
        if not is_traced() and not self.positive.is_inference() and not self.negative.is_inference():
            versions = (self.positive._version, self.negative._version)
            self.__dict__.update({f"_known_{name}": (versions, value) for name, value in known.items()})

    def noted(self, name: str) -> Any:
        """Return what is known of the pairs as they are now; None if nothing is."""
        versions, value = self.__dict__.get(f"_known_{name}", (None, None))
        return value if versions is not None and versions == (self.positive._version, self.negative._version) else None

    def _once(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return what `compute` returns, which is computed again only after a mask was changed in place."""
        value = None if is_traced() else self.noted(name)
        if value is None:
            value = compute()
            self.note({name: value})
        return value


def as_bytes(mask: Tensor) -> Tensor:
    """Return 1 where a mask is True and 0 elsewhere, as uint8; a view without a copy, unless it is traced.

    >>> as_bytes(torch.tensor([True, False]))
    tensor([1, 0], dtype=torch.uint8)
    """
    # The compiler of PyTorch 2.11 fails at a view of booleans as bytes. A conversion costs nothing there, because the
    # compiler fuses it with the operation that follows. `vmap` has no such view either.
    return mask.to(torch.uint8) if is_traced() else mask.view(torch.uint8)


def _highest_byte(mask: Tensor) -> Tensor:
    """Return, of each row, 1 if a value is True and 0 if none is."""
    # On a CPU, the maximum of the bytes of a row takes a fortieth of the time of `any` of its booleans. `amax` needs at
    # least one column.
    return as_bytes(mask).amax(dim=1) if mask.shape[1] else mask.new_zeros(len(mask), dtype=torch.uint8)
