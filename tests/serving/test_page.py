"""The page without a script: uploads, results, filters and single photos; and what it does not let in."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from pairlens.collection.collection import Collection
from pairlens.serving.service import CollectionService
from support.served_collection import make_collection, picture, serving, tiny_model


class Balance(HTMLParser):
    """Checks that the elements of a page are closed in their order."""

    VOID = ("meta", "link", "img", "input", "wbr", "rect", "circle")

    def __init__(self):
        super().__init__()
        self.open, self.ids = [], []

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def checked(answer):
    assert answer.status_code == 200, answer.text
    page = Balance()
    page.feed(answer.text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    return answer.text


def cards(html):
    return [int(id) for id in re.findall(r'<li class="card" data-id="(\d+)"', html)]


def test_without_a_search_the_page_shows_the_photos(client):
    html = checked(client.get("/"))
    assert cards(html) == list(range(1, 10))
    assert "9 photos" in html
    assert 'width="64" height="48"' in html


def test_an_upload_leads_to_an_address_that_can_be_sent_to_somebody(client, shop_folder):
    answer = client.post(
        "/", files={"photo": ("a.jpg", picture(100))}, data={"where": "label=red"}, follow_redirects=False
    )
    assert answer.status_code == 303
    html = checked(client.get(answer.headers["location"]))
    with Collection.open(shop_folder) as shop:
        assert cards(html) == [match.id for match in shop.search(picture(100), k=24, where={"label": "red"})]
    assert "The most similar photos" in html
    assert "No verdict: the collection is not calibrated" in html
    assert html.count('class="bar"') == 3


def test_a_script_gets_the_results_at_once(client):
    headers = {"x-pairlens-fragment": "1"}
    answer = client.post("/", files={"photo": picture(100)}, headers=headers)
    assert answer.headers["x-pairlens-address"].startswith("/?photo=")
    html = checked(answer)
    assert "<html" not in html
    assert checked(client.get(answer.headers["x-pairlens-address"], headers=headers)) == html


def test_filters_of_a_form(client):
    html = checked(client.get("/", params={"where": ["label=red", "label=blue"], "from:price": "3", "group": "1"}))
    assert cards(html) == [4, 6, 7, 9]
    assert html.count(" checked") == 3
    assert 'value="label=red" checked' in html
    assert checked(client.get("/", params={"where": "label=nothing"})).count("No photo fits the filter.") == 1


def test_one_photo_beside_the_one_that_was_searched_with(client):
    html = checked(client.get("/photos/2", params={"id": 1}))
    assert 'data-compare="1"' in html
    assert "similarity" in html
    alone = checked(client.get("/photos/2"))
    assert 'data-compare="0"' in alone
    assert "shop 1" in alone
    assert checked(client.get("/map"))


def test_copies_are_shown_beside_a_photo(tmp_path):
    collection = make_collection(tmp_path / "shop", 3)
    # The same picture in another encoding.
    collection.add([picture(0, (64, 48), "PNG")], labels=["copy"])
    with serving(collection, tmp_path / "queries") as client:
        assert "The same picture" in checked(client.get("/photos/1"))
        assert "The same picture" not in checked(client.get("/photos/2"))
        grouped = checked(client.get("/", params={"id": 2, "group": 1}))
        assert "+1 like it" in grouped


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/?id=77", 422, "no photo with the id 77"),
        ("/?photo=" + "0" * 64, 404, "is not kept any more"),
        ("/photos/77", 404, "no photo with the id 77"),
        ("/?k=x", 422, "whole number"),
        ("/nothing", 404, "Not Found"),
    ],
)
def test_errors_are_pages_for_people(client, path, status, words):
    answer = client.get(path, headers={"accept": "text/html"})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert words in answer.text
    assert client.get(path).headers["content-type"] == "application/problem+json"


def test_what_people_have_written_is_text_and_nothing_else(tmp_path):
    collection = make_collection(tmp_path / "shop", 3)
    evil = "<script>alert(1)</script>\"'&_x"
    collection.relabel(1, evil)
    collection.set_metadata(1, {"note": evil, "<b>": "1"})
    with serving(collection, tmp_path / "queries") as client:
        for path in ("/", "/photos/1", "/?id=2", "/?id=1"):
            html = checked(client.get(path))
            assert "<script>" not in html
            assert "<b>" not in html
        assert client.get("/api/photos/1").json()["label"] == evil


def test_an_empty_collection_says_so(tmp_path):
    with serving(Collection.create(tmp_path / "shop", tiny_model()), tmp_path / "queries") as client:
        assert "has no photos yet" in checked(client.get("/"))
        assert client.post("/api/search", files={"photo": picture(1)}).json()["matches"] == []
        answer = client.get("/api/map")
        while answer.status_code == 202:
            answer = client.get("/api/map")
        assert (answer.status_code, "five" in answer.text or "5 photos" in answer.text) == (422, True)


def test_files_of_the_page_may_be_kept_for_ever_under_the_address_that_the_page_gives(client):
    html = client.get("/").text
    for name in ("app.js", "style.css", "icon.svg"):
        (address,) = set(re.findall(rf'"(/static/{re.escape(name)}\?v=\w+)"', html))
        assert "immutable" in client.get(address).headers["cache-control"]
        assert client.get(f"/static/{name}").headers["cache-control"] == "no-cache"
    assert "http://" not in client.get("/static/style.css").text.replace("http://www.w3.org", "")


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("no match", "No photo is a sure match, at a false accept rate of 1 in 1,000"),
        ("match", "The collection shows this, at a false accept rate of 1 in 1,000"),
    ],
)
def test_the_verdict_is_said_in_words_with_what_it_promises(client, monkeypatch, verdict, words):
    real = CollectionService.search

    def judged(service, request):
        result = real(service, request)
        first = replace(result[0], probability=0.874)
        return replace(
            result,
            verdict=verdict,
            rate=0.001,
            interval=(0.0002, 0.004),
            reason="",
            matches=(first, *result.matches[1:]),
        )

    monkeypatch.setattr(CollectionService, "search", judged)
    html = checked(client.get("/?id=1"))
    assert words in html
    assert html.count("% sure") == 1
    assert "87 % sure" in html
    answer = client.post("/api/search", json={"id": 1}).json()
    assert (answer["verdict"], answer["false_accept_rate"], answer["interval"]) == (verdict, 0.001, [0.0002, 0.004])
    assert words in answer["sentence"]
