"""A trained model with the photos it can find."""

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from pairlens.core.neighbors import ExactIndex
from pairlens.data.catalog import Catalog
from pairlens.data.images import decode, encode, load_image
from pairlens.evaluation.embed import Embeddings
from pairlens.experiments.folder import RunFolder
from pairlens.experiments.sources import open_catalog
from pairlens.losses.triplet import distance
from pairlens.model.embedder import Embedder


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

    def __init__(
        self, model: Embedder, embeddings: Embeddings, catalog: Catalog, queries: Catalog | None = None
    ) -> None:
        """Put together a model, its embeddings of a catalog, and that catalog (in one order)."""
        if embeddings.paths != catalog.paths:
            raise ValueError(
                f"the gallery's photos are not those of {catalog.file}: it was prepared anew since; evaluate the run again"
            )
        self.model, self.embeddings, self.catalog, self.queries = model, embeddings, catalog, queries
        self._index = ExactIndex(embeddings.vectors)

    @classmethod
    def open(cls, folder: str | Path) -> "Gallery":
        """Open the gallery of a run folder; raises ValueError or FileNotFoundError naming what is missing."""
        place = RunFolder(Path(folder))
        experiment = place.experiment()
        place.read_outcome()
        catalog = open_catalog(experiment)
        split = "gallery" if "query" in catalog.splits else "test"
        queries = catalog.select("query") if split == "gallery" else None
        return cls(Embedder.load(place.path), Embeddings.load(place.gallery), catalog.select(split), queries)

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
        names = set(self.catalog.class_names)
        if class_name is not None and class_name not in names:
            raise ValueError(
                f"no class is called {class_name!r}; the catalog has {', '.join(sorted(names)[:5])} and others"
            )
        file = Path(photo)
        if not file.is_file():
            return self._stored_query(str(photo), class_name)
        jpeg = encode(load_image(file), self.catalog.size)
        known, position = self._same_picture(jpeg)
        return Query(file.stem, class_name or known, load_image(jpeg), jpeg, position)

    def first_query(self) -> Query:
        """Return the first photo that can be looked up, for trying a gallery out."""
        return self._stored_query((self.queries or self.catalog).paths[0], None)

    def _stored_query(self, name: str, class_name: str | None) -> Query:
        for catalog, in_gallery in ((self.catalog, True), (self.queries, False)):
            position = None if catalog is None else _find(catalog.paths, name)
            if catalog is not None and position is not None:
                jpeg = bytes(catalog.jpeg(position))
                shown = class_name or catalog.class_names[int(catalog.labels[position])]
                return Query(Path(name).stem, shown, load_image(jpeg), jpeg, position if in_gallery else None)
        raise ValueError(
            f"{name} is neither a picture file nor a photo of {self.catalog.file}; give a file, "
            f"or a key such as {self.catalog.paths[0]}"
        )

    def _same_picture(self, jpeg: bytes) -> tuple[str | None, int | None]:
        """Return class and gallery position of the very same picture, known by its bytes, if it is in the catalog."""
        for catalog, in_gallery in ((self.catalog, True), (self.queries, False)):
            for i in range(len(catalog) if catalog is not None else 0):
                if catalog is not None and catalog.jpeg(i) == jpeg:
                    return catalog.class_names[int(catalog.labels[i])], i if in_gallery else None
        return None, None

    def _embed(self, jpeg: bytes) -> Tensor:
        return self.model.embed(decode([jpeg], self.model.architecture.image_size)).float()

    def _match(self, rank: int, index: int, gap: float, query: Query) -> Match:
        name = self.catalog.class_names[int(self.catalog.labels[index])]
        right = None if query.class_name is None else name == query.class_name
        return Match(rank, self.catalog.paths[index], name, gap, right, load_image(bytes(self.catalog.jpeg(index))))


def _find(paths: tuple[str, ...], name: str) -> int | None:
    """Return the photo with this key, else the only one whose key ends in this file name."""
    if name in paths:
        return paths.index(name)
    last = Path(name).name
    ending = [i for i, path in enumerate(paths) if path.rsplit("/", 1)[-1] == last]
    return ending[0] if len(ending) == 1 else None
