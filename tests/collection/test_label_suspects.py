"""Labels that the nearest photos contradict."""

import math

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from pairlens.collection.collection import Collection
from pairlens.collection.label_suspects import LEAST_NEIGHBOURS, MOST_NEIGHBOURS, TEMPERATURE
from support.tiny_collections import clustered, encoded, new_collection


@pytest.fixture
def swapped(tmp_path):
    """Five classes of 20 photos, of which 8 have the label of another class."""
    vectors, classes = clustered(5, 20, spread=0.5, seed=2)
    labels = classes.copy()
    wrong = np.random.default_rng(0).permutation(100)[:8]
    labels[wrong] = (labels[wrong] + 1) % 5
    table = pa.table(
        {"path": [f"{n}.jpg" for n in range(100)], "label": [f"c{n}" for n in labels], "vector": list(vectors)}
    )
    parquet.write_table(table, tmp_path / "v.parquet")
    with Collection.create(tmp_path / "shop", "none") as shop:
        shop.import_vectors(tmp_path / "v.parquet")
        yield shop, vectors, labels, classes, wrong


def plain_score(vectors, labels, own):
    cosines = sorted(((float(vectors[own] @ vectors[n]), n) for n in range(len(vectors)) if n != own), reverse=True)
    near = cosines[: min(MOST_NEIGHBOURS, max(LEAST_NEIGHBOURS, list(labels).count(labels[own]) - 1))]
    weights = [math.exp((cosine - near[0][0]) / TEMPERATURE) for cosine, _ in near]
    share = {}
    for weight, (_, n) in zip(weights, near, strict=True):
        share[labels[n]] = share.get(labels[n], 0.0) + weight / sum(weights)
    mine = share.pop(labels[own], 0.0)
    return max(share.values(), default=0.0) - mine


def test_scores_are_those_of_a_plain_loop(swapped):
    shop, vectors, labels, _, _ = swapped
    found = {one.id: one.score for one in shop.suspects(1e-9).suspects}
    expected = {n + 1: score for n in range(100) if (score := plain_score(vectors, labels, n)) > 1e-9}
    assert found == pytest.approx(expected, abs=1e-4)


def test_swapped_labels_are_found_with_the_right_one(swapped):
    shop, _, _, classes, wrong = swapped
    found = shop.suspects()
    assert {one.id - 1 for one in found.suspects} == set(wrong.tolist())
    assert all(one.suggested == f"c{classes[one.id - 1]}" for one in found.suspects)
    scores = [one.score for one in found.suspects]
    assert scores == sorted(scores, reverse=True)
    assert (found.threshold, found.labelled, found.alone) == (0.5, 100, 0)


def test_unlabelled_neighbours_say_nothing(swapped):
    shop, _, _, classes, wrong = swapped
    # Of 15 of the 20 photos of the class of the first suspect the label is removed.
    cluster = [n + 1 for n in range(100) if classes[n] == classes[wrong[0]] and n not in wrong]
    shop.relabel(cluster[:-4], None)
    assert wrong[0] + 1 in {one.id for one in shop.suspects(0.05).suspects}
    assert shop.suspects().labelled == 100 - len(cluster) + 4


def test_copies_are_no_witnesses(tmp_path):
    with new_collection(tmp_path / "shop") as shop:
        shop.add(
            [encoded(1, "JPEG", 200, 240, quality=quality) for quality in range(50, 90)]
            + [encoded(n) for n in range(2, 20)],
            labels=["x"] + ["y"] * 39 + ["x"] * 18,
        )
        # The 39 copies of the first photo say y; they are one picture, and the other photos say x.
        assert 1 not in {one.id for one in shop.suspects().suspects}


def test_a_label_of_one_photo_is_not_suspected(swapped):
    shop, *_ = swapped
    shop.relabel(1, "alone")
    found = shop.suspects()
    assert found.alone == 1
    assert 1 not in {one.id for one in found.suspects}


def test_what_cannot_be_said(swapped, tmp_path):
    shop, *_ = swapped
    for threshold in (0, -1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="above 0 and at most 1"):
            shop.suspects(threshold)
    shop.relabel(shop.store.ids(), "one")
    with pytest.raises(ValueError, match="fewer than two labels"):
        shop.suspects()
    with new_collection(tmp_path / "empty") as empty, pytest.raises(ValueError, match="fewer than two labels"):
        empty.suspects()
