import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

from pairlens.cli.tables import report_table
from pairlens.evaluation import per_query
from pairlens.evaluation.evaluate import evaluate
from pairlens.evaluation.intervals import class_bootstrap
from support import naive


def points(count, dim=5, seed=0):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def compare(report, queries, labels, items, item_labels, one_set):
    units = [[naive.unit(v) for v in vectors.tolist()] for vectors in (queries, items)]
    expected, left_out = naive.metrics(units[0], labels.tolist(), units[1], item_labels.tolist(), (1, 3), one_set)
    assert report.left_out == left_out
    for name, value in expected.items():
        assert report[name] == pytest.approx(value, abs=1e-6), name


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=5, max_size=30), st.integers(0, 20))
def test_one_set_equals_plain_loops(labels, seed):
    labels = torch.tensor([0, 0, *labels])
    queries = points(len(labels), seed=seed)
    compare(evaluate(queries, labels, recalls=(1, 3)), queries, labels, queries, labels, one_set=True)


def test_queries_and_gallery_equal_plain_loops():
    queries, gallery = points(9), points(20, seed=1)
    labels, gallery_labels = torch.arange(9) % 5, torch.arange(20) % 4
    report = evaluate(queries, labels, gallery, gallery_labels, recalls=(1, 3))
    compare(report, queries, labels, gallery, gallery_labels, one_set=False)
    assert report.left_out == 1
    assert report.gallery == 20


def test_duplicated_photos_are_counted_and_ties_go_by_index():
    vectors = points(3)[[0, 0, 0, 1, 1, 2, 2]]
    labels = torch.tensor([0, 1, 0, 0, 1, 1, 0])
    compare(evaluate(vectors, labels, recalls=(1, 3)), vectors, labels, vectors, labels, one_set=True)


def test_agrees_with_pytorch_metric_learning_where_both_define_it():
    vectors, labels = points(120, dim=8), torch.arange(120) % 12
    peer = AccuracyCalculator(include=("precision_at_1", "r_precision", "mean_average_precision_at_r"), k=119)
    expected = peer.get_accuracy(torch.nn.functional.normalize(vectors, dim=1), labels)
    report = evaluate(vectors, labels, recalls=(1,))
    assert report["R@1"] == pytest.approx(expected["precision_at_1"], abs=1e-9)
    assert report["R-Precision"] == pytest.approx(expected["r_precision"], abs=1e-6)
    assert report["MAP@R"] == pytest.approx(expected["mean_average_precision_at_r"], abs=1e-6)


def test_labels_above_float_precision_stay_apart():
    labels = torch.tensor([2**24, 2**24 + 1, 2**24, 2**24 + 1])
    vectors = torch.tensor([[1.0, 0], [1.0, 0.1], [0, 1.0], [0.1, 1.0]])
    assert evaluate(vectors, labels, recalls=(1,))["R@1"] == 0.0


def test_many_chunks_give_what_one_gives(monkeypatch):
    vectors, labels = points(50), torch.arange(50) % 7
    whole = evaluate(vectors, labels)
    monkeypatch.setattr(per_query, "MAX_CHUNK_QUERIES", 8)
    assert evaluate(vectors, labels) == whole


def test_ranks_larger_than_the_gallery():
    report = evaluate(torch.eye(2)[[0, 0, 1]], torch.tensor([0, 0, 1]), recalls=(1, 100))
    assert report["R@100"] == 1.0
    assert report["P@100"] == pytest.approx(0.01)


def test_the_interval_is_over_classes_and_contains_the_mean():
    labels = torch.arange(200) % 20
    vectors = points(20)[labels] + points(200, seed=3)
    for metric in evaluate(vectors, labels).metrics:
        assert metric.low <= metric.value <= metric.high
        assert metric.high - metric.low > 0.01
    perfect = evaluate(points(20, dim=64)[labels], labels)
    assert (perfect.metrics[0].low, perfect.metrics[0].high) == (1.0, 1.0)


