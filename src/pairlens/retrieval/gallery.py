"""A trained model with the photos it can find."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from pairlens.core.similarity import distance
from pairlens.data.catalog import Catalog
from pairlens.data.images import decode, load_image, reduce_to_square
from pairlens.evaluation.embeddings import Embeddings
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.splits import open_catalog
from pairlens.model.embedder import Embedder
from pairlens.neighbors.approximate import ApproximateIndex, Approximation, IndexKind, open_index

LONGEST_NAME = 120


@dataclass(frozen=True)
class Match:
    """A photo that was found.

    Attributes:
        rank: from 1.
        path: its key in the catalog.
        class_name: what it shows.
        distance: Euclidean, between unit vectors (0 to 2).
        right: whether it has the query's class; None if that is unknown.
        picture: the photo at working size.
    """

    rank: int
    path: str
    class_name: str
    distance: float
    right: bool | None
    picture: Image.Image


@dataclass(frozen=True)
class Query:
    """A photo to look up.

    Attributes:
        name: how to call it.
        class_name: what it shows; None if unknown.
        picture: the photo at working size.
        jpeg: the same as bytes, encoded as the catalog's photos are.
        position: its index in the gallery, if it is one of its photos; it is then not returned.
    """

    name: str
    class_name: str | None
    picture: Image.Image
    jpeg: bytes
    position: int | None = None


class Gallery:
    """The gallery of a run, open for searching: `Gallery.open(run).search(photo, k)`."""

    def __init__(self, model: Embedder, embeddings: Embeddings, whole: Catalog, index: IndexKind = "exact") -> None:
        """Put together a model, its embeddings of the test or gallery photos, and the whole data set.

        The index is made here: for a million photos and many searches "ivf" or "hnsw" pay, for a few "exact" is faster.
        """
        catalog = whole.select("gallery" if "query" in whole.splits else "test")
        if embeddings.paths != catalog.paths or embeddings.catalog not in ("", whole.digest):
            raise ValueError(
                f"{whole.file} was prepared anew since its photos were embedded; embed them again with "
                "pairlens evaluate RUN"
            )
        if embeddings.model not in ("", model.fingerprint()) or embeddings.vectors.shape[1] != model.architecture.dim:
            raise ValueError(
                "the model is another than the one that embedded the gallery, as after an interruption between the two; "
                "go on with pairlens train --resume RUN, or embed the gallery again with pairlens evaluate RUN"
            )
        self.model, self.embeddings, self.catalog, self.whole = model, embeddings, catalog, whole
        self._index = open_index(embeddings.vectors, index)

    @classmethod
    def open(cls, folder: str | Path, data_path: Path | None = None, index: IndexKind = "exact") -> "Gallery":
        """Open the gallery of a run folder; `data_path` says where the data set lies now, if it has moved.

        `index` is how to search it: "exact", or approximately by "ivf" or "hnsw"; see `approximation`.

        Raises:
            ValueError: naming what is missing, damaged, or no longer what was embedded.
            FileNotFoundError: if the data set is not there.
        """
        place = RunFolder(Path(folder))
        experiment = place.experiment(data_path)
        place.read_outcome()
        whole = open_catalog(experiment)
        return cls(Embedder.load(place.path), Embeddings.load(place.gallery), whole, index)

    def approximation(self, k: int = 8, sample: int = 256) -> Approximation | None:
        """Return how many of the k nearest an approximate index finds, measured on some photos; None if it is exact."""
        if not isinstance(self._index, ApproximateIndex):
            return None
        vectors = self.embeddings.vectors
        rows = torch.arange(len(vectors))
        return self._index.measure(vectors, min(k, len(rows) - 1), rows, itself=rows, sample=sample)

    def search(self, photo: Query | Path | str, k: int = 8) -> list[Match]:
        """Return the k nearest gallery photos, nearest first.

        Args:
            photo: a picture file of any kind, the key of a catalog photo, or a `Query`.
            k: how many; at most as many as there are.

        Raises:
            ValueError: if the picture cannot be read or k is out of range.
        """
        query = photo if isinstance(photo, Query) else self.query(photo)
        itself = None if query.position is None else torch.tensor([query.position])
        found = self._index.search(self._embed(query.jpeg), k, itself)
        distances = distance(found.scores[0]).tolist()
        return [
            self._match(rank, index, d, query)
            for rank, (index, d) in enumerate(zip(found.indices[0].tolist(), distances, strict=True), 1)
        ]

    def query(self, photo: Path | str, class_name: str | None = None) -> Query:
        """Make a query of a picture file, or of the key (or unique file name) of a photo in the catalog.

        The class of a file is known only if the very same picture is in the catalog, or if it is given.

        Raises:
            ValueError: if there is neither such a file nor such a photo, or no class of that name.
        """
        names = set(self.whole.class_names)
        if class_name is not None and class_name not in names:
            raise ValueError(
                f"no class is called {class_name!r}; the catalog has {', '.join(sorted(names)[:5])} and others"
            )
        file = Path(photo)
        if not file.is_file():
            return self._stored_query(str(photo), class_name)
        jpeg = reduce_to_square(file, self.whole.size, quality=self.whole.quality)
        known = self._known_file(file, jpeg)
        if known is None:
            return Query(_as_folder(file.stem), class_name, load_image(jpeg), jpeg)
        return replace(self._stored_query(self.whole.paths[known], class_name), name=_as_folder(file.stem))

    def holds(self, class_name: str) -> bool:
        """Whether a photo of this class can be found; of the classes of training none can."""
        return class_name in {self.catalog.class_names[label] for label in self.catalog.labels.unique().tolist()}

    def first_query(self) -> Query:
        """Return the first photo that can be looked up, for trying a gallery out."""
        tests = self.whole.select("query") if "query" in self.whole.splits else self.catalog
        return self._stored_query(tests.paths[0], None)

    def _stored_query(self, name: str, class_name: str | None) -> Query:
        row = _find(self.whole.paths, name)
        if row is None:
            raise ValueError(
                f"{name} is neither a picture file nor a photo of {self.whole.file}; give a file, "
                f"or a key such as {self.catalog.paths[0]}"
            )
        key, jpeg = self.whole.paths[row], bytes(self.whole.jpeg(row))
        shown = class_name or self.whole.class_names[int(self.whole.labels[row])]
        position = self.catalog.paths.index(key) if key in self.catalog.paths else None
        return Query(_short_name(key, self.whole.paths), shown, load_image(jpeg), jpeg, position)

    def _known_file(self, file: Path, jpeg: bytes) -> int | None:
        """Return the row of the very same picture: by its bytes, or by the end of its path where photos were cropped."""
        if self.whole.crop == "cropped":
            full = file.resolve().as_posix()
            return next((i for i, key in enumerate(self.whole.paths) if "/" in key and full.endswith("/" + key)), None)
        return next((i for i in range(len(self.whole)) if self.whole.jpeg(i) == jpeg), None)

    def _embed(self, jpeg: bytes) -> Tensor:
        return self.model.embed(decode([jpeg], self.model.architecture.image_size)).float()

    def _match(self, rank: int, index: int, gap: float, query: Query) -> Match:
        name = self.catalog.class_names[int(self.catalog.labels[index])]
        right = None if query.class_name is None else name == query.class_name
        return Match(rank, self.catalog.paths[index], name, gap, right, load_image(bytes(self.catalog.jpeg(index))))


def _short_name(key: str, paths: tuple[str, ...]) -> str:
    """Return the file name without its ending if no other photo has it, else the key in one word."""
    stem = Path(key).stem
    alone = sum(Path(path).stem == stem for path in paths) == 1
    return _as_folder(stem if alone else Path(key).with_suffix("").as_posix().replace("/", "_"))


def _as_folder(name: str) -> str:
    """Return a name that a folder may have and that leads to no other, such as the one of two dots."""
    return name.strip(". ")[:LONGEST_NAME] or "photo"


def _find(paths: tuple[str, ...], name: str) -> int | None:
    """Return the photo with this key, else the only one whose key ends in this file name."""
    if name in paths:
        return paths.index(name)
    last = Path(name).name
    ending = [i for i, path in enumerate(paths) if path.rsplit("/", 1)[-1] == last]
    return ending[0] if len(ending) == 1 else None
