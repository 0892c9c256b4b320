"""The contract of a store, on every store."""

import threading

import numpy as np
import pytest

from pairlens.collection.filters import as_conditions, between, under
from pairlens.collection.item import Region
from support.stores import DIM, MODEL, STORES, fill, photo, unit_vectors


@pytest.fixture(params=list(STORES))
def opener(request, tmp_path):
    with STORES[request.param](tmp_path) as open_again:
        yield open_again


@pytest.fixture
def store(opener):
    return opener()


@pytest.fixture
def filled(store):
    """A store of 40 items, and their vectors by id."""
    ids, vectors = fill(store, 40)
    return store, dict(zip(ids, vectors, strict=True))


def nearest(vectors, query, k, allowed=lambda id: True):
    """The plain twin of a search: all cosines, sorted by score and then by id."""
    scored = sorted((-float(vector @ query), id) for id, vector in vectors.items() if allowed(id))
    return [id for _, id in scored[:k]]


def found_ids(store, query, k, **options):
    found = store.search(query[None], k, **options)
    assert found.ids.dtype == np.int64
    assert found.scores.dtype == np.float32
    assert found.ids.shape == found.scores.shape == (1, k)
    return found.ids[0].tolist()


class TestItems:
    def test_a_new_store_is_empty(self, store):
        assert store.count() == 0
        assert store.ids().tolist() == []
        assert store.models() == []
        assert store.labels() == {}
        assert len(store.identity) == 32
        found = store.search(unit_vectors(2), 3)
        assert (found.ids == -1).all()
        assert np.isneginf(found.scores).all()

    def test_items_come_back_as_they_were_added(self, store):
        store.start_model(MODEL, DIM)
        region = Region(1, 2, 30, 40)
        metadata = {"price": 3, "weight": 0.1, "sold": False, "shop": 'Größe "x"', "none": None}
        items = [
            photo(1, region=region, metadata=metadata, look=(1 << 64) - 3, original=b"bytes"),
            photo(2, root="", path="s3://bucket/a.jpg", label=None, metadata={}, thumbnail=b""),
        ]
        ids = store.add(items, unit_vectors(2), MODEL)
        assert ids == sorted(ids)
        first, second = store.items(ids)
        for name in ("root", "path", "digest", "region", "label", "width", "height", "look"):
            assert getattr(first, name) == getattr(items[0], name)
            assert getattr(second, name) == getattr(items[1], name)
        assert dict(first.metadata) == metadata
        assert [type(value) for value in first.metadata.values()] == [int, float, bool, str, type(None)]
        assert dict(second.metadata) == {}
        assert (first.has_original, second.has_original) == (True, False)
        assert store.original(ids[0]) == b"bytes"
        assert store.original(ids[1]) is None
        assert store.thumbnails(ids) == {ids[0]: items[0].thumbnail}

    def test_items_come_in_the_order_of_the_ids_that_are_asked_for(self, filled):
        store, vectors = filled
        ids = list(vectors)
        asked = [ids[7], 10**9, ids[3]]
        assert [item.id for item in store.items(asked)] == [ids[7], ids[3]]

    def test_pages_cover_all_items_once(self, filled):
        store, vectors = filled
        seen, after = [], 0
        while page := store.page(after, 7):
            seen += [item.id for item in page]
            after = seen[-1]
        assert seen == list(vectors)
        assert len(store.page(0, 100, as_conditions({"label": "cat"}))) == 20

    def test_items_are_found_by_place_and_by_digest(self, store):
        store.start_model(MODEL, DIM)
        ids = store.add([photo(1), photo(1, region=Region(0, 0, 5, 5)), photo(3)], unit_vectors(3), MODEL)
        assert [item.id for item in store.at("/photos", [photo(1).path, "no.jpg"])] == ids[:2]
        assert store.at("/other", [photo(1).path]) == []
        assert [item.id for item in store.with_digests([photo(3).digest, "f" * 64])] == ids[2:]

    def test_a_number_is_never_used_again(self, filled):
        store, vectors = filled
        last = max(vectors)
        store.remove([last])
        assert store.add([photo(99)], unit_vectors(1), MODEL)[0] > last

    def test_statistics(self, filled):
        store, vectors = filled
        ids = list(vectors)
        store.relabel(ids[:1], None)
        store.set_metadata(ids[:2], [{"other": 1}, {}])
        assert list(store.labels().items()) == [("cat", 20), ("dog", 19), (None, 1)]
        assert store.metadata_keys() == {"price": 38, "sold": 38, "other": 1}
        assert store.roots() == {"/photos": 40}
        rows, names = store.label_array()
        assert rows[:, 0].tolist() == ids
        assert [names[position] for position in rows[:3, 1]] == [None, "cat", "dog"]


