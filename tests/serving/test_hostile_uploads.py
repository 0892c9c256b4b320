"""A few dozen hostile uploads; tools/serving_attacks.py sends a thousand to a real server."""

import random

import pytest

from support.hostile_uploads import FILES, broken_request, form, photo, polyglot

PATHS = ("/api/search", "/api/photos", "/api/embed", "/")


@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
def test_hostile_files_are_refused_or_read_and_never_fail(own_client, make):
    chance = random.Random(make.__name__)
    statuses = []
    for number in range(8 if make.__name__ != "bomb" else 3):
        body, kind = form(make(chance))
        path = PATHS[number % 4]
        answer = own_client.post(path, content=body, headers={"content-type": kind}, follow_redirects=False)
        assert answer.status_code < 500, (answer.text, number)
        statuses.append(answer.status_code)
        if answer.status_code >= 400:
            assert answer.json()["detail"]
    assert set(statuses) <= {200, 201, 303, 413, 422}
    assert own_client.get("/healthz").status_code == 200


def test_broken_requests_are_answered_with_a_sentence(client):
    chance = random.Random(0)
    for _ in range(40):
        body, kind = broken_request(chance)
        answer = client.post("/api/search", content=body, headers={"content-type": kind})
        assert answer.status_code in (200, 400, 404, 413, 415, 422), (answer.text, body[:80])


def test_what_a_stranger_has_uploaded_comes_back_as_a_picture_and_nothing_else(own_client):
    chance = random.Random(1)
    stored = 0
    for _ in range(12):
        body, kind = form(polyglot(chance), name="evil.html")
        added = own_client.post("/api/photos", content=body, headers={"content-type": kind}).json()
        for id in added["ids"]:
            stored += 1
            headers = own_client.get(f"/api/photos/{id}/original").headers
            assert headers["content-type"] in ("image/jpeg", "image/png", "image/gif", "application/octet-stream")
            assert headers["x-content-type-options"] == "nosniff"
            assert ".html" not in headers["content-disposition"]
    assert stored > 0


def test_a_photo_that_is_fine_is_still_added_afterwards(own_client):
    body, kind = form(photo("JPEG"))
    assert own_client.post("/api/photos", content=body, headers={"content-type": kind}).json()["added"] == 1
