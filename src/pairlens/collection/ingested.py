"""What indexing has done, and what it is about to remove."""

from dataclasses import dataclass

from pairlens.data.account import Account, Exclusion, count_kinds

# Above this share of the photos below an indexed folder, a removal has to be confirmed.
UNCONFIRMED_SHARE = 0.1


@dataclass(frozen=True)
class Ingested:
    """What indexing has done; found = added + updated + moved + unchanged + refused + left out.

    Attributes:
        added: photos that are new.
        updated: photos whose contents, label or metadata have changed.
        moved: photos that had another path.
        unchanged: photos that were there already.
        removed: photos that are gone from an indexed folder.
        refused: photos that could not be read, each with its reason.
        left_out: what is left out by rule, each with its reason.
        seconds: how long it took.
        ids: of the items that are new.
        labels_from: one sentence about where the labels come from.

    >>> print(Ingested(added=3, unchanged=1).sentence())
    Found 4: 4 read, 0 refused, 0 left out. Added 3, unchanged 1.
    """

    added: int = 0
    updated: int = 0
    moved: int = 0
    unchanged: int = 0
    removed: int = 0
    refused: tuple[Exclusion, ...] = ()
    left_out: tuple[Exclusion, ...] = ()
    seconds: float = 0.0
    ids: tuple[int, ...] = ()
    labels_from: str = ""

    @property
    def read(self) -> int:
        """The photos that were found and that the collection holds now."""
        return self.added + self.updated + self.moved + self.unchanged

    def sentence(self) -> str:
        """Return the sum by outcome and by reason."""
        account = Account(self.read, count_kinds(self.refused), count_kinds(self.left_out))
        parts = [("updated", self.updated), ("moved", self.moved), ("unchanged", self.unchanged)]
        done = ", ".join([f"Added {self.added:,}", *(f"{name} {count:,}" for name, count in parts if count)])
        removed = f" Removed {self.removed:,} that are gone from the folder." if self.removed else ""
        return f"{account.sentence()} {done}.{removed}"


@dataclass(frozen=True)
class Removal:
    """Photos that are gone from the indexed folders and are about to be removed from the collection.

    Attributes:
        ids: of the items.
        held: how many items the collection has below these folders.
        paths: the first of them, as examples.
        so_far: what has been done before.
    """

    ids: tuple[int, ...]
    held: int
    paths: tuple[str, ...]
    so_far: Ingested = Ingested()

    @property
    def needs_confirmation(self) -> bool:
        """Whether it is more than a tenth of what is there."""
        return len(self.ids) > UNCONFIRMED_SHARE * self.held

    def sentence(self) -> str:
        """Return what is about to happen."""
        named = ", ".join(self.paths) + (", ..." if len(self.ids) > len(self.paths) else "")
        return f"{len(self.ids):,} of {self.held:,} photos are gone from the folder: {named}"