class TestWriting:
    def test_the_same_place_is_refused_twice_and_nothing_of_the_batch_is_added(self, filled):
        store, vectors = filled
        with pytest.raises(ValueError, match=r"cat/1\.jpg"):
            store.add([photo(50), photo(1)], unit_vectors(2), MODEL)
        assert store.count() == len(vectors)

    @pytest.mark.parametrize(
        ("vectors", "model", "words"),
        [
            (unit_vectors(1, DIM + 1), MODEL, "shape"),
            (np.full((1, DIM), np.nan, np.float32), MODEL, "finite"),
            (2 * unit_vectors(1), MODEL, "length"),
            (unit_vectors(1), "another", "another"),
        ],
    )
    def test_vectors_that_do_not_belong_here_are_refused(self, filled, vectors, model, words):
        store, known = filled
        with pytest.raises(ValueError, match=words):
            store.add([photo(50)], vectors, model)
        assert store.count() == len(known)

    def test_replaced_items_keep_their_ids(self, filled):
        store, vectors = filled
        first, second = list(vectors)[:2]
        new = unit_vectors(2, seed=5)
        places = [photo(1), photo(0, label="fox", thumbnail=b"", metadata={"a": True})]
        store.search(new, 1)
        store.replace([first, second], places, new, MODEL)
        assert [item.path for item in store.items([first, second])] == [photo(1).path, photo(0).path]
        assert store.items([second])[0].label == "fox"
        assert list(store.thumbnails([first, second])) == [first]
        assert np.array_equal(store.vectors([second, first]), new[::-1])
        assert found_ids(store, new[0], 1) == [first]
        with pytest.raises(ValueError, match="999"):
            store.replace([999], [photo(77)], new[:1], MODEL)

    def test_moved_items_may_exchange_their_places(self, filled):
        store, vectors = filled
        a, b, c = list(vectors)[:3]
        store.move([a, b], "/photos", [photo(1).path, photo(0).path])
        assert [item.path for item in store.items([a, b])] == [photo(1).path, photo(0).path]
        with pytest.raises(ValueError, match="already"):
            store.move([c], "/photos", [photo(0).path])
        store.move([c], "/new", ["x.jpg"])
        assert store.roots() == {"/new": 1, "/photos": 39}

    def test_relabelled_items_are_counted(self, filled):
        store, vectors = filled
        ids = list(vectors)
        assert store.relabel([ids[0], ids[1], 10**9], "fox") == 2
        assert store.count(as_conditions({"label": "fox"})) == 2
        assert store.set_metadata([ids[0], 10**9], [{"a": 1}, {"a": 2}]) == 1

    def test_removed_items_are_gone_everywhere(self, opener):
        store, other = opener(), opener()
        ids, vectors = fill(store, 40)
        assert found_ids(other, vectors[5], 1) == [ids[5]]
        assert store.remove([*ids[:20], 10**9]) == 20
        assert store.remove(ids[:20]) == 0
        for one in (store, other):
            found = one.search(vectors, 20)
            assert set(found.ids.flat) == set(ids[20:])
        assert store.thumbnails(ids[:20]) == {}
        with pytest.raises(ValueError, match=str(ids[0])):
            store.vectors(ids[:1])

    def test_every_change_has_a_number(self, filled):
        store, vectors = filled
        ids = list(vectors)
        numbers = [store.change()]
        for change in (
            lambda: store.add([photo(60)], unit_vectors(1), MODEL),
            lambda: store.relabel(ids[:1], "fox"),
            lambda: store.set_metadata(ids[:1], [{"a": 1}]),
            lambda: store.move(ids[:1], "/new", ["a.jpg"]),
            lambda: store.replace(ids[:1], [photo(61)], unit_vectors(1), MODEL),
            lambda: store.remove(ids[:1]),
            lambda: store.write_document("a", b"1"),
            lambda: store.remove_document("a"),
            lambda: store.start_model("model-b", 4),
        ):
            change()
            numbers.append(store.change())
        assert numbers == sorted(set(numbers))


