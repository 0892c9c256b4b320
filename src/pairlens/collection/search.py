"""A search in a collection: what is searched for, and what is found."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from unicodedata import normalize

import numpy as np

from pairlens.collection.item import Item, Region, Value
from pairlens.collection.photo_view import contents_of
from pairlens.collection.store import IndexRecall, Store
from pairlens.collection.vector_model import VectorModel
from pairlens.core.plain_numbers import as_finite_matrix
from pairlens.core.untrusted import is_plain_text

if TYPE_CHECKING:
    from PIL import Image

    from pairlens.collection.match_explanation import MatchExplanation

SearchVerdict: TypeAlias = Literal["match", "no match", "not calibrated"]

# The weight of the photos that the results should not look like, beside a weight of 1 of the others.
# Source: J. Rocchio, "Relevance feedback in information retrieval", 1971; there it is 0.25 to 0.5.
NEGATIVE_WEIGHT = 0.5


@dataclass(frozen=True, eq=False)
class SearchMatch:
    """One photo in the results of a search.

    Attributes:
        rank: from 1.
        item: the photo.
        score: cosine with the query.
        probability: that it is of the class of the query; None if the collection is not calibrated, and for photos with
            another label than the first one.
        copies: ids of near-duplicates of this photo that were collapsed into it.
    """

    rank: int
    item: Item
    score: float
    probability: float | None = None
    copies: tuple[int, ...] = ()
    _explain: Callable[[], "MatchExplanation"] | None = field(default=None, repr=False)
    _thumbnail: Callable[[], bytes] | None = field(default=None, repr=False)

    @property
    def id(self) -> int:
        """The number of the photo in the collection."""
        return self.item.id

    @property
    def path(self) -> str:
        """The path of the photo below its root."""
        return self.item.path

    @property
    def label(self) -> str | None:
        """The class of the photo, None if unknown."""
        return self.item.label

    def explain(self) -> "MatchExplanation":
        """Return which places of both photos make up the score.

        Raises:
            ValueError: if the query was a vector or a mixture of photos, or the collection has no model that can explain.
        """
        if self._explain is None:
            raise ValueError(
                "this search was not made with one photo, so there is no picture to explain; search with one"
            )
        return self._explain()

    def thumbnail(self) -> bytes:
        """Return the photo as a JPEG of at most 256 pixels; empty if the collection has none."""
        return b"" if self._thumbnail is None else self._thumbnail()


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The results of a search, best first; it is a sequence of `SearchMatch`.

    Attributes:
        matches: the photos.
        verdict: whether the collection holds the class of the query: "match", "no match", or "not calibrated".
        probability: that the first match is of the class of the query; None if not calibrated.
        rate: the false accept rate of the verdict, for queries of classes that the collection does not hold.
        interval: of the rate, at 95 %, for new classes.
        reason: why there is no verdict; empty if there is one.
        recall: the share of the exact results that the search finds.
        vector: float32 (dim,) what was searched for.
    """

    matches: tuple[SearchMatch, ...]
    verdict: SearchVerdict
    probability: float | None
    rate: float | None
    interval: tuple[float, float] | None
    reason: str
    recall: IndexRecall
    vector: np.ndarray

    def __len__(self) -> int:
        return len(self.matches)

    def __iter__(self) -> Iterator[SearchMatch]:
        return iter(self.matches)

    def __getitem__(self, rank: int) -> SearchMatch:
        return self.matches[rank]


@dataclass(frozen=True, eq=False)
class QueryVector:
    """What is searched for: the unit vector, the ids that it came from, and the pixels if it was one photo.

    Attributes:
        vector: float32 (dim,).
        ids: items that were given as the query, which are not found.
        seen: uint8 (image_size, image_size, 3) of the only photo; None otherwise.
        is_single: whether it is one photo or vector, and not a mixture of several, which no calibration has seen.
    """

    vector: np.ndarray
    ids: tuple[int, ...]
    seen: np.ndarray | None
    is_single: bool = True


