"""Searching a collection: everything that may be a query, and what the results say."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from pairlens.collection.collection import Collection
from pairlens.collection.collection_model import NoModelError
from pairlens.collection.filters import between, under
from pairlens.collection.item import Region
from pairlens.collection.search import plain_result
from support.tiny_collections import (
    encoded,
    new_collection,
    photo_folder,
    pixels,
    tiny_backbone,
    tiny_run,
    write_photo,
)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Twelve photos of three classes, as files."""
    folder = tmp_path_factory.mktemp("filled")
    photos = photo_folder(folder / "photos", "abc", 4)
    with new_collection(folder / "shop", tiny_run()) as collection:
        collection.add(photos)
        for item in collection.photos():
            collection.set_metadata(item.id, {"price": item.id, "sold": item.id % 2 == 0})
        yield collection, photos


def test_every_form_of_a_query_finds_the_photo_itself(filled):
    shop, photos = filled
    file = photos / "b" / "1.png"
    array = np.asarray(Image.open(file))
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    vector = shop.store.vectors([6])[0]
    queries = [file, str(file), file.read_bytes(), bytearray(file.read_bytes()), Image.open(file), array, tensor]
    queries += [
        vector,
        3 * vector.astype(np.float64),
        torch.from_numpy(vector).requires_grad_(),
        vector.astype(np.float16),
    ]
    for query in queries:
        for given in (query, [query]):
            result = shop.search(given, k=3)
            assert (result[0].id, result[0].label, result[0].path) == (6, "b", "b/1.png")
            assert result[0].score == pytest.approx(1, abs=2e-3)
            assert [match.rank for match in result] == [1, 2, 3]
            assert len(result) == 3


def test_an_item_is_not_found_by_itself(filled):
    shop, photos = filled
    for query in (6, np.int64(6), "6", "#6", "b/1.png", np.array([6])):
        result = shop.search(query, k=20)
        assert sorted(match.id for match in result) == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]
    moved = photos / "b" / "moved.png"
    (photos / "b" / "1.png").rename(moved)
    try:
        # The path of a file that is gone still names the item.
        assert 6 not in {match.id for match in shop.search(str(photos / "b" / "1.png"), k=20)}
    finally:
        moved.rename(photos / "b" / "1.png")


def test_several_photos_are_one_query(filled):
    shop, _ = filled
    vectors = shop.store.vectors([1, 2, 9])
    wanted = vectors[:2].mean(axis=0) - 0.5 * vectors[2]
    result = shop.search([1, 2], k=12, unlike=9)
    assert result.vector == pytest.approx(wanted / np.linalg.norm(wanted), abs=1e-6)
    assert not {1, 2, 9} & {match.id for match in result}
    assert len(result) == 9
    assert shop.search(np.array([1, 2]), k=2).vector == pytest.approx(shop.search([1, 2], k=2).vector)
    # Rows of a matrix of floats are several vectors.
    mean = vectors[:2].mean(axis=0)
    assert shop.search(vectors[:2]).vector == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    with pytest.raises(ValueError, match="cancel"):
        shop.search([vectors[0], -vectors[0]])


def test_scores_are_those_of_a_plain_loop(filled):
    shop, photos = filled
    query = shop.embed(photos / "a" / "0.png")[0]
    scores = {id: float(query @ shop.store.vectors([id])[0]) for id in range(1, 13)}
    expected = sorted(scores, key=lambda id: -scores[id])[:5]
    result = shop.search(photos / "a" / "0.png", k=5)
    assert [match.id for match in result] == expected
    assert [match.score for match in result] == pytest.approx([scores[id] for id in expected], abs=1e-6)