class TestFilters:
    FILTERS = (
        ({"label": ["cat", "fox"]}, lambda n: n % 2 == 1),
        ({"label": None}, lambda n: False),
        ({"path": under("cat/1")}, lambda n: n % 2 == 1 and str(n).startswith("1")),
        ({"path": "cat/1.jpg"}, lambda n: n == 1),
        ({"price": between(3, 10)}, lambda n: 3 <= n <= 10),
        ({"price": between(None, 4.5)}, lambda n: n <= 4.5),
        ({"price": [4, 5.0, "6", True]}, lambda n: n in (4, 5)),
        ({"sold": True}, lambda n: n % 3 == 0),
        ({"sold": [False, None]}, lambda n: n % 3 != 0),
        ({"sold": 1}, lambda n: False),
        ({"price": "4"}, lambda n: False),
        ({"missing": None}, lambda n: True),
        ({"missing": between(0, 1)}, lambda n: False),
        ({"label": "dog", "sold": True}, lambda n: n % 6 == 0),
        ({"label": []}, lambda n: False),
    )

    @pytest.mark.parametrize(("where", "keeps"), FILTERS, ids=[str(where) for where, _ in FILTERS])
    def test_a_filter_keeps_what_it_says(self, filled, where, keeps):
        store, vectors = filled
        kept = [id for number, id in enumerate(vectors) if keeps(number)]
        conditions = as_conditions(where)
        assert store.ids(conditions).tolist() == kept
        assert store.count(conditions) == len(kept)
        query = unit_vectors(1, seed=9)[0]
        found = found_ids(store, query, 12, where=conditions)
        assert found == [*nearest(vectors, query, 12, kept.__contains__), *[-1] * 12][:12]

    def test_a_filter_follows_changes_of_the_metadata(self, filled):
        store, vectors = filled
        ids = list(vectors)
        store.set_metadata(ids[:3], [{"price": 5000}, {"price": True, "size": "L"}, {}])
        store.replace(ids[3:4], [photo(3, metadata={"price": 5001})], unit_vectors(1), MODEL)
        store.remove(ids[4:5])
        kept = {
            "price": (between(5000), [ids[0], ids[3]]),
            "size": ("L", ids[1:2]),
            "sold": (None, ids[:4]),
        }
        for key, (wanted, expected) in kept.items():
            assert store.ids(as_conditions({key: wanted})).tolist() == expected
        assert store.ids(as_conditions({"price": [0, 1, 2, 3, 4, True]})).tolist() == ids[1:2]

    def test_ids_and_their_ranges(self, filled):
        store, vectors = filled
        ids = list(vectors)
        assert store.ids(as_conditions({"id": [ids[3], ids[1], 10**9]})).tolist() == [ids[1], ids[3]]
        assert store.ids(as_conditions({"id": between(ids[2], ids[4])})).tolist() == ids[2:5]

    def test_a_value_is_never_a_part_of_the_query(self, filled):
        store, vectors = filled
        odd = "'; DROP TABLE items; --"
        store.relabel(list(vectors)[:1], odd)
        store.set_metadata(list(vectors)[:1], [{"a b-c": odd, "%": 0.1}])
        for where in ({"label": odd}, {"a b-c": odd}, {"%": 0.1}, {"%": between(0.1, 0.1)}, {"label": under("'; D")}):
            assert store.ids(as_conditions(where)).tolist() == list(vectors)[:1]
        assert store.count(as_conditions({"label": under("%")})) == 0


