"""mAP@k, MRR, OPIS and metrics from outside: values, ties, edge cases, intervals, memory, several processes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairlens.core.records import from_plain, to_plain
from pairlens.evaluation import pair_scores, per_query
from pairlens.evaluation.evaluate import Metric, Report, evaluate
from pairlens.evaluation.intervals import class_bootstrap
from pairlens.evaluation.metric_definitions import ClassMetric, MetricDefinition, further_metrics
from pairlens.evaluation.metrics import map_at_k, reciprocal_rank
from pairlens.evaluation.per_query import measure_queries
from pairlens.neighbors.approximate import Ivf
from pairlens.neighbors.exact import ExactIndex
from support import naive
from support.naive import further_metrics as twins

ALL = ["map_at_k", "map_at_50", "mrr", "opis"]


def points(count, dim=5, seed=0):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def units(vectors):
    return [naive.unit(v) for v in vectors.tolist()]


def check_twins(report, queries, labels, items, item_labels, one_set):
    arguments = (units(queries), labels.tolist(), units(items), item_labels.tolist())
    for name, value in twins.further_metrics(*arguments, (1, 3, 50), one_set).items():
        assert report[name] == pytest.approx(value, abs=1e-6), name


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=5, max_size=30), st.integers(0, 20))
def test_ranked_metrics_of_one_set_equal_plain_loops(labels, seed):
    labels = torch.tensor([0, 0, *labels])
    queries = points(len(labels), seed=seed)
    report = evaluate(queries, labels, recalls=(1, 3), metrics=["map_at_k", "map_at_50", "mrr"])
    check_twins(report, queries, labels, queries, labels, one_set=True)


def test_ranked_metrics_with_a_gallery_equal_plain_loops():
    queries, gallery = points(9), points(40, seed=1)
    labels, gallery_labels = torch.arange(9) % 5, torch.arange(40) % 4
    report = evaluate(
        queries, labels, gallery, gallery_labels, recalls=(1, 3), metrics=["map_at_k", "map_at_50", "mrr"]
    )
    check_twins(report, queries, labels, gallery, gallery_labels, one_set=False)
    assert report.left_out == 1


def test_ties_go_by_index():
    vectors = points(3)[[0, 0, 0, 1, 1, 2, 2]]
    labels = torch.tensor([0, 1, 0, 0, 1, 1, 0])
    report = evaluate(vectors, labels, recalls=(1, 3), metrics=["map_at_k", "map_at_50", "mrr"])
    check_twins(report, vectors, labels, vectors, labels, one_set=True)
    assert evaluate(torch.ones(4, 2), torch.tensor([0, 1, 1, 0]), metrics=["mrr"])["MRR"] == pytest.approx(
        (1 / 3 + 1 / 2 + 1 / 2 + 1) / 4
    )


def test_values_by_hand():
    hits = torch.tensor([[False, True, True, False], [True, False, False, False]])
    assert map_at_k(hits, torch.tensor([3, 1]), 3).tolist() == pytest.approx([(1 / 2 + 2 / 3) / 3, 1.0])
    # R above k: the denominator is k, so that a perfect start has the value 1.
    assert map_at_k(torch.ones(1, 2, dtype=torch.bool), torch.tensor([9]), 2).tolist() == [1.0]
    # R below k: the denominator is R.
    assert map_at_k(hits, torch.tensor([2, 1]), 100).tolist() == pytest.approx([(1 / 2 + 2 / 3) / 2, 1.0])
    assert reciprocal_rank(hits).tolist() == [0.5, 1.0]


def far_first_item(count=700):
    """Queries at the two ends of a line, whose relevant item lies behind most of the other items."""
    angles = torch.linspace(0, 3, count)
    labels = torch.arange(count) + 5
    labels[0] = labels[-1] = 0
    labels[1] = labels[2] = 1
    return torch.stack([angles.cos(), angles.sin()], dim=1), labels


def test_mrr_is_exact_beyond_the_searched_depth_and_searches_only_the_missing_queries(monkeypatch):
    depths = []
    search = ExactIndex.search
    monkeypatch.setattr(
        ExactIndex, "search", lambda self, q, k, **rest: depths.append((len(q), k)) or search(self, q, k, **rest)
    )
    vectors, labels = far_first_item()
    values = measure_queries(vectors, labels, recalls=(1, 8), metrics=["mrr"]).values["MRR"]
    assert values.tolist() == pytest.approx([1 / 699, 1 / 2, 1, 1 / 699], rel=1e-6)
    assert depths == [(4, 8), (2, 32), (2, 128), (2, 512), (2, 699)]


def test_deep_searches_are_cut_by_their_memory(monkeypatch):
    vectors, labels = far_first_item()
    whole = measure_queries(vectors, labels, recalls=(1, 8), metrics=["mrr"])
    sizes = []
    search = ExactIndex.search
    monkeypatch.setattr(
        ExactIndex, "search", lambda self, q, k, **rest: sizes.append(len(q) * k) or search(self, q, k, **rest)
    )
    monkeypatch.setattr(per_query, "MAX_CHUNK_BYTES", 700 * per_query.BYTES_PER_NEIGHBOR)
    assert torch.equal(
        measure_queries(vectors, labels, recalls=(1, 8), metrics=["mrr"]).values["MRR"], whole.values["MRR"]
    )
    assert max(sizes) <= 700


@pytest.mark.parametrize("seed", range(4))
def test_opis_of_one_set_equals_plain_loops(seed):
    # Class 9 has one photo: no query, but negative pairs with the others.
    labels = torch.tensor([0, 0, 0, 3, 3, 3, 3, 5, 5, 9, 0, 5, 7, 7])
    vectors = points(10, seed=50)[labels] + points(len(labels), seed=seed)
    values = measure_queries(vectors, labels, metrics=["opis"]).class_values["OPIS"]
    expected = twins.opis_values(units(vectors), labels.tolist(), units(vectors), labels.tolist(), one_set=True)
    assert values.tolist() == pytest.approx(expected, abs=1e-7)
    assert evaluate(vectors, labels, metrics=["opis"])["OPIS"] == pytest.approx(np.mean(expected), abs=1e-7)
    assert max(expected) > 1e-3


def test_opis_with_a_gallery_and_copies_equals_plain_loops():
    queries, gallery = points(9), torch.cat([points(9), points(31, seed=1)])
    labels, gallery_labels = torch.arange(9) % 5, torch.arange(40) % 4
    values = measure_queries(queries, labels, gallery, gallery_labels, metrics=["opis"]).class_values["OPIS"]
    arguments = (units(queries), labels.tolist(), units(gallery), gallery_labels.tolist())
    assert values.tolist() == pytest.approx(twins.opis_values(*arguments, one_set=False), abs=1e-7)


def test_opis_of_two_classes_worked_out_by_hand():
    # The first two coordinates of an item are its cosines with the queries of class 0 and of class 1.
    items = [(0.25, 0.0)] * 20 + [(0.5, 0.75)] * 4 + [(0.0, 0.75)] * 16
    gallery = torch.tensor([(a, b, (1 - a * a - b * b) ** 0.5) for a, b in items])
    labels = torch.tensor([0] * 20 + [1] * 20)
    # Of the 40 negative pairs four are at 0.5 and the others at 0, so the thresholds go from just above 0 (10 %) to just
    # above 0.5 (1 %). Class 0 accepts its positives at 50 of the 101, and four of its 20 negatives: its utility is
    # 2 · 1 · 0.8 / 1.8 = 8/9 there, and 0 at the other 51. The utility of class 1 is always 1.
    values = measure_queries(torch.eye(2, 3), torch.arange(2), gallery, labels, metrics=["opis"]).class_values["OPIS"]
    by_hand = (50 * (1 / 18) ** 2 + 51 * (1 / 2) ** 2) / 101
    assert values.tolist() == pytest.approx([by_hand, by_hand], rel=1e-6)


def test_opis_says_whether_one_threshold_suits_all_classes():
    labels = torch.arange(6).repeat_interleave(10)
    centers, noise = torch.eye(6, 30), points(60, 30, seed=3)
    alike = evaluate(centers[labels] + 0.1 * noise, labels, metrics=["opis"])["OPIS"]
    # Half of the classes are wide and half are narrow, so that no threshold suits both.
    width = torch.where(labels < 3, 0.05, 0.5)[:, None]
    differ = evaluate(centers[labels] + width * noise, labels, metrics=["opis"])["OPIS"]
    assert alike < 0.01 * differ


def test_opis_of_one_class_is_zero():
    one_class = torch.zeros(4, dtype=torch.long)
    assert evaluate(points(4), one_class, metrics=["opis"])["OPIS"] == 0.0
    # A second class of one photo has negative pairs, but no query.
    assert evaluate(points(4), torch.tensor([0, 0, 0, 1]), metrics=["opis"])["OPIS"] == 0.0


def test_opis_in_many_chunks_and_on_several_ranks_is_the_same(monkeypatch):
    labels = torch.arange(60) % 7
    vectors = points(7)[labels] + points(60, seed=2)
    whole = measure_queries(vectors, labels, metrics=["opis"]).class_values["OPIS"]
    monkeypatch.setattr(pair_scores, "MAX_CHUNK_BYTES", 60 * 4 * pair_scores.BYTES_PER_PAIR)
    assert torch.equal(measure_queries(vectors, labels, metrics=["opis"]).class_values["OPIS"], whole)
    task = per_query.search_task(vectors, labels, None, None, (1,))
    rows = [[chunk.scores.shape for chunk in task.pair_scores(rank, 4).chunks()] for rank in range(4)]
    assert sum(shape[0] for shapes in rows for shape in shapes) == 60
    assert all(shape[0] <= 4 for shapes in rows for shape in shapes)


def test_the_interval_of_opis_resamples_classes_with_equal_weight():
    labels = torch.tensor([0] * 20 + [1] * 3 + [2] * 5 + [3] * 9)
    vectors = points(4)[labels] + points(len(labels), seed=1)
    measured = measure_queries(vectors, labels, metrics=["opis"])
    metric = evaluate(vectors, labels, metrics=["opis"]).metrics[-1]
    low, high = class_bootstrap(measured.class_values["OPIS"][None].double().numpy(), np.ones(4), resamples=1000)
    assert (metric.low, metric.high) == (low[0], high[0])
    assert metric.low < metric.value < metric.high
    assert metric.decimals == 3


def test_the_standard_metrics_stay_the_same_to_the_last_bit():
    labels = torch.arange(200) % 20
    vectors = points(20)[labels] + points(200, seed=3)
    standard, more = evaluate(vectors, labels), evaluate(vectors, labels, metrics=ALL)
    assert more.metrics[: len(standard.metrics)] == standard.metrics
    names = [metric.name for metric in more.metrics[len(standard.metrics) :]]
    assert names == ["mAP@1", "mAP@2", "mAP@4", "mAP@8", "mAP@50", "MRR", "OPIS"]
    assert more["mAP@1"] == standard["R@1"]
    assert standard["R@1"] < more["MRR"] < 1


def test_an_approximate_index_states_what_it_missed_and_gives_all_metrics():
    vectors, labels = points(900, dim=8), torch.arange(900) % 90
    exact = evaluate(vectors, labels, metrics=ALL)
    rough = evaluate(vectors, labels, metrics=ALL, index=Ivf(lists=20, probes=1))
    assert rough.approximation is not None
    assert rough["MRR"] != exact["MRR"]
    # OPIS has the scores of all pairs, which no index changes.
    assert rough["OPIS"] == exact["OPIS"]
    assert evaluate(vectors, labels, metrics=ALL, index=Ivf(lists=20, probes=20)).metrics == exact.metrics


def dcg(retrieved):
    """nDCG@5 of binary relevance, with numpy."""
    correct = retrieved.correct.numpy()
    discount = 1 / np.log2(np.arange(2, correct.shape[1] + 2))
    best = [discount[: min(5, int(r))].sum() for r in retrieved.relevant]
    return (correct * discount).sum(axis=1) / best


def test_a_metric_from_outside_has_a_value_per_query_and_an_interval():
    labels = torch.arange(90) % 9
    vectors = points(9)[labels] + points(90, seed=5)
    definition = MetricDefinition("nDCG@5", dcg, ranks=5)
    metric = evaluate(vectors, labels, metrics=[definition]).metrics[-1]
    hits = [
        [labels[j] == labels[q] for j in naive.ranking(v, units(vectors), q)[:5]] for q, v in enumerate(units(vectors))
    ]
    gains = [sum(hit / np.log2(i + 2) for i, hit in enumerate(row)) for row in hits]
    assert metric.name == "nDCG@5"
    assert metric.value == pytest.approx(float(np.mean(gains) / sum(1 / np.log2(i + 2) for i in range(5))), abs=1e-6)
    assert metric.low < metric.value < metric.high


@pytest.mark.parametrize(("ranks", "width"), [(3, 3), (500, 19), ("R", 4), ("all", 19)])
def test_a_metric_gets_the_ranks_that_it_asks_for(ranks, width):
    seen = []

    def watch(retrieved):
        seen.append(retrieved)
        return retrieved.correct.sum(dim=1)

    labels = torch.arange(20) % 4
    values = measure_queries(points(20), labels, metrics=[MetricDefinition("found", watch, ranks)]).values["found"]
    assert {r.correct.shape[1] for r in seen} == {width}
    for r in seen:
        assert r.scores.shape == r.item_labels.shape == r.correct.shape
        assert (r.scores[:, :-1] >= r.scores[:, 1:]).all()
        assert torch.equal(r.correct, r.item_labels == r.labels[:, None]) or ranks == "R"
    assert ranks != "all" or values.tolist() == [4.0] * 20


def test_correct_is_false_beyond_r_where_r_is_asked_for():
    # All vectors are equal, so ranks go by index. Query 0 has R = 1 and item 1, of another class, at its first rank.
    found = MetricDefinition("found", lambda r: r.correct.any(dim=1))
    values = measure_queries(torch.ones(5, 2), torch.tensor([0, 1, 0, 1, 1]), metrics=[found]).values["found"]
    assert values.tolist() == [0.0, 0.0, 1.0, 1.0, 1.0]


def test_a_class_metric_from_outside_has_one_value_per_class():
    labels = torch.tensor([4, 4, 4, 2, 2, 8])
    vectors = points(6)

    def mean_positive(pairs):
        sums = torch.zeros(2, len(pairs.classes), dtype=torch.float64)
        for chunk in pairs.chunks():
            sums[0].index_add_(0, chunk.class_of_query, (chunk.scores * chunk.positive).double().sum(dim=1))
            sums[1].index_add_(0, chunk.class_of_query, chunk.positive.double().sum(dim=1))
        sums = pairs.total(sums)
        return sums[0] / sums[1]

    values = measure_queries(vectors, labels, metrics=[ClassMetric("mean s_p", mean_positive)]).class_values["mean s_p"]
    u = units(vectors)
    assert values.tolist() == pytest.approx(
        [naive.cosine(u[3], u[4]), np.mean([naive.cosine(u[i], u[j]) for i, j in ((0, 1), (0, 2), (1, 2))])], abs=1e-6
    )


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["map"], "there is no metric 'map'; available are map_at_k, mrr, opis"),
        (["map_at_0"], "ranks of the metric mAP@0 are 0"),
        ("mrr", "is the text 'mrr'; give a list"),
        (["mrr", "MRR"], "two metrics are called MRR"),
        (["map_at_8", "map_at_k"], "two metrics are called mAP@8"),
        ([MetricDefinition("R@1", len)], "two metrics are called R@1"),
        ([MetricDefinition("bad", lambda r: r.scores)], "must return one number per query, of shape .4,., not .4, 1."),
        ([MetricDefinition("bad", lambda r: r.relevant / 0)], "not finite"),
        ([MetricDefinition("bad", lambda r: r.nothing)], "bad raised AttributeError"),
        ([MetricDefinition("stored")], "not stored with its run"),
        ([ClassMetric("bad", lambda pairs: [1.0])], "one number per class, of shape .2,., not .1,."),
        ([4], "there is no metric 4"),
    ],
)
def test_bad_metrics_are_named(metrics, message):
    with pytest.raises(ValueError, match=message):
        evaluate(points(4), torch.tensor([0, 0, 1, 1]), recalls=(1, 2, 4, 8), metrics=metrics)


@pytest.mark.parametrize("name", ["", "a,b", "a\nb", "a|b", "x" * 61, "\x1b[31m"])
def test_a_name_must_fit_into_tables(name):
    with pytest.raises(ValueError, match="printable characters"):
        MetricDefinition(name, len)
    with pytest.raises(ValueError, match="printable characters"):
        ClassMetric(name, len)


@pytest.mark.parametrize("ranks", [0, -1, True, 2.5, "r", 2**50])
def test_ranks_must_be_a_number_or_a_known_word(ranks):
    with pytest.raises(ValueError, match="ranks of the metric mine"):
        MetricDefinition("mine", len, ranks)


def test_the_direction_of_each_metric_is_known():
    lower = [d.name for d in further_metrics(ALL, (1,)) if not d.higher_is_better]
    assert lower == ["OPIS"]


def test_a_standard_report_is_stored_as_before_and_decimals_are_kept():
    plain = to_plain(evaluate(points(4), torch.tensor([0, 0, 1, 1]), recalls=(1,), metrics=["opis"]))
    assert set(plain["metrics"][0]) == {"type", "name", "value", "low", "high"}
    assert plain["metrics"][-1]["decimals"] == 3
    assert from_plain(Report, plain).metrics[-1].decimals == 3
    with pytest.raises(ValueError, match="must have 0 to 6 decimals"):
        from_plain(Metric, plain["metrics"][-1] | {"decimals": 10**9})
