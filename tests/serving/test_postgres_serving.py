"""Two servers of one collection in PostgreSQL answer alike, and each sees at once what the other one has changed."""

from pairlens.collection.collection import Collection
from support.postgres_server import new_url
from support.served_collection import picture, serving, tiny_model


def found(client, number):
    answer = client.post("/api/search", files={"photo": picture(number)}, data={"k": "5"}).json()
    return [(match["id"], round(match["score"], 4)) for match in answer["matches"]]


def test_two_servers_of_one_database_answer_alike(tmp_path):
    url = new_url()
    with Collection.create(url, tiny_model()) as collection:
        collection.add([picture(number) for number in range(6)], labels=["a", "b"] * 3)
    settings = {"location": url}
    with (
        serving(Collection.open(url), tmp_path / "first", **settings) as first,
        serving(Collection.open(url), tmp_path / "second", **settings) as second,
    ):
        assert found(first, 100) == found(second, 100)
        (id,) = first.post("/api/photos", files={"photo": picture(50)}, data={"label": "new"}).json()["ids"]
        assert found(second, 50)[0][0] == id
        assert second.patch(f"/api/photos/{id}", json={"label": "old"}).status_code == 200
        assert first.get(f"/api/photos/{id}").json()["label"] == "old"
        assert second.delete(f"/api/photos/{id}").status_code == 200
        assert id not in [one for one, _ in found(first, 50)]
        assert first.get(f"/api/photos/{id}").status_code == 404
        # What clients put into a filter is a value for this database, too.
        for where in ({"label": "\x00"}, {"label": "'; DROP TABLE items; --"}, {"price": {"from": 1e300}}):
            assert first.post("/api/search", json={"id": 1, "where": where}).status_code in (200, 422)
        assert first.get("/").status_code == 200
        # The address of the database is nobody's business.
        assert "postgres" not in first.get("/").text
        assert first.get("/api/collection").json()["collection"].startswith("c")
