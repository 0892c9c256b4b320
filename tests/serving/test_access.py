"""Clients without the token, other sites and false names are refused; the token is compared safely and kept nowhere."""

import hmac

import pytest

from pairlens.collection.collection import Collection
from pairlens.serving import access
from pairlens.serving.settings import ServingSettings
from support.served_collection import serving

TOKEN = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def guarded(shop_folder, tmp_path_factory):
    settings = {"host": "0.0.0.0", "token": TOKEN, "names": ("photos.example",)}
    with serving(Collection.open(shop_folder), tmp_path_factory.mktemp("guarded"), **settings) as client:
        yield client


def test_a_stranger_gets_nothing_but_the_question_for_the_token(guarded):
    for path in ("/api/labels", "/api/photos/1", "/api/photos/1/thumbnail", "/metrics", "/openapi.json", "/map", "/"):
        answer = guarded.get(path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path
    assert guarded.post("/api/search", json={"id": 1}).status_code == 401
    for path in ("/healthz", "/login", "/static/style.css"):
        assert guarded.get(path).status_code == 200
    page = guarded.get("/", headers={"accept": "text/html"}, follow_redirects=False)
    assert (page.status_code, page.headers["location"]) == (303, "/login")


def test_the_token_opens_the_api(guarded):
    assert guarded.get("/api/labels", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    for wrong in (f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer", "Bearer ", f"Basic {TOKEN}", "Bearer ä"):
        assert guarded.get("/api/labels", headers={"authorization": wrong.encode()}).status_code == 401
    # Not in an address, where logs and histories keep it.
    assert guarded.get("/api/labels", params={"token": TOKEN}).status_code == 401


def test_a_browser_signs_in_once(guarded):
    wrong = guarded.post("/login", data={"token": "not the token at all"})
    assert wrong.status_code == 403
    assert "set-cookie" not in wrong.headers
    right = guarded.post("/login", files={}, data={"token": TOKEN}, follow_redirects=False)
    cookie = right.headers["set-cookie"]
    assert (right.status_code, right.headers["location"]) == (303, "/")
    assert all(word in cookie for word in ("HttpOnly", "SameSite=strict"))
    assert TOKEN not in cookie
    session = cookie.partition(";")[0]
    guarded.cookies.clear()
    assert guarded.get("/api/labels", headers={"cookie": session}).status_code == 200
    assert guarded.get("/api/labels", headers={"cookie": session[:-1]}).status_code == 401
    assert guarded.get("/api/labels", headers={"cookie": f"{access.COOKIE}="}).status_code == 401


def test_the_token_is_compared_in_constant_time(guarded, monkeypatch):
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(access.hmac, "compare_digest", lambda a, b: compared.append(1) or real(a, b))
    guarded.get("/api/labels", headers={"authorization": "Bearer x"})
    assert len(compared) == 2


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("192.168.1.5", 421),
        ("localhost@evil.example", 421),
        ("", 421),
    ],
)
def test_a_server_for_this_machine_answers_to_its_names_alone(client, host, status):
    assert client.get("/healthz", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("host", "status"), [("photos.example", 200), ("192.168.1.5:8000", 200), ("evil.example", 421)]
)
def test_a_server_for_a_network_answers_to_addresses_and_given_names(guarded, host, status):
    assert guarded.get("/healthz", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 422),
        ({"origin": "http://127.0.0.1"}, 422),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9000"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 422),
    ],
)
def test_pages_of_other_sites_cannot_post(client, headers, status):
    # Without a body, a request that is let through is wrong in another way.
    answer = client.post("/api/search", json={}, headers=headers)
    assert answer.status_code == status


def test_pages_of_other_sites_cannot_read_the_api_but_may_link_to_the_page(client):
    assert client.get("/api/labels", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 200


def test_every_answer_forbids_what_browsers_should_not_do(client):
    for path in ("/", "/api/labels", "/nothing", "/static/app.js", "/api/photos/1/thumbnail"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
    page = client.get("/").text
    assert "<script>" not in page
    assert " style=" not in page
    assert " onclick=" not in page


def test_no_folder_is_listed_and_nothing_outside_is_read(client):
    for path in (
        "/static/",
        "/static",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/templates/base.html",
    ):
        assert client.get(path).status_code in (404, 405)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"host": "0.0.0.0"}, "callers need a token"),
        ({"names": ("photos.example",)}, "callers need a token"),
        ({"token": "short"}, "at least 16"),
        ({"token": "with a blank in the middle"}, "without blanks"),
        ({"port": 70000}, "no port"),
    ],
)
def test_settings_that_would_let_strangers_in_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        ServingSettings("shop", **settings)
    assert TOKEN not in repr(ServingSettings("shop", token=TOKEN))
