"""The API answers like the collection in Python, for files, ids and vectors, and says what is wrong in one sentence."""

import json

import numpy as np
import pytest

import pairlens as pl
from pairlens.collection.collection import Collection
from pairlens.collection.packed_vector import pack_vector
from support.served_collection import picture


@pytest.fixture(scope="module")
def shop(shop_folder):
    with Collection.open(shop_folder) as opened:
        yield opened


def search(client, **body):
    answer = client.post("/api/search", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(answer):
    return [match["id"] for match in answer["matches"]]


def test_a_file_finds_what_the_collection_finds(client, shop):
    contents = picture(100)
    answer = client.post("/api/search", files={"photo": contents}, data={"k": "4", "with_vector": "true"}).json()
    expected = shop.search(contents, k=4)
    assert ids(answer) == [match.id for match in expected]
    np.testing.assert_allclose([m["score"] for m in answer["matches"]], [m.score for m in expected], atol=1e-5)
    np.testing.assert_allclose(answer["vector"], expected.vector, atol=1e-6)
    assert answer["verdict"] == "not calibrated"
    assert answer["matches"][0].keys() >= {"label", "path", "metadata", "copies", "probability", "thumbnail"}


def test_a_photo_that_was_searched_with_can_be_searched_with_again_by_its_digest(client):
    first = client.post("/api/search", files={"photo": picture(100)}).json()
    (digest,) = first["photos"]
    assert ids(search(client, photo=digest)) == ids(first)
    shown = client.get(f"/api/queries/{digest}")
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/jpeg")
    region = search(client, photo=digest, region=[0, 0, 20, 20])
    by_form = client.post("/api/search", files={"photo": picture(100)}, data={"region": "0,0,20,20"}).json()
    assert ids(region) == ids(by_form)
    assert client.post("/api/search", json={"photo": "0" * 64}).status_code == 404
    assert client.post("/api/search", json={"photo": "../../etc/passwd"}).status_code == 404


def test_ids_vectors_and_photos_that_are_not_wanted(client, shop):
    assert ids(search(client, id=1, k=5)) == [match.id for match in shop.search(1, k=5)]
    assert 1 not in ids(search(client, id=1, k=9))
    vector = shop.store.vectors([3])[0]
    assert ids(search(client, vector=vector.tolist(), k=3)) == [match.id for match in shop.search(vector, k=3)]
    both = search(client, id=[1, 4], unlike=2, k=4)
    assert ids(both) == [match.id for match in shop.search([1, 4], k=4, unlike=[2])]
    assert len(search(client, vector=[vector.tolist(), vector.tolist()], k=2)["matches"]) == 2


def test_a_packed_vector_finds_what_its_numbers_find(client, shop):
    first, second = shop.store.vectors([3, 5])
    packed = [pack_vector(first), pack_vector(second)]
    assert search(client, vector=packed[0]) == search(client, vector=first.tolist())
    both = search(client, vector=[first.tolist(), second.tolist()])
    assert search(client, vector=packed) == search(client, vector=[packed[0], second.tolist()]) == both


@pytest.mark.parametrize(
    ("where", "python"),
    [
        ({"label": ["red", "blue"]}, {"label": ["red", "blue"]}),
        ({"price": {"from": 2, "to": 5}}, {"price": pl.between(2, 5)}),
        ({"price": {"from": 7}}, {"price": pl.between(7, None)}),
        ({"sold": True}, {"sold": True}),
        ({"label": {"under": "gr"}}, {"label": pl.under("gr")}),
        (["label=red,green", "price=0..4"], {"label": ["red", "green"], "price": pl.between(0, 4)}),
    ],
)
def test_filters(client, shop, where, python):
    assert ids(search(client, id=1, where=where, k=9)) == [match.id for match in shop.search(1, k=9, where=python)]
    listed = client.get("/api/photos", params={"filter": json.dumps(where)}) if isinstance(where, dict) else None
    if listed is not None:
        assert listed.json()["count"] == shop.count(python)


def test_a_region_of_a_stored_photo(client, shop):
    found = search(client, id=1, region=[0, 0, 32, 24], k=9)
    assert 1 not in ids(found)
    expected = shop.search(shop.store.original(1), k=9, region=(0, 0, 32, 24))
    assert ids(found) == [match.id for match in expected if match.id != 1]


def test_matches_are_explained_exactly(client):
    answer = client.post("/api/search", files={"photo": picture(100)}, data={"k": "2", "explain": "true"}).json()
    for match in answer["matches"]:
        assert match["explanation"]["is_exact"]
        assert np.sum(match["explanation"]["maps"][0]) == pytest.approx(match["score"], abs=1e-3)
    alone = client.post("/api/explanation", json={"id": 1, "match": 2}).json()
    assert np.sum(alone["maps"][1]) == pytest.approx(alone["score"], abs=1e-3)


def test_vectors_of_photos(client, shop):
    answer = client.post("/api/embed", files=[("photo", picture(100)), ("photo", picture(101))]).json()
    assert answer["model"] == shop.active.fingerprint
    np.testing.assert_allclose(answer["vectors"], shop.embed([picture(100), picture(101)]), atol=1e-6)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 422, "nothing to search for"),
        ({"id": 77}, 422, "no photo with the id 77"),
        ({"id": 1, "k": 0}, 422, "k: input should be greater"),
        ({"id": 1, "k": 5000}, 422, "at most 1,000 results"),
        ({"id": 1, "kk": 5}, 422, "kk: extra inputs"),
        ({"vector": [1, 2, 3]}, 422, "the query has 3 dimensions, but the collection has 512"),
        ({"vector": "AACAPw=="}, 422, "the query has 1 dimensions, but the collection has 512"),
        ({"vector": ["AACAPw"]}, 422, "vector: the text is no base64"),
        ({"vector": "AACAfw=="}, 422, "vector: the text packs an infinite number"),
        ({"id": 1, "where": {"label": {"from": 1}}}, 422, "a label is a text"),
        ({"id": 1, "where": ["label"]}, 422, "has no ="),
        ({"id": 1, "where": {"price": 1 << 70}}, 422, "63 bits"),
        ({"id": 1, "rate": 0.3, "index": "fast"}, 422, "index: input should be 'auto' or 'exact'"),
        ({"id": 1, "explain": True, "k": 500}, 422, "at most 20 results are explained"),
        ({"id": [1, 2], "region": [0, 0, 5, 5]}, 422, "a region belongs to one photo"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(client, body, status, words):
    answer = client.post("/api/search", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert words in problem["detail"]
    assert problem["status"] == status


@pytest.mark.parametrize(
    "contents",
    [
        b"{",
        b"",
        b'{"id": 1}{',
        b'{"vector": [NaN]}',
        b'{"k": Infinity}',
        b'{"photo": "\\ud800"}',
        b'{"photo": "\xff"}',
        b'\xef\xbb\xbf{"id": 1}',
        b'{"id": ' + b"9" * 100_000 + b"}",
        b'{"id": ' + b"[" * 100_000,
    ],
)
def test_bodies_that_are_no_json(client, contents):
    answer = client.post("/api/search", content=contents, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("the body is not JSON (")


def test_bodies_of_other_kinds_and_files_that_are_no_photos(client):
    assert client.post("/api/search", content=b"id=1").status_code == 415
    assert client.post("/api/search", data={"k": "3"}, files={"other": b"x"}).status_code == 422
    answer = client.post("/api/search", files={"photo": b"<svg onload=alert(1)>"})
    assert answer.status_code == 422
    assert "cannot be read" in answer.json()["detail"]


def test_the_description_of_the_api_has_examples_and_every_path(client):
    text = client.get("/openapi.json").json()
    assert {
        "/api/search",
        "/api/photos",
        "/api/photos/{id}",
        "/api/embed",
        "/api/collection",
        "/healthz",
        "/metrics",
    } <= set(text["paths"])
    body = text["paths"]["/api/search"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", "multipart/form-data"}
    assert body["application/json"]["schema"]["examples"]
    assert "$ref" not in json.dumps(body)