class TestVectors:
    def test_vectors_come_back_bit_by_bit(self, filled):
        store, vectors = filled
        ids = list(vectors)[::-3]
        assert np.array_equal(store.vectors([*ids, ids[0]]), [vectors[id] for id in [*ids, ids[0]]])
        with pytest.raises(ValueError, match="12345"):
            store.vectors([ids[0], 12345])

    def test_blocks_hold_each_item_once(self, filled):
        store, vectors = filled
        store.remove(list(vectors)[4:9])
        blocks = list(store.vector_blocks())
        ids = np.concatenate([ids for ids, _ in blocks])
        assert sorted(ids.tolist()) == store.ids().tolist()
        for block, rows in blocks:
            assert np.array_equal(rows, [vectors[id] for id in block.tolist()])

    def test_a_search_is_the_sorted_list_of_all_cosines(self, filled):
        store, vectors = filled
        queries = unit_vectors(25, seed=3)
        found = store.search(queries, 7, mode="exact")
        assert found.ids.tolist() == [nearest(vectors, query, 7) for query in queries]
        cosines = [[vectors[id] @ query for id in row] for row, query in zip(found.ids.tolist(), queries, strict=True)]
        assert np.allclose(found.scores, cosines, atol=1e-6)
        assert found.recall.is_exact

    def test_more_than_there_are_is_filled_up(self, filled):
        store, vectors = filled
        found = store.search(unit_vectors(1), 50)
        assert found.ids[0, :40].tolist() == nearest(vectors, unit_vectors(1)[0], 40)
        assert (found.ids[0, 40:] == -1).all()
        assert np.isneginf(found.scores[0, 40:]).all()

    def test_excluded_items_are_not_found_and_k_is_full(self, filled):
        store, vectors = filled
        query = unit_vectors(1, seed=2)[0]
        best = nearest(vectors, query, 5)
        assert found_ids(store, query, 10, without=best) == nearest(vectors, query, 15)[5:]
        where = as_conditions({"label": "cat"})
        kept = set(store.ids(where).tolist()) - set(best)
        assert found_ids(store, query, 10, where=where, without=best) == nearest(vectors, query, 10, kept.__contains__)

    def test_equal_scores_are_ordered_by_id(self, store):
        store.start_model(MODEL, DIM)
        same = np.repeat(unit_vectors(1), 5, axis=0)
        ids = store.add([photo(number) for number in range(5)], same, MODEL)
        assert found_ids(store, same[0], 5) == ids

    def test_what_another_object_adds_is_found_at_once(self, opener):
        store, other = opener(), opener()
        ids, vectors = fill(store, 10)
        assert found_ids(other, vectors[3], 1) == [ids[3]]
        new = unit_vectors(300, seed=8)
        added = store.add([photo(number) for number in range(100, 400)], new, MODEL)
        assert [other.search(new[[row]], 1).ids[0, 0] for row in (0, 150, 299)] == [added[row] for row in (0, 150, 299)]

    def test_no_query_finds_nothing(self, filled):
        assert filled[0].search(np.empty((0, DIM), np.float32), 3).ids.shape == (0, 3)

    def test_a_query_that_is_not_finite_is_refused(self, filled):
        with pytest.raises(ValueError, match="not finite"):
            filled[0].search(np.full((1, DIM), np.nan, np.float32), 3)

    @pytest.mark.parametrize(("k", "dim", "words"), [(0, DIM, "k is 0"), (1, DIM + 1, "dimensions")])
    def test_a_search_that_has_no_meaning_is_refused(self, filled, k, dim, words):
        with pytest.raises(ValueError, match=words):
            filled[0].search(unit_vectors(1, dim), k)


