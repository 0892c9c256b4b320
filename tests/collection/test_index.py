"""The indexes in memory, beside plain products of matrices."""

import os
import subprocess
import sys
import time
from pathlib import Path

import faiss
import numpy as np
import pytest

from pairlens.collection.index import MemoryIndex, one_thread_for_one
from pairlens.collection.index_recall import RecallMeasurement, wilson_interval
from pairlens.collection.inverted_index import (
    AssignedLists,
    InvertedIndex,
    build_inverted,
    lists_for,
    train_centres,
)

DIM = 12


def clustered(count, seed=0, centres=30):
    draw = np.random.default_rng(seed)
    # The centres are the same for every seed.
    middle = np.random.default_rng(99).normal(size=(centres, DIM))
    vectors = (middle[draw.integers(0, centres, count)] + 0.5 * draw.normal(size=(count, DIM))).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def in_blocks(ids, vectors, rows=100):
    return lambda: ((ids[start : start + rows], vectors[start : start + rows]) for start in range(0, len(ids), rows))


def inverted(ids, vectors):
    blocks = in_blocks(ids, vectors)
    return build_inverted(blocks, train_centres(blocks, len(ids)))


def flat(ids, vectors):
    index = MemoryIndex(vectors.shape[1])
    index.load(ids, vectors)
    return index


def plain_search(held, query, k):
    """The ids of the k largest products, by score and then by id."""
    scored = sorted((-float(np.float32(vector @ query)), id) for id, vector in held.items())
    return [id for _, id in scored[:k]]


@pytest.fixture(params=[flat, inverted])
def index_and_items(request):
    ids, vectors = np.arange(10, 1510), clustered(1500)
    return request.param(ids, vectors), dict(zip(ids.tolist(), vectors, strict=True))


def check_searches(index, held):
    queries = clustered(5, seed=1)
    found, scores = index.search(queries, 8)
    assert found.tolist() == [plain_search(held, query, 8) for query in queries]
    products = [[held[id] @ query for id in row] for row, query in zip(found.tolist(), queries, strict=True)]
    assert np.allclose(scores, products, atol=1e-6)
    assert len(index) == len(held)
    assert index.holds(np.array(list(held)), np.array(list(held.values())))


class TestBothIndexes:
    def test_a_search_is_exact(self, index_and_items):
        check_searches(*index_and_items)

    def test_random_changes_are_followed(self, index_and_items):
        index, held = index_and_items
        draw = np.random.default_rng(0)
        following = 5000
        for round in range(12):
            removed = draw.choice(sorted(held), draw.integers(0, 150), replace=False)
            index.remove(np.append(removed, 10**9))
            for id in removed.tolist():
                del held[id]
            changed = np.append(draw.choice(sorted(held), 40, replace=False), np.arange(following, following + 70))
            following += 70
            vectors = clustered(len(changed), seed=round)
            index.update(changed, vectors)
            held |= dict(zip(changed.tolist(), vectors, strict=True))
        check_searches(index, held)

    def test_removing_everything(self, index_and_items):
        index, held = index_and_items
        index.remove(np.array(list(held)))
        assert len(index) == 0
        assert (index.search(clustered(2), 3)[0] == -1).all()
        index.update(np.array([7]), clustered(1))
        assert index.search(clustered(1), 1)[0].tolist() == [[7]]

    def test_filters_and_exclusions(self, index_and_items):
        index, held = index_and_items
        query = clustered(1, seed=3)
        allowed = np.array([*range(10, 200, 3), 10**9])
        without = np.array([13, 16, 10**9])
        kept = {id: held[id] for id in allowed.tolist() if id in held and id not in without}
        assert index.search(query, 9, allowed, without)[0].tolist() == [plain_search(kept, query[0], 9)]
        kept = {id: vector for id, vector in held.items() if id not in without}
        assert index.search(query, 9, None, without)[0].tolist() == [plain_search(kept, query[0], 9)]
        assert (index.search(query, 9, np.array([], np.int64))[0] == -1).all()
        found, scores = index.search(query, 4, np.array([10, 12]))
        assert sorted(found[0, :2].tolist()) == [10, 12]
        assert found[0, 2:].tolist() == [-1, -1]
        assert np.isneginf(scores[0, 2:]).all()

    def test_many_queries_are_searched_in_parts(self, index_and_items, monkeypatch):
        index, _ = index_and_items
        queries = clustered(70, seed=4)
        expected = index.search(queries, 5)[0]
        monkeypatch.setattr("pairlens.collection.index.QUERIES_AT_ONCE", 32)
        assert np.array_equal(index.search(queries, 5)[0], expected)


@pytest.mark.parametrize("allowed", [None, np.arange(0, 3000, 2)], ids=["all", "filtered"])
def test_a_batch_has_the_answers_of_its_queries_alone_to_the_last_bit(allowed):
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(3000, 173)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    # The same photo at several places, of which a product of matrices gives different scores.
    vectors[[3, 1030, 2999]] = vectors[1500]
    index = flat(np.arange(3000), vectors)
    queries = vectors[[1500, 5, 70, 800, 801, 1502, 9]]
    together = index.search(queries, 10, allowed)
    alone = [index.search(query[None], 10, allowed) for query in queries]
    assert np.array_equal(together[0], np.concatenate([ids for ids, _ in alone]))
    assert np.array_equal(together[1], np.concatenate([scores for _, scores in alone]))
    assert together[0][0, :3].tolist() == ([3, 1030, 1500] if allowed is None else [1030, 1500, together[0][0, 2]])


