"""A collection that another process or machine serves: the verbs of a collection over HTTP."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pairlens.collection.arguments import as_item_ids, as_region, checked_label, listed_photos
from pairlens.collection.filters import Wanted
from pairlens.collection.http_answers import filter_as_json, item_of_json, result_of_json
from pairlens.collection.ingested import Ingested
from pairlens.collection.item import Item, Region, Value, checked_metadata
from pairlens.collection.packed_vector import pack_vector
from pairlens.collection.photo_view import MAX_FILE_BYTES
from pairlens.collection.search import SearchResult
from pairlens.collection.store import SearchMode
from pairlens.core.untrusted import read_bytes
from pairlens.core.whole_number import as_whole_number
from pairlens.data.account import Exclusion

if TYPE_CHECKING:
    import httpx

TOKEN_VARIABLE = "PAIRLENS_TOKEN"


@dataclass(frozen=True, eq=False)
class RemoteExplanation:
    """The similarity of two photos, divided among their places, as a server has computed it; see `MatchExplanation`.

    Attributes:
        maps: contribution of each place of the first photo and of each place of the second, (height, width) float32.
        shares: of the score by the letter of the descriptor; empty unless `is_exact`.
        score: cosine similarity of the two embeddings.
        is_exact: whether the maps divide the score.
    """

    maps: tuple[np.ndarray, np.ndarray]
    shares: Mapping[str, float]
    score: float
    is_exact: bool


class RemoteCollection:
    """A served collection; make one with `Collection.connect`, and use it in a `with` statement.

    Photos are files, the bytes of files, vectors or ids. What a method has returned from is on the disk of the server.

    Example:
        with pl.Collection.connect("http://photos.example:8000", token="...") as shop:
            result = shop.search("query.jpg", k=10, where={"label": ["dress", "skirt"]})
            print(result.verdict, result[0].label, result[0].score)
    """

    def __init__(self, client: "httpx.Client") -> None:
        """Wrap a client that knows the address; use `Collection.connect` instead."""
        self._client = client

    @classmethod
    def connect(cls, address: str, *, token: str | None = None, timeout: float = 60.0) -> Self:
        """Connect to a server; see `Collection.connect`."""
        try:
            import httpx
        except ImportError as error:
            raise ValueError("connect needs the package httpx; install it: pip install 'pairlens[serve]'") from error
        if not address.startswith(("http://", "https://")):
            raise ValueError(f"{address} is no address of a server; give one such as http://127.0.0.1:8000")
        given = token or os.environ.get(TOKEN_VARIABLE)
        headers = {"authorization": f"Bearer {given}"} if given else {}
        # Redirects are not followed: the token is meant for this address alone.
        collection = cls(httpx.Client(base_url=address, headers=headers, timeout=timeout))
        try:
            collection.info()
        except BaseException:
            collection.close()
            raise
        return collection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Return the number of photos."""
        return self.count()

    def close(self) -> None:
        """Close the connections; another call does nothing."""
        self._client.close()

    @property
    def name(self) -> str:
        """The address of the server."""
        return str(self._client.base_url).rstrip("/")

    # What is in it.

    def get(self, id: int) -> Item:
        """Return a photo by its number; raises ValueError if there is none."""
        return item_of_json(self._ask("GET", f"/api/photos/{as_whole_number(id, 'id')}"))

    def photos(self, where: Mapping[str, Wanted] | None = None, *, after: int = 0, limit: int = 100) -> list[Item]:
        """Return photos that a filter lets through, by rising id, beginning after an id."""
        return [item_of_json(row) for row in self._page(where, after, limit)["photos"]]

    def count(self, where: Mapping[str, Wanted] | None = None) -> int:
        """Return the number of photos that a filter lets through."""
        return int(self._page(where, 0, 1)["count"])

    def _page(self, where: Mapping[str, Wanted] | None, after: int, limit: int) -> Any:
        asked = {"filter": json.dumps(filter_as_json(where)), "after": after, "limit": as_whole_number(limit, "limit")}
        return self._answer("GET", "/api/photos", params=asked).json()

    def info(self) -> dict[str, Any]:
        """Return what the collection holds, as plain data."""
        return self._ask("GET", "/api/collection")

    def labels(self) -> dict[str | None, int]:
        """Return the labels with their numbers of photos; None is the missing label."""
        return {row["label"]: row["count"] for row in self._ask("GET", "/api/labels")}

    def thumbnail(self, id: int) -> bytes:
        """Return a photo as a JPEG of at most 256 pixels; raises ValueError if there is none."""
        return self._answer("GET", f"/api/photos/{as_whole_number(id, 'id')}/thumbnail").content

    # Adding and removing.

    def add(
        self,
        photos: Any,
        *,
        labels: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> Ingested:
        """Add picture files or their bytes, which the server keeps.

        Args:
            photos: a file, bytes, or a list of these; a server does not see folders of this machine.
            labels: one label or None per photo.
            metadata: one mapping per photo.

        Raises:
            ValueError: if labels or metadata do not fit the photos. A photo that cannot be read is no error.
        """
        listed = listed_photos(photos)
        for name, values in (("labels", labels), ("metadata", metadata)):
            if values is not None and len(values) != len(listed):
                raise ValueError(f"{len(values)} {name} were given for {len(listed)} photos; give one for each")
        data: dict[str, Any] = {}
        if labels is not None:
            data["label"] = [label or "" for label in labels]
        if metadata is not None:
            data["metadata"] = json.dumps([checked_metadata(row) for row in metadata])
        done = self._ask("POST", "/api/photos", data=data, files=[_file(photo) for photo in listed])
        refused = tuple(Exclusion(row["name"], "unreadable photo", row["reason"]) for row in done["refused"])
        return Ingested(added=done["added"], unchanged=done["unchanged"], refused=refused, ids=tuple(done["ids"]))

    def remove(self, ids: int | Iterable[int]) -> int:
        """Remove photos by their ids; returns how many there were."""
        return sum(self._changed("DELETE", id) for id in as_item_ids(ids).tolist())

    def relabel(self, ids: int | Iterable[int], label: str | None) -> int:
        """Set the label of photos, None to remove it; returns how many there were."""
        checked = checked_label(label)
        return sum(self._changed("PATCH", id, {"label": checked}) for id in as_item_ids(ids).tolist())

    def set_metadata(self, id: int, metadata: Mapping[str, Value]) -> int:
        """Replace the metadata of a photo; returns whether there was one, as 0 or 1."""
        return self._changed("PATCH", id, {"metadata": checked_metadata(metadata)})

    def _changed(self, method: str, id: int, body: Any = None) -> int:
        try:
            return int(self._ask(method, f"/api/photos/{id}", json=body)["changed"])
        except UnknownPhotoError:
            return 0

    # Searching.

    def search(
        self,
        photos: Any,
        k: int = 10,
        *,
        where: Mapping[str, Wanted] | None = None,
        unlike: Any = (),
        region: Region | Sequence[int] | None = None,
        index: SearchMode = "auto",
        group: bool = False,
        rate: float | None = None,
    ) -> SearchResult:
        """Return the k photos that are most similar to a photo; see `Collection.search`.

        Args:
            photos: a file, the bytes of one, a vector or an id; or a list of these, whose mean is searched for.
            k: number of results.
            where: a filter, as in `Collection.search`.
            unlike: ids of photos that the results should not look like.
            region: (x, y, width, height) in pixels of the upright photo, the part that is searched for.
            index: "exact" searches all photos; "auto" may use an index.
            group: whether near-duplicates are collapsed into one result.
            rate: false accept rate of the verdict.

        Raises:
            ValueError: if an argument has no meaning, or a photo cannot be read.
        """
        part = as_region(region)
        body: dict[str, Any] = {
            "k": as_whole_number(k, "k", least=1),
            "where": filter_as_json(where),
            "unlike": as_item_ids(listed_photos(unlike)).tolist(),
            "region": None if part is None else [part.x, part.y, part.width, part.height],
            "index": index,
            "group": group,
            "rate": rate,
            "with_vector": True,
        }
        files = []
        for photo in listed_photos(photos):
            if isinstance(photo, int | np.integer) and not isinstance(photo, bool):
                body.setdefault("id", []).append(int(photo))
            elif _as_vector(photo) is not None:
                body.setdefault("vector", []).append(_as_vector(photo))
            else:
                files.append(_file(photo))
        # JSON within a form: a filter and a vector have no other form in one.
        sent = {"data": {"query": json.dumps(body)}, "files": files} if files else {"json": body}
        answer = self._ask("POST", "/api/search", **sent)
        return result_of_json(answer, self.thumbnail, self._explainer(answer, body))

    def embed(self, photos: Any) -> np.ndarray:
        """Return float32 (photo, dim) unit vectors of the active model of the server."""
        answer = self._ask("POST", "/api/embed", files=[_file(photo) for photo in listed_photos(photos)])
        return np.array(answer["vectors"], np.float32)

    def _explainer(self, answer: Mapping[str, Any], body: Mapping[str, Any]) -> Any:
        ids = body.get("id", [])
        if len(answer["photos"]) + len(ids) != 1 or body.get("vector") or body["unlike"]:
            return None
        asked = {"photo": answer["photos"][0]} if answer["photos"] else {"id": ids[0]}

        def explain(id: int) -> RemoteExplanation:
            grid = self._ask("POST", "/api/explanation", json={**asked, "region": body["region"], "match": id})
            first, second = (np.array(rows, np.float32) for rows in grid["maps"])
            return RemoteExplanation((first, second), grid["shares"], grid["score"], grid["is_exact"])

        return explain

    # The connection.

    def _ask(self, method: str, path: str, json: Any = None, data: Any = None, files: Any = None) -> Any:
        return self._answer(method, path, json=json, data=data, files=files).json()

    def _answer(
        self, method: str, path: str, json: Any = None, data: Any = None, files: Any = None, params: Any = None
    ) -> "httpx.Response":
        import httpx

        try:
            answer = self._client.request(method, path, json=json, data=data, files=files, params=params)
        except httpx.TransportError as error:
            raise ValueError(f"{self.name} does not answer ({error}); is pairlens serve running there?") from error
        if answer.is_success:
            return answer
        kind = UnknownPhotoError if answer.status_code == 404 else ValueError
        raise kind(_sentence(answer))


class UnknownPhotoError(ValueError):
    """A server has been asked for something that it does not have."""


def _sentence(answer: "httpx.Response") -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.request.url} answered {answer.status_code}, which Pairlens does not; check the address"


def _file(photo: Any) -> tuple[str, tuple[str, bytes]]:
    if isinstance(photo, str | Path):
        return "photo", (Path(photo).name, read_bytes(Path(photo), MAX_FILE_BYTES))
    if isinstance(photo, bytes | bytearray | memoryview):
        # With a name, without which it would be a text field and no file.
        return "photo", ("photo", bytes(photo))
    raise ValueError(f"a {type(photo).__name__} cannot be sent to a server; give a file, bytes, a vector or an id")


def _as_vector(photo: Any) -> str | list[float] | None:
    """Return a vector as a server reads it; None if it is none."""
    dtype = str(getattr(photo, "dtype", ""))
    if "float" not in dtype or getattr(photo, "ndim", 0) != 1:
        return None
    # Numbers of more digits than float32 has are sent as they are, so that the results are those of the local search.
    is_short = dtype.endswith(("float32", "float16"))
    return pack_vector(np.asarray(photo)) if is_short else np.asarray(photo, np.float64).tolist()