def test_a_region_is_searched_alone(filled, tmp_path):
    shop, photos = filled
    canvas = np.zeros((60, 100, 3), np.uint8)
    canvas[10:50, 30:78] = np.asarray(Image.open(photos / "c" / "2.png"))
    for region in (Region(30, 10, 48, 40), (30, 10, 48, 40), np.array([30, 10, 48, 40])):
        assert shop.search(canvas, k=1, region=region)[0].score == pytest.approx(1, abs=1e-3)
    with pytest.raises(ValueError, match="no pixel inside the photo"):
        shop.search(canvas, region=(500, 500, 5, 5))
    for photo in (1, [canvas, canvas]):
        with pytest.raises(ValueError, match="a region"):
            shop.search(photo, region=(0, 0, 5, 5))


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ({"label": "b"}, {5, 6, 7, 8}),
        ({"label": ["a", "c"], "sold": True}, {2, 4, 10, 12}),
        ({"price": between(3, 6)}, {3, 4, 5, 6}),
        ({"path": under("c/")}, {9, 10, 11, 12}),
        ({"id": [1, 12]}, {1, 12}),
        ({"label": None}, set()),
    ],
)
def test_a_filter_lets_through_what_it_says(filled, where, ids):
    shop, photos = filled
    for index in ("auto", "exact"):
        assert {match.id for match in shop.search(photos / "a" / "0.png", k=12, where=where, index=index)} == ids


def test_k_results_if_k_exist(filled):
    shop, photos = filled
    for k in (1, 4, np.int64(12), 500):
        assert len(shop.search(photos / "a" / "0.png", k=k)) == min(k, 12)
        assert len(shop.search(photos / "a" / "0.png", k=k, where={"label": ["a"]})) == min(k, 4)


@pytest.mark.parametrize(
    ("photos", "named", "words"),
    [
        (1, {"k": 0}, "k 0"),
        (1, {"k": 2.5}, "k 2.5"),
        (1, {"k": True}, "k True"),
        (1, {"index": "ivf"}, "index 'ivf' must be auto or exact"),
        (1, {"where": {"a": {}}}, "'a'"),
        (1, {"region": (1, 2, 3)}, "four numbers"),
        (1, {"region": 5}, "four numbers"),
        (1, {"region": "1,2,3,4"}, "four numbers"),
        (1, {"region": (1, 2, 3, 4.5)}, "region 4.5"),
        ([], {}, "nothing to search for"),
        (99, {}, "no photo with the id 99"),
        (1 << 80, {}, "no photo with the id"),
        ("99", {}, "no photo with the id 99"),
        (np.zeros(8, np.float32), {}, "the query vector is zero"),
        (np.full(8, np.nan, np.float32), {}, "NaN"),
        (np.zeros(7, np.float32), {}, "7 dimensions"),
        (b"no photo", {}, "cannot be read"),
        (None, {}, "NoneType is not a photo"),
        ([0.5, 0.5], {}, "float is not a photo"),
        (np.zeros((3, 3, 3), np.int16), {}, "uint8"),
        (True, {}, "bool is not a photo"),
    ],
)
def test_what_has_no_meaning_is_one_sentence(filled, photos, named, words):
    with pytest.raises(ValueError, match=words):
        filled[0].search(photos, **named)


@pytest.mark.parametrize("name", ["nowhere.png", "x" * 5000, "a\x00b", "\udcff.png", ""])
def test_a_photo_that_is_neither_file_nor_item(filled, name):
    with pytest.raises((FileNotFoundError, ValueError)):
        filled[0].search(name)