def test_sixteen_queries_take_less_than_sixteen_times_as_long_as_one():
    vectors = np.random.default_rng(0).normal(size=(20_000, 512)).astype(np.float32)
    index = flat(np.arange(20_000), vectors)

    def seconds(queries):
        times = []
        for _ in range(7):
            start = time.thread_time()
            index.search(vectors[:queries], 10)
            times.append(time.thread_time() - start)
        return min(times)

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        assert seconds(16) < 10 * seconds(1)
    finally:
        faiss.omp_set_num_threads(before)


def test_one_query_gets_one_thread_and_the_setting_is_restored():
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(2)
    try:
        with one_thread_for_one(1):
            assert faiss.omp_get_max_threads() == 1
        assert faiss.omp_get_max_threads() == 2
        with one_thread_for_one(9):
            assert faiss.omp_get_max_threads() == 2
    finally:
        faiss.omp_set_num_threads(before)


class TestInvertedIndex:
    def test_it_works_beside_faiss_contrib(self):
        """pytorch-metric-learning imports it, and it replaces the search of FAISS for the whole process."""
        script = (
            "import faiss.contrib.torch_utils, numpy as np\n"
            "from support.stores import unit_vectors\n"
            "from test_index import inverted\n"
            "vectors = unit_vectors(400)\n"
            "found = inverted(np.arange(1, 401), vectors).search(vectors[:3], 1)\n"
            "assert found[0][:, 0].tolist() == [1, 2, 3], found\n"
        )
        folders = [Path(__file__).parent, Path(__file__).parents[1], Path(__file__).parents[2] / "src"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
        subprocess.run([sys.executable, "-c", script], check=True, env=environment)

    def test_it_holds_one_copy(self):
        ids, vectors = np.arange(1, 3001), clustered(3000)
        index = inverted(ids, vectors)
        lists = index._faiss.invlists
        assert sum(lists.list_size(number) for number in range(lists.nlist)) == 3000
        assert lists.nlist == lists_for(3000) == 110

    def test_few_probes_miss_items_and_find_true_scores(self):
        ids, vectors = np.arange(1, 3001), clustered(3000)
        index = inverted(ids, vectors)
        few, every = index.search(vectors[:50], 10, probes=1), index.search(vectors[:50], 10)
        shares = [len(set(a) & set(b)) / 10 for a, b in zip(few[0].tolist(), every[0].tolist(), strict=True)]
        assert 0.2 < np.mean(shares) < 0.99
        row, rank = 3, 2
        assert few[1][row, rank] == pytest.approx(vectors[few[0][row, rank] - 1] @ vectors[row], abs=1e-6)

    def test_known_lists_are_not_assigned_again(self):
        ids, vectors = np.arange(1, 501), clustered(500)
        first = inverted(ids, vectors)
        known = AssignedLists(*[part[:-7] for part in first.assigned()])
        asked = []
        index = InvertedIndex(first.centres)
        lists = known.complete(ids, vectors, lambda new: asked.append(len(new)) or index.assign(new))
        assert asked == [7]
        assert np.array_equal(lists, first.assigned()[1])
        empty = AssignedLists(np.empty(0, np.int64), np.empty(0, np.int32))
        assert np.array_equal(empty.complete(ids, vectors, index.assign), lists)


class TestRecall:
    def test_the_measured_recall_is_that_of_plain_lists(self):
        ids, vectors = np.arange(1, 2001), clustered(2000)
        index = inverted(ids, vectors)
        sample = np.arange(0, 2000, 20)
        measurement = RecallMeasurement(ids[sample], vectors[sample], in_blocks(ids, vectors))
        probes, stated = measurement.choose(index, 0.8, 10)
        shares = []
        for row in sample:
            true = np.argsort(-(vectors @ vectors[row]))
            true = [id for id in ids[true].tolist() if id != ids[row]][:10]
            found = [id for id in index.search(vectors[row : row + 1], 11, probes=probes)[0][0] if id != ids[row]][:10]
            shares.append(len(set(true) & set(found)) / 10)
        assert stated.recall == pytest.approx(np.mean(shares), abs=1e-9)
        assert stated.low >= 0.8
        assert (stated.k, stated.queries) == (10, 100)
        # One step less would not do.
        fewer = measurement._measure(index, 10, max(1, round(probes / 1.25) - 1))
        assert probes == 1 or fewer.low < 0.8

    def test_equal_vectors_are_no_misses(self):
        vectors = np.repeat(clustered(40), 50, axis=0)
        ids = np.arange(1, 2001)
        measurement = RecallMeasurement(ids[::100], vectors[::100], in_blocks(ids, vectors))
        assert measurement._measure(inverted(ids, vectors), 10, 40).recall == 1

    def test_the_interval_covers_its_share(self):
        """Of values between 0 and 1 that vary less than trials do, the mean lies in it more often than 95 %."""
        draw = np.random.default_rng(0)
        inside = 0
        for _ in range(400):
            low, high = wilson_interval(float((draw.binomial(10, 0.96, 200) / 10).mean()), 200)
            inside += low <= 0.96 <= high
        assert inside >= 0.95 * 400
        assert wilson_interval(1.0, 500)[0] == pytest.approx(500 / (500 + 1.959964**2))