def test_the_interval_is_that_of_the_class_bootstrap_with_1000_resamples():
    labels = torch.arange(90) % 9
    vectors = points(9)[labels] + points(90, seed=5)
    by_class = per_query.measure_queries(vectors, labels, recalls=(1,)).class_sums()
    low, high = class_bootstrap(np.stack(list(by_class.sums.values())), by_class.counts, resamples=1000)
    metrics = evaluate(vectors, labels, recalls=(1,)).metrics
    assert [metric.low for metric in metrics] == low.tolist()
    assert [metric.high for metric in metrics] == high.tolist()


def test_a_class_is_resampled_as_a_whole():
    # One class has only hits and one only misses, so every resample is 0, 1/2 or 1, and the interval is as wide as possible.
    vectors = torch.cat([torch.eye(60)[[0] * 30], torch.eye(60)[30:60]])
    labels = torch.tensor([0] * 30 + [1] * 30)
    metric = evaluate(vectors, labels, recalls=(1,)).metrics[0]
    assert metric.low == pytest.approx(metric.value - 0.5, abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.eye(3), torch.arange(3)), "no query has another item of its class"),
        ((torch.eye(3), torch.zeros(3)), "different floats become equal"),
        ((torch.eye(3), torch.zeros(2, dtype=torch.long)), "must be .item, dim. vectors"),
        ((torch.eye(3), torch.zeros(3, dtype=torch.long), torch.eye(3)), "belong together"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate(*arguments)
    with pytest.raises(ValueError, match="different ranks"):
        evaluate(torch.eye(3), torch.zeros(3, dtype=torch.long), recalls=(1, 1))
    with pytest.raises(ValueError, match="ranks of 1 to"):
        evaluate(torch.eye(3), torch.zeros(3, dtype=torch.long), recalls=(0,))


def test_an_unknown_metric_gives_an_error_with_the_known_ones():
    with pytest.raises(KeyError, match="did you mean MAP@R"):
        evaluate(torch.eye(2), torch.zeros(2, dtype=torch.long), recalls=(1,))["mAP"]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("label_kind", [np.int32, np.int64, np.uint8])
def test_numpy_arrays_of_any_precision_are_evaluated_as_tensors_are(kind, label_kind):
    vectors = points(12).numpy().astype(kind)
    labels = np.repeat(np.arange(4), 3).astype(label_kind)
    # As arrays that are mapped from a file are.
    vectors.flags.writeable = labels.flags.writeable = False
    expected = evaluate(torch.tensor(vectors).float(), torch.tensor(labels).long())
    assert evaluate(vectors, labels) == expected
    assert evaluate(vectors[:6], labels[:6], vectors[3:], labels[3:]).gallery == 9


def test_numpy_labels_that_are_floats_are_an_error():
    with pytest.raises(ValueError, match=r"labels must be integers.*not torch\.float64"):
        evaluate(points(4).numpy(), np.array([0.0, 0.0, 1.0, 1.0]))


def test_one_class_is_said_to_give_100_percent_by_construction():
    lone = evaluate(points(4), torch.tensor([3, 3, 3, 3]))
    assert (lone["R@1"], lone["MAP@R"], lone.one_class) == (1.0, 1.0, True)
    assert "all items are of one class, so every figure is 100 % by construction" in str(lone)
    notes = report_table([("model", lone)], "").notes
    assert "1 unseen class (nothing else can be found, so every figure is 100 % by construction)" in notes[0]
    # One class of queries in a gallery of two is a real task.
    mixed = evaluate(points(2), torch.tensor([3, 3]), points(5, seed=1), torch.tensor([3, 3, 4, 4, 4]))
    assert (mixed.classes, mixed.one_class) == (1, False)
    assert "construction" not in str(mixed) + report_table([("model", mixed)], "").notes[0]