def test_the_name_of_a_file_is_in_its_error(filled, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    with pytest.raises(ValueError, match=r"bad\.jpg"):
        filled[0].search(tmp_path / "bad.jpg")
    with pytest.raises(ValueError, match="a folder"):
        filled[0].search(str(tmp_path))


def test_copies_are_one_result_in_a_group(tmp_path):
    with new_collection(tmp_path / "shop") as shop:
        copies = [encoded(1, "PNG", 200, 240), encoded(1, "JPEG", 200, 240, quality=60), encoded(1, "JPEG", 100, 120)]
        shop.add([*copies, *(encoded(n, "PNG", 200, 240) for n in range(2, 8))])
        result = shop.search(pixels(1, 200, 240), k=3, group=True)
        assert {result[0].id, *result[0].copies} == {1, 2, 3}
        assert len(result) == 3
        assert not result[1].copies
        # Most of what is found first are copies, so more is searched.
        shop.add([encoded(1, "JPEG", 200, 240, quality=quality) for quality in range(40, 80)])
        result = shop.search(pixels(1, 200, 240), k=5, group=True)
        # One of the 40 has the bytes of a photo that is there.
        assert [len(match.copies) for match in result] == [41, 0, 0, 0, 0]
        assert len(shop.search(pixels(1, 200, 240), k=50, group=True)) == 7


class TestExplanation:
    def test_the_parts_add_up_to_the_score(self, filled):
        shop, photos = filled
        for query in (photos / "a" / "0.png", encoded(77), 3):
            for match in shop.search(query, k=3):
                explanation = match.explain()
                assert explanation.score == pytest.approx(match.score, abs=1e-4)
                assert explanation.is_exact
                for places in explanation.maps:
                    assert places.sum() == pytest.approx(match.score, abs=1e-4)

    def test_vectors_and_mixtures_have_no_picture(self, filled):
        shop, _ = filled
        for query in ([1, 2], shop.store.vectors([1])[0]):
            with pytest.raises(ValueError, match="no picture to explain"):
                shop.search(query, k=1)[0].explain()


def test_a_thumbnail_is_a_small_jpeg(filled):
    shop, photos = filled
    match = shop.search(photos / "a" / "0.png", k=1)[0]
    assert Image.open(io.BytesIO(match.thumbnail())).size == (48, 40)


def test_results_are_plain_data(filled):
    shop, photos = filled
    plain = json.loads(json.dumps(plain_result(shop.search(photos / "a" / "0.png", k=2))))
    assert plain["verdict"] == "not calibrated"
    assert plain["recall"] == {"exact": True, "value": 1.0, "interval": [1.0, 1.0], "queries": 0}
    assert [match["id"] for match in plain["matches"]] == [1, plain["matches"][1]["id"]]
    assert plain["matches"][0]["metadata"] == {"price": 1, "sold": False}
    assert plain["matches"][0]["file"].endswith("photos/a/0.png")


def test_an_empty_collection_finds_nothing(tmp_path):
    with new_collection(tmp_path / "shop") as shop:
        result = shop.search(pixels(1))
        assert (len(result), result.verdict) == (0, "not calibrated")
        assert len(shop.search(pixels(1), group=True, where={"label": "x"})) == 0


class TestWithoutModel:
    @pytest.fixture
    def vectors(self, tmp_path):
        with Collection.create(tmp_path / "shop", "none") as shop:
            yield shop

    def test_it_has_no_vectors_at_first(self, vectors):
        with pytest.raises(ValueError, match="has no vectors yet"):
            vectors.search(1)

    def test_photos_need_a_model_and_ids_none(self, vectors, tmp_path):
        from support.stores import fill

        _, added = fill(vectors.store, 5)
        assert vectors.search(1, k=2)[0].id != 1
        assert vectors.search(added[2], k=1)[0].id == 3
        for work in (lambda: vectors.search(pixels(1)), lambda: vectors.add(pixels(1)), lambda: vectors.model):
            with pytest.raises(NoModelError, match="no model, so it cannot embed"):
                work()


class TestOtherProcesses:
    def test_a_photo_that_is_removed_after_the_search_is_replaced(self, tmp_path, monkeypatch):
        photos = photo_folder(tmp_path / "photos", "a", 6)
        with new_collection(tmp_path / "shop") as shop, Collection.open(tmp_path / "shop") as other:
            shop.add(photos)
            search, first = shop.store.search, []

            def removing(*args, **named):
                found = search(*args, **named)
                if not first:
                    first.append(int(found.ids[0, 0]))
                    other.remove(first)
                return found

            monkeypatch.setattr(shop.store, "search", removing)
            result = shop.search(photos / "a" / "0.png", k=4)
            assert len(result) == 4
            assert first[0] not in {match.id for match in result}

    def test_a_search_follows_another_model(self, tmp_path):
        file = write_photo(tmp_path / "a.png", 1)
        with new_collection(tmp_path / "shop") as shop, Collection.open(tmp_path / "shop") as other:
            shop.add(file)
            assert shop.search(file)[0].score == pytest.approx(1, abs=1e-5)
            other.migrate(tiny_run())
            assert shop.model.fingerprint == tiny_run().fingerprint
            assert shop.search(file)[0].score == pytest.approx(1, abs=1e-5)
            assert tiny_backbone().fingerprint != shop.active.fingerprint
