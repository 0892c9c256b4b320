"""Metrics per query: one search in bounded memory, by one or several processes."""

from dataclasses import replace

import pytest
import torch

from pairlens.evaluation import per_query
from pairlens.evaluation.evaluate import evaluate
from pairlens.evaluation.per_query import BYTES_PER_NEIGHBOR, MAX_CHUNK_BYTES, measure_queries
from pairlens.neighbors.approximate import Ivf
from pairlens.neighbors.exact import ExactIndex
from support.ranks import run_ranks
from support.sharded_eval import METRICS, embedded, sharded_report


def points(count, dim=6, seed=0):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def labels_of(*sizes):
    return torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))


def task_of(labels, recalls=(1, 8)):
    return per_query.search_task(torch.zeros(len(labels), 1), labels, None, None, recalls)


def test_one_large_class_does_not_increase_the_depth_of_all_searches(monkeypatch):
    depths = []
    monkeypatch.setattr(per_query, "MIN_CHUNK_QUERIES", 250)
    search = ExactIndex.search
    monkeypatch.setattr(ExactIndex, "search", lambda self, q, k, **rest: depths.append(k) or search(self, q, k, **rest))
    labels = labels_of(*[2] * 500, 200)
    measured = measure_queries(points(1200), labels, recalls=(1, 8))
    assert depths[0] == 199
    assert depths[1:] == [8] * (len(depths) - 1)
    assert len(depths) > 2
    assert measured.queries.tolist() == list(range(1200))


@pytest.mark.parametrize(
    ("labels", "recalls"),
    [
        (labels_of(*[5] * 12000), (1, 2, 4, 8)),
        (labels_of(*[5] * 12000), (1, 1000)),
        (labels_of(30000, *[6] * 5000), (1,)),
    ],
)
def test_the_memory_of_a_chunk_is_bounded(labels, recalls):
    task = task_of(labels, recalls)
    chunks = task.chunks()
    covered = torch.cat([torch.arange(chunk.start, chunk.stop) for chunk in chunks])
    assert torch.equal(covered, torch.arange(len(task.answerable)))
    for chunk in chunks:
        depth = max(*recalls, int(task.relevant[chunk].max()))
        assert (chunk.stop - chunk.start) * depth * BYTES_PER_NEIGHBOR <= MAX_CHUNK_BYTES


def test_values_are_in_the_order_of_the_queries():
    labels = labels_of(2, 9, 1, 4)[torch.randperm(16, generator=torch.Generator().manual_seed(3))]
    vectors = points(16)
    measured = measure_queries(vectors, labels, recalls=(1,))
    for position, query in enumerate(measured.queries.tolist()):
        others = [i for i in range(16) if i != query]
        one = measure_queries(vectors[query][None], labels[query][None], vectors[others], labels[others], recalls=(1,))
        for name, values in measured.values.items():
            assert values[position] == pytest.approx(one.values[name][0].item()), name


def test_the_chunks_of_several_processes_are_those_of_one(monkeypatch):
    monkeypatch.setattr(per_query, "MIN_CHUNK_QUERIES", 4)
    labels = labels_of(*[3] * 30, 25)
    task = replace(task_of(labels), queries=(vectors := points(115)), items=vectors)
    index = ExactIndex(vectors)
    rows, values = task.measure(index)
    shards = [task.measure(index, rank, 3) for rank in range(3)]
    joined, order = torch.cat([shard[0] for shard in shards]), rows.argsort()
    assert all(30 < len(shard[0]) < 50 for shard in shards)
    assert torch.equal(joined.sort().values, rows[order])
    assert torch.equal(torch.cat([shard[1] for shard in shards])[joined.argsort()], values[order])
    assert [len(part) for part in task.measure(index, 200, 300)] == [0, 0]


def test_two_processes_return_the_report_of_one(tmp_path):
    run_ranks(sharded_report, (2, str(tmp_path)), 2)
    alone = repr(evaluate(*embedded(), recalls=(1, 4), metrics=METRICS))
    assert (tmp_path / "0.txt").read_text(encoding="utf-8") == (tmp_path / "1.txt").read_text(encoding="utf-8") == alone


def test_an_approximate_report_states_what_it_missed():
    vectors, labels = points(900, dim=8), torch.arange(900) % 90
    exact, rough = evaluate(vectors, labels), evaluate(vectors, labels, index=Ivf(lists=20, probes=1))
    assert exact.approximation is None
    assert rough.approximation.k == 8
    assert 0.2 < rough.approximation.recall < 0.999
    assert str(rough.approximation) in str(rough)
    assert "approximate" not in str(exact)
    assert evaluate(vectors, labels, index=Ivf(lists=20, probes=20)).metrics == exact.metrics


def test_class_sums_equal_plain_loops():
    labels = torch.tensor([7, 7, 3, 3, 3, 9, 7, 9])
    measured = measure_queries(points(8), labels, recalls=(1, 2))
    by_class = measured.class_sums()
    assert by_class.counts.tolist() == [3, 3, 2]
    for name, values in measured.values.items():
        pairs = list(zip(measured.labels.tolist(), values.tolist(), strict=True))
        expected = [sum(value for label, value in pairs if label == known) for known in (3, 7, 9)]
        assert by_class.sums[name].tolist() == pytest.approx(expected), name
