"""One search in bounded memory, by one process or several."""

from dataclasses import replace

import pytest
import torch
from torch import multiprocessing

from pairlens.evaluation import per_query as measuring
from pairlens.evaluation.evaluate import evaluate
from pairlens.evaluation.per_query import BYTES_A_NEIGHBOR, BYTES_AT_ONCE, measure_queries
from pairlens.neighbors.approximate import Ivf
from pairlens.neighbors.exact import ExactIndex
from support.sharded_eval import embedded, sharded_report


def points(count, dim=6, seed=0):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def labels_of(*sizes):
    return torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))


def task_of(labels, recalls=(1, 8)):
    return measuring._task(torch.zeros(len(labels), 1), labels, None, None, recalls)


def test_one_large_class_does_not_make_all_queries_search_deep(monkeypatch):
    depths = []
    monkeypatch.setattr(measuring, "FEWEST_AT_ONCE", 250)
    search = ExactIndex.search
    monkeypatch.setattr(ExactIndex, "search", lambda self, q, k, **rest: depths.append(k) or search(self, q, k, **rest))
    labels = labels_of(*[2] * 500, 200)
    found = measure_queries(points(1200), labels, recalls=(1, 8))
    assert depths[0] == 199
    assert depths[1:] == [8] * (len(depths) - 1)
    assert len(depths) > 2
    assert found.queries.tolist() == list(range(1200))


@pytest.mark.parametrize(
    ("labels", "recalls"),
    [
        (labels_of(*[5] * 12000), (1, 2, 4, 8)),
        (labels_of(*[5] * 12000), (1, 1000)),
        (labels_of(30000, *[6] * 5000), (1,)),
    ],
)
def test_what_is_searched_at_once_is_bounded(labels, recalls):
    task = task_of(labels, recalls)
    chunks = task.chunks()
    covered = torch.cat([torch.arange(chunk.start, chunk.stop) for chunk in chunks])
    assert torch.equal(covered, torch.arange(len(task.chosen)))
    for chunk in chunks:
        depth = max(*recalls, int(task.relevant[chunk].max()))
        assert (chunk.stop - chunk.start) * depth * BYTES_A_NEIGHBOR <= BYTES_AT_ONCE


def test_the_order_of_the_queries_is_kept():
    labels = labels_of(2, 9, 1, 4)[torch.randperm(16, generator=torch.Generator().manual_seed(3))]
    vectors = points(16)
    found = measure_queries(vectors, labels, recalls=(1,))
    for place, query in enumerate(found.queries.tolist()):
        others = [i for i in range(16) if i != query]
        one = measure_queries(vectors[query][None], labels[query][None], vectors[others], labels[others], recalls=(1,))
        for name, values in found.values.items():
            assert values[place] == pytest.approx(one.values[name][0].item()), name


def test_the_shares_of_several_processes_make_up_the_whole(monkeypatch):
    monkeypatch.setattr(measuring, "FEWEST_AT_ONCE", 4)
    labels = labels_of(*[3] * 30, 25)
    task = replace(task_of(labels), queries=(vectors := points(115)), items=vectors)
    index = ExactIndex(vectors)
    rows, values = task.measure(index)
    shares = [task.measure(index, rank, 3) for rank in range(3)]
    joined, order = torch.cat([share[0] for share in shares]), rows.argsort()
    assert all(30 < len(share[0]) < 50 for share in shares)
    assert torch.equal(joined.sort().values, rows[order])
    assert torch.equal(torch.cat([share[1] for share in shares])[joined.argsort()], values[order])
    assert [len(part) for part in task.measure(index, 200, 300)] == [0, 0]


def test_two_processes_have_the_report_of_one(tmp_path):
    multiprocessing.spawn(sharded_report, (2, str(tmp_path)), nprocs=2)
    alone = repr(evaluate(*embedded(), recalls=(1, 4)))
    assert (tmp_path / "0.txt").read_text(encoding="utf-8") == (tmp_path / "1.txt").read_text(encoding="utf-8") == alone


def test_an_approximate_report_says_what_it_missed():
    vectors, labels = points(900, dim=8), torch.arange(900) % 90
    exact, rough = evaluate(vectors, labels), evaluate(vectors, labels, index=Ivf(lists=20, probes=1))
    assert exact.approximation is None
    assert rough.approximation.k == 8
    assert 0.2 < rough.approximation.recall < 0.999
    assert str(rough.approximation) in str(rough)
    assert "approximate" not in str(exact)
    assert evaluate(vectors, labels, index=Ivf(lists=20, probes=20)).metrics == exact.metrics