class TestModels:
    def test_the_first_model_is_active_and_the_second_new(self, store):
        store.start_model(MODEL, DIM)
        store.start_model(MODEL, DIM)
        store.start_model("model-b", 4)
        assert [(model.fingerprint, model.dim, model.state) for model in store.models()] == [
            (MODEL, DIM, "active"),
            ("model-b", 4, "new"),
        ]
        with pytest.raises(ValueError, match=f"{DIM}"):
            store.start_model(MODEL, 5)
        with pytest.raises(ValueError, match="model-b"):
            store.start_model("model-c", 4)

    def test_a_migration_is_one_step_and_can_go_back(self, opener):
        store, other = opener(), opener()
        ids, old = fill(store, 20)
        assert found_ids(other, old[0], 1) == [ids[0]]
        store.start_model("model-b", 4)
        new = unit_vectors(20, 4, seed=1)
        assert store.without_vector("model-b", 8).tolist() == ids[:8]
        store.add_vectors("model-b", [*ids[:8], 10**9], np.concatenate([new[:8], new[:1]]))
        with pytest.raises(ValueError, match="12"):
            store.activate_model("model-b")
        assert found_ids(store, old[2], 1) == [ids[2]]
        # Vectors that exist already stay.
        store.add_vectors("model-b", ids, np.concatenate([new[1:9], new[8:]]))
        assert np.array_equal(store.vectors(ids, "model-b"), new)
        store.activate_model("model-b")
        assert [model.state for model in store.models()] == ["active", "former"]
        assert found_ids(other, new[3], 1) == [ids[3]]
        store.activate_model(MODEL)
        assert found_ids(other, old[3], 1) == [ids[3]]

    def test_a_replaced_item_loses_its_vectors_of_other_models(self, store):
        ids, _ = fill(store, 5)
        store.start_model("model-b", 4)
        store.add_vectors("model-b", ids, unit_vectors(5, 4))
        store.replace(ids[:1], [photo(70)], unit_vectors(1), MODEL)
        assert store.without_vector("model-b", 9).tolist() == ids[:1]

    def test_the_active_model_is_not_dropped_and_another_is(self, store):
        ids, _ = fill(store, 5)
        store.start_model("model-b", 4)
        store.add_vectors("model-b", ids, unit_vectors(5, 4))
        store.drop_model("model-b")
        assert [model.fingerprint for model in store.models()] == [MODEL]
        with pytest.raises(ValueError, match="active"):
            store.drop_model(MODEL)

    def test_a_third_model_drops_the_former_one(self, store):
        ids, _ = fill(store, 3)
        for name in ("model-b", "model-c"):
            store.start_model(name, 4)
            store.add_vectors(name, ids, unit_vectors(3, 4))
            store.activate_model(name)
        assert [(model.fingerprint, model.state) for model in store.models()] == [
            ("model-c", "active"),
            ("model-b", "former"),
        ]


class TestCare:
    def test_documents(self, store):
        store.write_document("b", b"1")
        store.write_document("a", b"\0" * 100_000)
        store.write_document("b", b"2")
        assert store.documents() == ["a", "b"]
        assert store.document("b") == b"2"
        assert store.document("none") is None
        store.remove_document("a")
        store.remove_document("none")
        assert store.documents() == ["b"]

    def test_a_compacted_store_is_smaller_and_finds_the_same(self, store):
        ids, vectors = fill(store, 3000, 64)
        before = store.size()
        store.remove(ids[:2000])
        store.compact()
        assert store.size() < before / 2
        assert store.check() == []
        assert store.search(vectors[2500:2501], 1).ids[0, 0] == ids[2500]

    @pytest.mark.parametrize("seed", range(3))
    def test_compacting_after_removals_anywhere_loses_nothing(self, store, seed):
        ids, vectors = fill(store, 3500, 4)
        draw = np.random.default_rng(seed)
        removed = draw.choice(ids, 700, replace=False)
        store.remove(removed)
        store.compact()
        assert store.check() == []
        kept = np.setdiff1d(ids, removed)
        assert store.ids().tolist() == kept.tolist()
        assert np.array_equal(store.vectors(kept), vectors[kept - ids[0]])
        store.compact()
        assert np.array_equal(store.vectors(kept), vectors[kept - ids[0]])

    def test_a_sound_store_has_no_fault(self, filled):
        store, vectors = filled
        store.remove(list(vectors)[:7])
        assert store.check() == []

    def test_one_object_serves_several_threads(self, opener):
        store = opener()
        ids, vectors = fill(store, 50)
        errors = []

        def search():
            try:
                for row in range(50):
                    assert store.search(vectors[[row]], 1).ids[0, 0] == ids[row]
                    assert len(store.items(ids[:5])) == 5
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(20):
            store.add([photo(1000 + number)], -vectors[[number]], MODEL)
        for thread in threads:
            thread.join()
        assert errors == []
        assert store.count() == 70

    def test_closing_twice_is_closing_once(self, opener):
        store = opener()
        store.close()
        store.close()
