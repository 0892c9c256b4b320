"""Photos are listed, shown, added, changed and removed; their bytes come with headers that make them harmless."""

import io
import json

import pytest
from PIL import Image

from pairlens.collection.collection import Collection
from support.served_collection import picture, serving


def test_a_photo_and_its_pictures(client):
    row = client.get("/api/photos/1").json()
    assert (row["label"], row["metadata"]["price"], row["width"]) == ("red", 0, 64)
    thumbnail = client.get(row["thumbnail"])
    assert thumbnail.headers["content-type"] == "image/jpeg"
    assert "immutable" in thumbnail.headers["cache-control"]
    again = client.get(row["thumbnail"], headers={"if-none-match": thumbnail.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    # Without its version in the address, a thumbnail may change.
    assert client.get("/api/photos/1/thumbnail").headers["cache-control"] == "private, no-cache"
    assert client.get("/api/photos/1/thumbnail", params={"v": "old"}).headers["cache-control"] == "private, no-cache"
    assert Image.open(io.BytesIO(client.get("/api/photos/1/view").content)).size == (64, 48)
    original = client.get("/api/photos/1/original")
    assert original.content == picture(0)
    assert original.headers["content-disposition"] == 'inline; filename="photo-1.jpg"'
    assert "sandbox" in original.headers["content-security-policy"]
    for part in ("", "/thumbnail", "/view", "/original"):
        answer = client.get(f"/api/photos/77{part}")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert client.get("/api/photos/x").status_code == 422
    assert client.get(f"/api/photos/{1 << 70}").status_code == 422


def test_pages_of_photos(client):
    page = client.get("/api/photos", params={"where": "label=red", "limit": 2}).json()
    assert (page["count"], [row["id"] for row in page["photos"]]) == (3, [1, 4])
    rest = client.get("/api/photos", params={"where": "label=red", "after": 4}).json()
    assert [row["id"] for row in rest["photos"]] == [7]


def test_adding_relabelling_and_removing(own_client):
    files = [
        ("photo", ("a.jpg", picture(50))),
        ("photo", ("b.png", picture(51, format="PNG"))),
        ("photo", ("c.txt", b"x")),
    ]
    data = {"label": ["new", "new", ""], "metadata": json.dumps({"price": 3})}
    done = own_client.post("/api/photos", files=files, data=data)
    assert done.status_code == 201
    answer = done.json()
    assert (answer["added"], [row["name"] for row in answer["refused"]]) == (2, ["c.txt"])
    first, second = answer["ids"]
    # It is found at once.
    found = own_client.post("/api/search", files={"photo": picture(50)}, data={"k": "1"}).json()
    assert found["matches"][0]["id"] == first
    again = own_client.post("/api/photos", files=files[:1], data={"label": "new"}).json()
    assert (again["added"], again["unchanged"]) == (0, 1)
    assert own_client.patch(f"/api/photos/{first}", json={"label": "old"}).json() == {"changed": 1}
    assert own_client.patch(f"/api/photos/{first}", json={"metadata": {"price": 4}}).json() == {"changed": 1}
    row = own_client.get(f"/api/photos/{first}").json()
    assert (row["label"], row["metadata"]) == ("old", {"price": 4})
    assert own_client.patch(f"/api/photos/{first}", json={"label": None}).status_code == 200
    assert own_client.patch(f"/api/photos/{first}", json={}).status_code == 422
    assert own_client.patch("/api/photos/77", json={"label": "x"}).status_code == 404
    assert own_client.delete(f"/api/photos/{second}").json() == {"changed": 1}
    assert own_client.delete(f"/api/photos/{second}").status_code == 404
    assert own_client.get("/api/collection").json()["photos"] == 10


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"label": ["a", "b"]}, "2 labels were given for 1 photos"),
        ({"metadata": "{"}, "the metadata are not JSON"),
        ({"metadata": "3"}, "neither one JSON object"),
        ({"metadata": '{"a": [1]}'}, "cannot be stored"),
    ],
)
def test_what_cannot_be_added_is_said(own_client, data, words):
    answer = own_client.post("/api/photos", files={"photo": picture(60)}, data=data)
    assert answer.status_code in (400, 422)
    assert words in answer.json()["detail"]
    assert own_client.get("/api/collection").json()["photos"] == 9


def test_a_collection_that_is_served_for_reading_only_is_not_changed(shop_folder, tmp_path):
    with serving(Collection.open(shop_folder, read_only=True), tmp_path, read_only=True) as client:
        answers = [
            client.post("/api/photos", files={"photo": picture(60)}),
            client.patch("/api/photos/1", json={"label": "x"}),
            client.delete("/api/photos/1"),
        ]
        assert [answer.status_code for answer in answers] == [403, 403, 403]
        assert client.post("/api/search", files={"photo": picture(60)}).status_code == 200
        assert "Add photos" not in client.get("/").text


def test_labels_filters_health_and_numbers(client):
    assert client.get("/api/labels").json() == [{"label": label, "count": 3} for label in ("blue", "green", "red")]
    filters = client.get("/api/filters").json()
    assert filters["metadata"]["price"]["high"] == 8
    assert {row["value"]: row["count"] for row in filters["metadata"]["sold"]["values"]} == {True: 5, False: 4}
    assert client.get("/healthz").json()["status"] == "ok"
    about = client.get("/api/collection").json()
    assert (about["photos"], about["labels"], "roots" in about) == (9, 3, False)
    text = client.get("/metrics").text
    assert 'pairlens_requests_total{method="GET",route="/healthz",status="200"' in text
    assert "pairlens_photos{" in text


def test_the_map_is_computed_once_and_kept(client):
    answer = client.get("/api/map")
    while answer.status_code == 202:
        answer = client.get("/api/map")
    layout = answer.json()
    assert (layout["shown"], sorted(layout["labels"])) == (9, ["blue", "green", "red"])
    assert all(0 <= value <= 1 for point in layout["points"] for value in point[1:3])
