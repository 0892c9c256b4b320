import math

import numpy as np
import pytest

from pairlens import losses as ls
from pairlens.analysis.loss_plane import follow, similarity_plane
from pairlens.analysis.pair_weights import ProbeBatch, weight_curve
from pairlens.losses.protocols import weighs_pairs
from support.loss_cases import BATCH, PROXIES


@pytest.mark.parametrize("loss", [loss for loss in [*BATCH, *PROXIES] if weighs_pairs(loss)], ids=str)
def test_every_loss_has_a_finite_plane(loss):
    plane = similarity_plane(loss, points=5)
    assert plane.value.shape == plane.pull.shape == (5, 5)
    assert all(np.isfinite(x).all() for x in (plane.value, plane.pull, plane.push))


def test_circle_has_the_value_and_the_forces_of_its_paper():
    m, g = 0.25, 32
    plane = similarity_plane(ls.Circle(m, g))
    s_n, s_p = plane.s_n[None, :], plane.s_p[:, None]
    alpha_n, alpha_p = np.maximum(s_n + m, 0), np.maximum(1 + m - s_p, 0)
    x = g * (alpha_n * (s_n - m) - alpha_p * (s_p - (1 - m)))
    assert np.allclose(plane.value, np.logaddexp(0, x), atol=1e-9)
    z = 1 - np.exp(-plane.value)
    assert np.allclose(plane.pull, z * g * alpha_p, atol=1e-8)
    assert np.allclose(plane.push, z * g * alpha_n, atol=1e-8)


def test_the_boundary_of_circle_is_its_circle():
    m = 0.25
    plane = similarity_plane(ls.Circle(m, 32), points=61)
    assert plane.boundary == pytest.approx(math.log(2))
    s_n, s_p = plane.s_n[None, :], plane.s_p[:, None]
    within = (s_n**2 + (1 - s_p) ** 2 < 2 * m**2) & (s_n > -m) & (s_p < 1 + m)
    inside = (plane.value < plane.boundary) & (s_n > -m)
    assert (within == inside).mean() > 0.999


def test_the_boundary_of_triplet_is_where_its_margin_is_kept():
    plane = similarity_plane(ls.Triplet(0.3, "cosine"), points=81)
    s_n, s_p = plane.s_n[None, :], plane.s_p[:, None]
    assert ((plane.value < plane.boundary) == (s_p - s_n >= 0.3)).all()


def test_paths_descend_and_end_where_the_loss_is_satisfied():
    plane = similarity_plane(ls.Triplet(0.3, "cosine"))
    paths = follow(plane)
    ends = paths.ends
    assert (ends[:, 1] - ends[:, 0] > 0.3 - 0.1).all()
    started = paths.points[:, 0]
    satisfied = started[:, 1] - started[:, 0] > 0.4
    assert np.array_equal(ends[satisfied], started[satisfied])
    # Equal forces on both: triplet moves at right angles to its boundary.
    moved = ends[~satisfied] - started[~satisfied]
    free = (np.abs(paths.points[~satisfied]) < 0.99).all(axis=(1, 2))
    assert free.sum() > 10
    assert np.allclose(moved[free][:, 0], -moved[free][:, 1], atol=1e-6)


def test_circle_ends_near_its_optimum_from_everywhere_above_it():
    ends = follow(similarity_plane(ls.Circle(0.25, 32))).ends
    assert (ends[:, 1] > 0.95).all()
    assert (ends[:, 0] < 0.05).all()


def test_every_point_of_a_plane_is_in_its_table():
    plane = similarity_plane(ls.Contrastive(), points=4)
    table = plane.table()
    assert len(table) == 16
    row = table[1]
    assert (row["s_n"], row["s_p"]) == (plane.s_n[1], plane.s_p[0])
    assert (row["loss"], row["w_p"], row["w_n"]) == (plane.value[0, 1], plane.pull[0, 1], plane.push[0, 1])


def test_the_weight_of_a_negative_depends_on_the_other_negatives_only_in_a_softmax():
    easy, hard = (weight_curve(ls.NTXent(), ProbeBatch(negatives=x)).negative for x in (0.0, 0.5))
    assert (easy[:-1] >= hard[:-1]).all()
    assert easy.max() > hard[60] >= 0
    assert not np.allclose(easy, hard)
    one, other = (weight_curve(ls.SimilarityContrastive(), ProbeBatch(negatives=x)).negative for x in (0.0, 0.5))
    assert np.allclose(one, other)