class QueryEmbedder:
    """Turns what a user searches for into vectors of the model of a collection."""

    def __init__(self, store: Store, model: Callable[[], VectorModel], dim: int) -> None:
        """Prepare for a store; the model is opened when a photo has to be embedded, and not for ids and vectors."""
        self.store = store
        self.model = model
        self.dim = dim

    def embed(self, wanted: Sequence[Any], unwanted: Sequence[Any] = (), region: Region | None = None) -> QueryVector:
        """Return the query of several photos.

        q = unit(mean of the wanted unit vectors - 0.5 · mean of the unwanted ones).

        Args:
            wanted: photos in any form that `Embedder.embed` takes, ids, or vectors; at least one.
            unwanted: what the results should not look like.
            region: the part of the only wanted photo that is searched for.

        Raises:
            ValueError: naming what is no photo, no id and no vector; or if the two cancel each other.
        """
        if not wanted:
            raise ValueError("nothing to search for; give a photo, an id or a vector")
        if region is not None and len(wanted) > 1:
            raise ValueError("a region belongs to one photo, but several were given; search with one")
        positive = [self._one(photo, region) for photo in wanted]
        negative = [self._one(photo, None) for photo in unwanted]
        total = np.mean([query.vector for query in positive], axis=0)
        if negative:
            total = total - NEGATIVE_WEIGHT * np.mean([query.vector for query in negative], axis=0)
        length = float(np.linalg.norm(total))
        if length < 1e-6:
            raise ValueError("the wanted and the unwanted photos cancel each other; give other ones")
        ids = tuple(id for query in (*positive, *negative) for id in query.ids)
        is_single = len(positive) == 1 and not negative
        return QueryVector((total / length).astype(np.float32), ids, positive[0].seen if is_single else None, is_single)

    def _one(self, photo: Any, region: Region | None) -> QueryVector:
        id = self._id_of(photo)
        if id is not None:
            if region is not None:
                raise ValueError("a region of a stored photo cannot be searched for by its id; give the file")
            return QueryVector(self.store.vectors([id])[0], (id,), None)
        if _is_vector(photo):
            return QueryVector(self._checked_vector(photo), (), None)
        model = self.model()
        given = contents_of(photo) if isinstance(photo, str | Path | bytes | bytearray | memoryview) else photo
        try:
            view = model.read(given, None if region is None else region.box)
        except ValueError as error:
            where = f"{photo}: " if isinstance(photo, str | Path) else ""
            raise ValueError(f"{where}{error}") from error
        return QueryVector(model.embed(view.seen[None])[0], (), view.seen)

    def _id_of(self, photo: Any) -> int | None:
        """Return the id that a query names: a whole number, its digits, or the path of an item; None if it is no id."""
        if isinstance(photo, bool):
            return None
        if isinstance(photo, int | np.integer):
            return self._existing(int(photo))
        if not isinstance(photo, str) or _is_there(photo):
            return None
        if photo.removeprefix("#").isdecimal() and len(photo) < 19:
            return self._existing(int(photo.removeprefix("#")))
        held = items_by_path(self.store, photo)
        if not held:
            raise FileNotFoundError(f"{photo} is neither a file nor the path or the id of a photo in {self.store.name}")
        return held[0].id

    def _existing(self, id: int) -> int:
        if abs(id) >= 1 << 63 or not self.store.items([id]):
            raise ValueError(f"{self.store.name} has no photo with the id {id}; pairlens collection list shows them")
        return id

    def _checked_vector(self, values: Any) -> np.ndarray:
        vector = as_finite_matrix(values[None], "the query", "vector")[0]
        if len(vector) != self.dim:
            raise ValueError(
                f"the query has {len(vector)} dimensions, but the collection has {self.dim}; use its model"
            )
        # Squares of large numbers overflow, which is answered below.
        with np.errstate(over="ignore"):
            length = float(np.linalg.norm(vector))
        if length == 0 or not np.isfinite(length):
            raise ValueError("the query vector is zero or not finite; look where it was embedded")
        return (vector / length).astype(np.float32)


def _is_there(photo: str) -> bool:
    try:
        # A pipe or a folder, too: its reader says what it is.
        return Path(photo).exists()
    # A name that is longer than the system allows.
    except OSError:
        return False


def items_by_path(store: Store, path: str) -> list[Item]:
    """Return the items of a path below any root of a collection, or of the whole path of their file."""
    if not is_plain_text(path):
        return []
    name = normalize("NFC", path)
    found = []
    for root in store.roots():
        paths = [name, name.removeprefix(f"{root}/")] if root else [name]
        found += store.at(root, list(dict.fromkeys(paths)))
    return found


def _is_vector(photo: Any) -> bool:
    dtype = str(getattr(photo, "dtype", ""))
    return "float" in dtype and getattr(photo, "ndim", 0) == 1


def plain_item(item: Item) -> dict[str, Any]:
    """Return a photo of a collection as plain data for JSON."""
    region = item.region
    return {
        "id": item.id,
        "path": item.path,
        "root": item.root,
        "digest": item.digest,
        "region": None if region is None else [region.x, region.y, region.width, region.height],
        "label": item.label,
        "metadata": dict(item.metadata),
        "width": item.width,
        "height": item.height,
        "added": item.added,
    }


def plain_match(match: SearchMatch) -> dict[str, Any]:
    """Return a match as plain data for JSON."""
    item = match.item
    region = item.region
    metadata: Mapping[str, Value] = item.metadata
    return {
        "rank": match.rank,
        "id": item.id,
        "score": round(match.score, 6),
        "probability": None if match.probability is None else round(match.probability, 6),
        "label": item.label,
        "path": item.path,
        "file": item.file,
        "region": None if region is None else [region.x, region.y, region.width, region.height],
        "metadata": dict(metadata),
        "copies": list(match.copies),
    }


def plain_result(result: SearchResult) -> dict[str, Any]:
    """Return the results of a search as plain data for JSON."""
    recall = result.recall
    return {
        "verdict": result.verdict,
        "probability": None if result.probability is None else round(result.probability, 6),
        "false_accept_rate": result.rate,
        "interval": None if result.interval is None else [round(end, 6) for end in result.interval],
        "reason": result.reason,
        "recall": {
            "exact": recall.is_exact,
            "value": recall.recall,
            "interval": [recall.low, recall.high],
            "queries": recall.queries,
        },
        "matches": [plain_match(match) for match in result.matches],
    }


def thumbnail_picture(contents: bytes) -> "Image.Image":
    """Return a thumbnail as a picture; grey where the collection has none."""
    from PIL import Image

    from pairlens.core.images import load_image

    return load_image(contents) if contents else Image.new("RGB", (64, 64), "#d0d0d0")
