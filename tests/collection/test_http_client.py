"""A served collection has the verbs of a collection, with the same answers."""

import numpy as np
import pytest

import pairlens as pl
from pairlens.collection.collection import Collection
from pairlens.collection.http_client import RemoteCollection
from support.served_collection import make_collection, picture, serving


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A collection, and the same one through its server."""
    folder = tmp_path_factory.mktemp("remote")
    make_collection(folder / "shop").close()
    with (
        serving(Collection.open(folder / "shop"), folder / "queries") as client,
        Collection.open(folder / "shop") as own,
    ):
        yield own, RemoteCollection(client)


def scores(result):
    return [(match.id, match.label, match.path) for match in result], [match.score for match in result]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"where": {"label": ["red", "blue"], "price": pl.between(1, 7)}},
        {"where": {"sold": None, "path": pl.under("x")}},
        {"unlike": [3], "group": True},
        {"region": (0, 0, 30, 30), "index": "exact"},
    ],
)
def test_searches_are_the_same(pair, options, tmp_path):
    own, remote = pair
    file = tmp_path / "query.jpg"
    file.write_bytes(picture(100))
    expected = own.search(str(file), k=5, **options)
    found = remote.search(file, k=5, **options)
    assert scores(found)[0] == scores(expected)[0]
    np.testing.assert_allclose(scores(found)[1], scores(expected)[1], atol=1e-5)
    np.testing.assert_allclose(found.vector, expected.vector, atol=1e-6)
    assert (found.verdict, found.reason, found.recall) == (expected.verdict, expected.reason, expected.recall)


def test_ids_vectors_and_several_photos(pair):
    own, remote = pair
    vector = own.store.vectors([2])[0]
    for photos in (
        1,
        [1, 2],
        vector,
        vector.astype(np.float64),
        [vector, vector],
        [picture(100), 3],
        [picture(100), picture(101)],
    ):
        assert scores(remote.search(photos, k=4))[0] == scores(own.search(photos, k=4))[0]
    np.testing.assert_allclose(remote.embed([picture(5)]), own.embed([picture(5)]), atol=1e-6)


def test_a_match_brings_its_thumbnail_and_its_explanation(pair):
    _, remote = pair
    match = remote.search(picture(100), k=1)[0]
    assert match.thumbnail().startswith(b"\xff\xd8")
    why = match.explain()
    assert (why.is_exact, why.score) == (True, pytest.approx(match.score, abs=1e-4))
    assert float(why.maps[0].sum()) == pytest.approx(why.score, abs=1e-3)
    with pytest.raises(ValueError, match="not made with one photo"):
        remote.search([1, 2], k=1)[0].explain()


def test_what_it_holds(pair):
    own, remote = pair
    assert len(remote) == 9
    assert remote.labels() == own.labels()
    assert remote.count({"label": "red"}) == 3
    assert [item.id for item in remote.photos({"price": pl.between(3, 4)})] == [4, 5]
    assert (remote.get(2).label, remote.get(2).metadata) == (own.get(2).label, own.get(2).metadata)
    assert remote.info()["photos"] == 9
    assert remote.name == "http://127.0.0.1"


def test_changes(tmp_path):
    with serving(make_collection(tmp_path / "shop"), tmp_path / "queries") as client:
        remote = RemoteCollection(client)
        done = remote.add([picture(70), b"no photo"], labels=["new", None], metadata=[{"price": 1}, {}])
        assert (done.added, len(done.refused), done.sentence().startswith("Found 2: 1 read, 1 refused")) == (1, 1, True)
        (id,) = done.ids
        assert remote.relabel([id, 999], "old") == 1
        assert remote.set_metadata(id, {"price": 2}) == 1
        assert (remote.get(id).label, remote.get(id).metadata) == ("old", {"price": 2})
        assert remote.remove([id, id]) == 1
        with pytest.raises(ValueError, match=f"no photo with the id {id}"):
            remote.get(id)
        with pytest.raises(ValueError, match="1 labels were given for 2 photos"):
            remote.add([picture(1), picture(2)], labels=["a"])


def test_what_is_wrong_is_said_as_the_server_says_it(pair):
    _, remote = pair
    with pytest.raises(ValueError, match="the query has 3 dimensions"):
        remote.search(np.ones(3, np.float32))
    with pytest.raises(ValueError, match="cannot be sent to a server"):
        remote.search({"a": 1})
    with pytest.raises(ValueError, match="is no address"):
        Collection.connect("photos.example")
    with pytest.raises(ValueError, match="does not answer"):
        Collection.connect("http://127.0.0.1:9", timeout=2)
