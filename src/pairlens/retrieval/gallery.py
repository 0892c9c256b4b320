"""The test gallery of a run: a trained model together with the photos that it searches."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, SupportsIndex
from unicodedata import normalize

import torch
from PIL import Image
from torch import Tensor

from pairlens.core.images import decode, load_image, reduce_to_square
from pairlens.core.inputs import as_whole_number
from pairlens.core.records import require
from pairlens.core.similarity import distance
from pairlens.data.annotations import file_of
from pairlens.data.catalog import Catalog
from pairlens.evaluation.embeddings import Embeddings
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.splits import open_catalog
from pairlens.model.embedder import Embedder
from pairlens.model.photo_input import OnePhoto, PhotoInput, single_photos
from pairlens.neighbors.approximate import ApproximateIndex, Approximation, IndexKind, open_index

MAX_NAME_LENGTH = 120
MAX_KEYS_NAMED = 3


@dataclass(frozen=True)
class Match:
    """A photo in the results of a query.

    Attributes:
        rank: its position in the results, from 1.
        path: its key in the catalog.
        class_name: the name of its class.
        distance: Euclidean distance of the two unit embeddings, 0 to 2.
        right: whether it has the query's class; None if that is unknown.
        picture: the photo at the size that the model sees.
    """

    rank: int
    path: str
    class_name: str
    distance: float
    right: bool | None
    picture: Image.Image


@dataclass(frozen=True)
class Query:
    """A photo for which similar photos are searched.

    Attributes:
        name: a name for its results, which is also fit for a folder.
        class_name: the name of its class; None if unknown.
        picture: the photo at the size that the model sees.
        jpeg: the same photo as JPEG bytes, encoded as the photos of the catalog are.
        position: its index in the gallery, if it is a photo of the gallery; it is then left out of its own results.
    """

    name: str
    class_name: str | None
    picture: Image.Image
    jpeg: bytes
    position: int | None = None


class Gallery:
    """The gallery of a run, open for searching: `Gallery.open(run).search(photo, k)`."""

    def __init__(self, model: Embedder, embeddings: Embeddings, whole: Catalog, index: IndexKind = "exact") -> None:
        """Combine a model, its embeddings of the test or gallery photos, and the whole data set.

        The index is built here. With a million photos and many searches "ivf" or "hnsw" is worth its time, with few
        photos "exact" is faster.

        Raises:
            ValueError: if the embeddings are not those of this data set and this model.
        """
        # Data sets with a fixed gallery search that; all others search their test photos.
        catalog = whole.select("gallery" if "query" in whole.splits else "test")
        if embeddings.paths != catalog.paths or embeddings.catalog not in ("", whole.digest):
            raise ValueError(
                f"{whole.file} has been prepared again since its photos were embedded; embed them again with pairlens "
                "evaluate RUN"
            )
        # Embeddings of early versions store no fingerprint; their dimension at least must fit.
        is_same_model = embeddings.model in ("", model.fingerprint())
        if not is_same_model or embeddings.vectors.shape[1] != model.architecture.dim:
            raise ValueError(
                "the gallery was embedded with another model, for example because the training was interrupted between "
                "saving the model and the gallery; resume it with pairlens train --resume RUN, or embed the gallery again "
                "with pairlens evaluate RUN"
            )
        self.model = model
        self.embeddings = embeddings
        self.catalog = catalog
        self.whole = whole
        self._index = open_index(embeddings.vectors, index)

    @classmethod
    def open(cls, folder: str | Path, data_path: Path | None = None, index: IndexKind = "exact") -> "Gallery":
        """Open the gallery of a run.

        Args:
            folder: the folder of the run.
            data_path: where the data set is now, if it has moved.
            index: how to search: "exact", or approximately with "ivf" or "hnsw"; see `approximation`.

        Raises:
            ValueError: naming what is missing, damaged, or no longer what was embedded.
            FileNotFoundError: if the data set is missing.
        """
        run_folder = RunFolder(Path(folder))
        experiment = run_folder.experiment(data_path)
        require(
            not experiment.data.holds_features,
            f"{folder} was trained on given features and cannot embed a photo; in Python, embed the features of a query "
            "with run.model().embed_features and search the stored vectors with pairlens.neighbors.exact",
        )
        # Read for its error message alone: a run without an outcome has no gallery yet.
        run_folder.read_outcome()
        whole = open_catalog(experiment)
        return cls(Embedder.load(run_folder.path), Embeddings.load(run_folder.gallery), whole, index)

    def approximation(self, k: int = 8, sample: int = 256) -> Approximation | None:
        """Return how many of the k nearest photos an approximate index finds, measured on a sample; None if it is exact."""
        if not isinstance(self._index, ApproximateIndex):
            return None
        k, sample = as_whole_number(k, "k", least=1), as_whole_number(sample, "sample", least=1)
        vectors = self.embeddings.vectors
        # Each photo is a query that is left out of its own search.
        rows = torch.arange(len(vectors))
        return self._index.measure(vectors, min(k, len(rows) - 1), rows, itself=rows, sample=sample)

    def search(self, photo: Query | OnePhoto, k: SupportsIndex = 8) -> list[Match]:
        """Return the k nearest gallery photos, nearest first.

        Args:
            photo: a picture file, the key of a photo in the catalog, a PIL picture, the bytes of a picture file, pixels as
                `Embedder.embed` takes them, or a `Query`.
            k: number of results, at most the number of photos in the gallery.

        Raises:
            ValueError: if the picture cannot be read or k is out of range.
        """
        query = photo if isinstance(photo, Query) else self.query(photo)
        # A photo of the gallery would find itself first.
        itself = None if query.position is None else torch.tensor([query.position])
        # One query: both results have the shape (1, k).
        neighbors = self._index.search(self._embed(query.jpeg), k, itself)
        distances = distance(neighbors.scores[0]).tolist()
        nearest = zip(neighbors.indices[0].tolist(), distances, strict=True)
        return [self._match(rank, index, apart, query) for rank, (index, apart) in enumerate(nearest, 1)]

    def query(self, photo: OnePhoto, class_name: str | None = None) -> Query:
        """Return a query for a picture, or for the key (or unique file name) of a photo in the catalog.

        The class of a picture is known only if the catalog holds the same picture, or if the class is given.

        Args:
            photo: the file, the key or the file name; or the picture itself, in any form that `Embedder.embed` takes.
            class_name: the class of the photo.

        Raises:
            ValueError: if there is neither such a file nor such a photo, or no class of that name.
        """
        names = set(self.whole.class_names)
        if class_name is not None and class_name not in names:
            class_name = normalize("NFC", class_name)
        if class_name is not None and class_name not in names:
            known = ", ".join(sorted(names)[:5])
            raise ValueError(
                f"no class is called {class_name!r}; give one of the {len(names)} classes, such as {known}"
            )
        if not isinstance(photo, str | Path):
            return self._given_query(photo, class_name)
        # A file comes before a key of the same name: it is what the user sees in the folder.
        file = Path(photo)
        if not file.is_file():
            return self._stored_query(str(photo), class_name)
        jpeg = reduce_to_square(file, self.whole.size, quality=self.whole.quality, reading=self.whole.reading)
        row = self._row_of_file(file, jpeg)
        if row is None:
            return Query(_folder_name(file.stem), class_name, load_image(jpeg), jpeg)
        return replace(self._stored_query(self.whole.paths[row], class_name), name=_folder_name(file.stem))

    def holds(self, class_name: str) -> bool:
        """Return whether the gallery has photos of a class; usually it has none of the training classes."""
        return class_name in {self.catalog.class_names[label] for label in self.catalog.labels.unique().tolist()}

    def first_query(self) -> Query:
        """Return the first test photo as a query, as an example."""
        tests = self.whole.select("query") if "query" in self.whole.splits else self.catalog
        return self._stored_query(tests.paths[0], None)

    def _stored_query(self, name: str, class_name: str | None) -> Query:
        rows = _find(self.whole.paths, name)
        if len(rows) > 1:
            keys = ", ".join(self.whole.paths[row] for row in rows[:MAX_KEYS_NAMED])
            raise ValueError(
                f"{name} names {len(rows)} photos of {self.whole.file}; give the key of one, such as {keys}"
            )
        if not rows:
            raise ValueError(
                f"{name} is neither a picture file nor a photo of {self.whole.file}; give a file, "
                f"or a key such as {self.catalog.paths[0]}"
            )
        row = rows[0]
        key = self.whole.paths[row]
        jpeg = bytes(self.whole.jpeg(row))
        known_class = class_name or self.whole.class_names[int(self.whole.labels[row])]
        position = self.catalog.paths.index(key) if key in self.catalog.paths else None
        return Query(_short_name(key, self.whole.paths), known_class, load_image(jpeg), jpeg, position)

    def _given_query(self, photo: Any, class_name: str | None) -> Query:
        """Return a query for a picture that is not a file."""
        if not single_photos(photo)[1]:
            raise ValueError("a gallery is searched with one photo at a time; call `search` for each photo of the list")
        view = PhotoInput(self.model.architecture.image_size, self.whole.size, self.whole.quality, self.whole.reading)
        jpeg = view.stored_form(photo)
        row = None if self.whole.crop == "cropped" else self._row_of_picture(jpeg)
        if row is None:
            return Query("photo", class_name, load_image(jpeg), jpeg)
        return replace(self._stored_query(self.whole.paths[row], class_name), name="photo")

    def _row_of_picture(self, jpeg: bytes) -> int | None:
        return next((i for i in range(len(self.whole)) if self.whole.jpeg(i) == jpeg), None)

    def _row_of_file(self, file: Path, jpeg: bytes) -> int | None:
        """Return the row of the same picture in the catalog, None if it is not there."""
        if self.whole.crop == "cropped":
            # The stored photos are cropped and the file is not, so only the end of its path can be compared.
            full = normalize("NFC", file.resolve().as_posix())
            files = (normalize("NFC", file_of(path)) for path in self.whole.paths)
            rows = [i for i, path in enumerate(files) if "/" in path and full.endswith("/" + path)]
            # A file with several boxes is none of them: its objects may be of several classes.
            return rows[0] if len(rows) == 1 else None
        return self._row_of_picture(jpeg)

    def _embed(self, jpeg: bytes) -> Tensor:
        return self.model.embed_batch(decode([jpeg], self.model.architecture.image_size)).float()

    def _match(self, rank: int, index: int, apart: float, query: Query) -> Match:
        name = self.catalog.class_names[int(self.catalog.labels[index])]
        right = None if query.class_name is None else name == query.class_name
        return Match(rank, self.catalog.paths[index], name, apart, right, load_image(bytes(self.catalog.jpeg(index))))


def _short_name(key: str, paths: tuple[str, ...]) -> str:
    """Return the file name without its suffix if no other photo has it, else the whole key with _ for / and #."""
    stem = Path(file_of(key)).stem
    is_unique = sum(Path(file_of(path)).stem == stem for path in paths) == 1
    # The number of a box comes after the suffix of the file: a/b.jpg#2 becomes a_b_2.
    whole = Path(file_of(key)).with_suffix("").as_posix() + key.removeprefix(file_of(key))
    return _folder_name(stem if is_unique else whole.replace("/", "_").replace("#", "_"))


def _folder_name(name: str) -> str:
    """Return a name as that of a folder, which cannot lead to another folder as `..` would."""
    return name.strip(". ")[:MAX_NAME_LENGTH] or "photo"


def _find(paths: tuple[str, ...], name: str) -> list[int]:
    """Return the photo with this key; otherwise all boxes of the file, or all photos with this file name."""
    # Letters with accents may be composed or not, on both sides: early catalogs have the spelling of the disk.
    name = normalize("NFC", name)
    keys = [normalize("NFC", path) for path in paths]
    if name in keys:
        return [keys.index(name)]
    boxes = [i for i, key in enumerate(keys) if file_of(key) == name]
    file_name = Path(name).name
    return boxes or [i for i, key in enumerate(keys) if Path(file_of(key)).name == file_name]
