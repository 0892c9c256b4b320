"""Every public function accepts the same forms of vectors, labels and numbers, and refuses all others in one sentence."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

import pairlens as pl
from pairlens.core.settings import flat_settings, settings_of, with_settings
from support import odd_inputs
from support.odd_inputs import LABELS, VECTORS
from support.tiny_training import tiny_learner, tiny_model

MAX_SENTENCE = 400
CLASSES = 2
PHOTO = np.zeros((8, 8, 3), np.uint8)


@dataclass(frozen=True)
class Entry:
    """A public name, and its parameters by the kind of what they take, each as a function of the value."""

    vectors: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, Any] = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)


def trained(references=None):
    return pl.Criterion(pl.losses.Triplet(), references)


def first_batch(sampler):
    return next(iter(sampler))


def epoch_from(number):
    sampler = pl.PKSampler(LABELS, 2, 2)
    sampler.set_epoch(number)
    return first_batch(sampler)


def finished_learner():
    learner = tiny_learner(torch.device("cpu"))
    learner.epoch = 2
    return learner


MODEL = tiny_model().eval()
ENTRIES = {
    "Criterion": Entry(
        vectors={"embeddings": lambda v: trained()(v, LABELS)},
        labels={
            "labels": lambda v: trained()(VECTORS, v),
            "labels of margin": lambda v: pl.Criterion(pl.losses.Margin(), classes=CLASSES)(VECTORS, v),
            "labels of proxies": lambda v: trained(pl.Proxies(CLASSES, 3))(VECTORS, v),
            "labels of a memory": lambda v: trained(pl.CrossBatchMemory(8, 3))(VECTORS, v),
        },
        numbers={"classes": lambda v: pl.Criterion(pl.losses.Margin(), classes=v)},
    ),
    "InBatch": Entry(
        vectors={"embeddings": lambda v: pl.InBatch()(v, LABELS)}, labels={"labels": lambda v: pl.InBatch()(VECTORS, v)}
    ),
    "CrossBatchMemory": Entry(
        vectors={"embeddings": lambda v: pl.CrossBatchMemory(8, 3)(v, LABELS)},
        labels={"labels": lambda v: pl.CrossBatchMemory(8, 3)(VECTORS, v)},
        numbers={
            "size": lambda v: pl.CrossBatchMemory(v, 3),
            "dim": lambda v: pl.CrossBatchMemory(8, v),
            "warm_up": lambda v: pl.CrossBatchMemory(8, 3, v),
        },
    ),
    "Proxies": Entry(
        vectors={"embeddings": lambda v: pl.Proxies(CLASSES, 3)(v, LABELS)},
        labels={"labels": lambda v: pl.Proxies(CLASSES, 3)(VECTORS, v)},
        numbers={
            "classes": lambda v: pl.Proxies(v, 3),
            "dim": lambda v: pl.Proxies(2, v),
            "centers": lambda v: pl.Proxies(2, 3, v),
        },
    ),
    "Pairs": Entry(
        labels={
            "within": pl.Pairs.within,
            "between": lambda v: pl.Pairs.between(v, LABELS),
            "references": lambda v: pl.Pairs.between(LABELS, v),
        },
    ),
    "evaluate": Entry(
        vectors={
            "queries": lambda v: pl.evaluate(v, LABELS),
            "searched": lambda v: pl.evaluate(v, LABELS, VECTORS, LABELS),
            "gallery": lambda v: pl.evaluate(VECTORS, LABELS, v, LABELS),
        },
        labels={
            "labels": lambda v: pl.evaluate(VECTORS, v),
            "gallery_labels": lambda v: pl.evaluate(VECTORS, LABELS, VECTORS, v),
        },
        numbers={"recalls": lambda v: pl.evaluate(VECTORS, LABELS, recalls=v)},
    ),
    "nearest": Entry(
        vectors={"queries": lambda v: pl.nearest(v, VECTORS, 2), "gallery": lambda v: pl.nearest(VECTORS, v, 2)},
        labels={"itself": lambda v: pl.nearest(VECTORS, VECTORS, 2, itself=v)},
        numbers={"k": lambda v: pl.nearest(VECTORS, VECTORS, v)},
    ),
    "Embeddings": Entry(
        vectors={"vectors": lambda v: pl.Embeddings(v, LABELS, ("a", "b", "c", "d"))},
        labels={"labels": lambda v: pl.Embeddings(VECTORS, v, ("a", "b", "c", "d"))},
    ),
    "PKSampler": Entry(
        labels={"labels": lambda v: first_batch(pl.PKSampler(v, 2, 2))},
        numbers={
            "classes": lambda v: first_batch(pl.PKSampler(LABELS, v, 2)),
            "per_class": lambda v: first_batch(pl.PKSampler(LABELS, 2, v)),
            "seed": lambda v: first_batch(pl.PKSampler(LABELS, 2, 2, v)),
            "world": lambda v: first_batch(pl.PKSampler(LABELS, 2, 2, rank=0, world=v)),
            "epoch": epoch_from,
        },
    ),
    "Embedder": Entry(
        numbers={
            "batch_size": lambda v: MODEL.embed(PHOTO, batch_size=v),
            "workers": lambda v: MODEL.embed(PHOTO, workers=v),
            "dim": lambda v: pl.Architecture(descriptors="SG", dim=v),
        },
    ),
    "EvaluationConfig": Entry(numbers={"recalls": lambda v: pl.EvaluationConfig(recalls=v)}),
    "fit": Entry(numbers={"epochs": lambda v: list(pl.fit(finished_learner(), NO_PHOTOS, pl.Objective(), v))}),
}


class NoPhotos:
    """No batches, so that `fit` ends where training would start."""

    def __len__(self):
        return 0

    def epoch(self, number, start=0):
        return iter(())


NO_PHOTOS = NoPhotos()
# The other public names, and why they need no line above: they take records of settings, which the last tests of this file
# check; they are results that nobody makes; or they have tests of their own for the values that they take.
SETTINGS = {
    *("Architecture", "Arm", "BatchConfig", "Benchmark", "DataConfig", "Experiment", "Objective", "OptimizerConfig"),
    *("Preparation", "ReferenceConfig", "RunConfig", "Study"),
}
RESULTS = {"Epoch", "Metric", "Neighbors", "PairScores", "Report", "Results", "Retrieved", "Run", "Step"}
OTHERS = {
    *(
        "Catalog",
        "ClassMetric",
        "Gallery",
        "Learner",
        "MetricDefinition",
        "PerStep",
        "audit",
        "compare",
        "embed",
        "explain",
    ),
    *(
        "gather_with_gradient",
        "losses",
        "miners",
        "on_pictures",
        "prepare",
        "process_group",
        "resume_run",
        "run",
        "wrap",
    ),
    *("wrap_pairs",),
    # What a collection and its filters take is tried in tests/collection.
    *("Collection", "Region", "between", "under"),
}


def calls(kind):
    return [
        pytest.param(call, id=f"{name} {parameter}")
        for name, entry in ENTRIES.items()
        for parameter, call in getattr(entry, kind).items()
    ]


def refuses(call, value):
    """Return whether a call refuses a value with one sentence; it must do nothing else but accept it."""
    try:
        call(value)
    except ValueError as error:
        sentence = str(error)
        assert 20 < len(sentence) < MAX_SENTENCE, sentence
        assert "\n" not in sentence
        return True
    return False


def test_every_public_name_is_in_this_file():
    assert set(ENTRIES) | SETTINGS | RESULTS | OTHERS == set(pl.__all__)


@pytest.mark.parametrize("call", calls("vectors"))
def test_vectors_are_accepted_in_every_plain_form(call):
    refused = [name for name, value in odd_inputs.forms_of_vectors().items() if refuses(call, value)]
    assert refused == []


@pytest.mark.parametrize("call", calls("labels"))
def test_labels_are_accepted_in_every_plain_form(call):
    refused = [name for name, value in odd_inputs.forms_of_labels().items() if refuses(call, value)]
    assert refused == []


@pytest.mark.parametrize("call", calls("numbers"))
def test_numbers_are_accepted_in_every_plain_form(call):
    refused = [name for name, value in odd_inputs.forms_of_two().items() if refuses(call, value)]
    assert refused == []


# What some parameters accept, because another number of vectors, or of their dimensions, means something there.
@pytest.mark.parametrize("call", calls("vectors"))
def test_what_is_no_vectors_is_refused_in_one_sentence(call, request):
    accepted = {name for name, value in odd_inputs.no_vectors().items() if not refuses(call, value)}
    own_check = {"nan", "infinite", "long"}
    allowed = {
        "InBatch embeddings": own_check | {"of another dimension"},
        "CrossBatchMemory embeddings": own_check,
        "Proxies embeddings": own_check,
        "Criterion embeddings": {"of another dimension"},
        "Embeddings vectors": own_check | {"of another dimension", "no columns"},
        "evaluate queries": {"of another dimension"},
        "nearest queries": {"of another number"},
        "nearest gallery": {"of another number"},
    }
    assert accepted <= allowed.get(request.node.callspec.id, set())


@pytest.mark.parametrize("call", calls("labels"))
def test_what_is_no_labels_is_refused_in_one_sentence(call, request):
    accepted = {name for name, value in odd_inputs.no_labels().items() if not refuses(call, value)}
    allowed = {"Pairs within": {"too few", "empty"}, "Pairs between": {"too few", "empty"}}
    allowed |= {"Pairs references": {"too few", "empty"}, "PKSampler labels": {"too few"}}
    assert accepted <= allowed.get(request.node.callspec.id, set())


@pytest.mark.parametrize("call", calls("numbers"))
def test_what_is_no_number_is_refused_in_one_sentence(call, request):
    accepted = {name for name, value in odd_inputs.NO_NUMBERS.items() if not refuses(call, value)}
    assert accepted == set()


def test_none_is_refused_where_it_has_no_meaning():
    for kind in ("vectors", "labels"):
        for case in calls(kind):
            optional = case.id in ("nearest itself", "evaluate searched", "evaluate gallery")
            assert optional or refuses(case.values[0], None), case.id


def test_settings_take_the_numbers_of_numpy_and_store_those_of_python():
    experiment = pl.Experiment()
    defaults = flat_settings(experiment)
    kinds = {name: entry.kind for name, entry in settings_of(pl.Experiment).items() if entry.kind in (int, float)}
    assert len(kinds) > 20
    for name, kind in kinds.items():
        given = np.int64(defaults[name]) if kind is int else np.float64(defaults[name])
        assert type(flat_settings(with_settings(experiment, {name: given}))[name]) is kind, name
        numbers = odd_inputs.NO_NUMBERS if kind is int else {"text": "2", "list": [2.0], "none": None}
        for value in numbers.values():
            assert refuses(lambda v, name=name: with_settings(experiment, {name: v}), value) or value == -1, name


def test_recalls_may_be_one_number_a_range_an_array_or_a_tensor():
    expected = pl.evaluate(VECTORS, LABELS, recalls=(1, 2))
    for recalls in ([1, 2], range(1, 3), np.array([1, 2]), torch.tensor([1, 2]), {1: 0, 2: 0}.keys()):
        assert pl.evaluate(VECTORS, LABELS, recalls=recalls) == expected
        assert pl.EvaluationConfig(recalls=recalls).recalls == (1, 2)
    assert pl.evaluate(VECTORS, LABELS, recalls=1)["R@1"] == 1
    for recalls in ("1,2", [1.0], [True], None, [[1, 2]], [], [2, "4"], b"1"):
        assert refuses(lambda v: pl.evaluate(VECTORS, LABELS, recalls=v), recalls)
        assert refuses(lambda v: pl.EvaluationConfig(recalls=v), recalls)


def test_values_are_those_of_tensors():
    expected = pl.evaluate(VECTORS, LABELS)
    found = pl.nearest(VECTORS, VECTORS, 2)
    points = VECTORS.clone().requires_grad_()
    loss = trained()(points, LABELS)
    for name, vectors in odd_inputs.forms_of_vectors().items():
        assert pl.evaluate(vectors, LABELS) == expected, name
        assert torch.equal(pl.nearest(vectors, VECTORS.tolist(), 2).indices, found.indices), name
        assert trained()(vectors, LABELS).item() == pytest.approx(loss.item(), abs=1e-3), name
    for name, labels in odd_inputs.forms_of_labels().items():
        assert pl.evaluate(VECTORS, labels) == expected, name
        assert torch.equal(trained()(points, labels), loss), name
    # A list of tensors keeps their graph.
    pl.Criterion(pl.losses.Circle())(list(points), LABELS.tolist()).backward()
    assert points.grad.abs().sum() > 0


def test_an_empty_gallery_is_named_and_no_queries_have_no_neighbours():
    nothing = VECTORS[:0]
    with pytest.raises(ValueError, match="gallery is empty"):
        pl.nearest(VECTORS, nothing, 1)
    with pytest.raises(ValueError, match="gallery must not be empty"):
        pl.evaluate(VECTORS, LABELS, nothing, LABELS[:0])
    with pytest.raises(ValueError, match="queries must not be empty"):
        pl.evaluate(nothing, [])
    found = pl.nearest(nothing, VECTORS, np.int64(3))
    assert found.scores.shape == found.indices.shape == (0, 3)
    for itself in ([4, 0, 1, 2], [-1, 0, 1, 2], [0, 1]):
        with pytest.raises(ValueError, match=r"itself must hold one index of the gallery, 0 to 3"):
            pl.nearest(VECTORS, VECTORS, 1, itself=itself)


def test_a_length_that_overflows_is_named_alike_everywhere():
    long = VECTORS.clone()
    long[2] *= 1e20
    words = r"2.* is not finite \(its length overflows float32; 1 of 4 are not finite\)"
    calls = (
        lambda: trained()(long, LABELS),
        lambda: pl.evaluate(long, LABELS),
        lambda: pl.nearest(long, VECTORS, 1),
        lambda: pl.Criterion(pl.losses.NPair())(long, LABELS),
    )
    for call in calls:
        with pytest.raises(ValueError, match=words):
            call()
    # In double precision these vectors have a length.
    double = long.double().requires_grad_()
    trained()(double, LABELS).backward()
    assert double.grad.isfinite().all()


def test_finite_vectors_whose_lengths_add_up_to_infinity_are_no_error():
    assert trained()(torch.eye(4) * 3e38**0.5 / 2, LABELS).isfinite()
