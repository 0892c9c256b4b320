import pytest
import torch

from pairlens.core.pairs import Pairs
from pairlens.losses import SmoothAP, SupAP
from support.naive import smooth_rank
from support.twin_checks import unit_points

ONE_EACH = Pairs(torch.tensor([[True, False]]), torch.tensor([[False, True]]))


def one(s_n, s_p=0.0):
    return torch.tensor([[s_p, s_n]], dtype=torch.float64, requires_grad=True)


def test_is_never_below_one_minus_average_precision():
    labels = torch.arange(40) % 10
    for seed in range(8):
        points = unit_points(40, 5, seed)
        exact = smooth_rank.exact_ap_loss(points @ points.T, labels.tolist())
        assert SupAP()(points @ points.T, Pairs.within(labels)) >= exact
        # Smooth-AP is no bound: a negative just above the positive counts less than 1.
    assert SmoothAP()(one(0.001), ONE_EACH) < 0.5 <= SupAP()(one(0.001), ONE_EACH)


def test_value_in_each_of_the_three_pieces():
    for above, count in ((-0.01, 1 / (1 + 2.718281828459045)), (0.02, 0.5 + 0.8807970779778823), (0.2, 21.44)):
        assert abs(SupAP()(one(above), ONE_EACH) - (1 - 1 / (1 + count))) < 1e-9


def test_the_line_of_the_present_official_code_starts_at_delta():
    present = SupAP(line_from="delta")
    # 100 · (0.2 - 0.05) + 1.44; up to δ the two forms are the same.
    assert abs(present(one(0.2), ONE_EACH) - (1 - 1 / (1 + 16.44))) < 1e-9
    assert torch.equal(present(one(0.04), ONE_EACH), SupAP()(one(0.04), ONE_EACH))
    # At δ the present form falls by 0.05 in H⁻, and that of the first commit rises by 4.95.
    assert abs(present(one(0.0500001), ONE_EACH) - present(one(0.0499999), ONE_EACH)) < 0.01
    assert SupAP()(one(0.0500001), ONE_EACH) - SupAP()(one(0.0499999), ONE_EACH) > 0.2
    with pytest.raises(ValueError, match="line_from 'start' of SupAP is unknown; use zero or delta"):
        SupAP(line_from="start")


def test_the_two_lines_have_different_gradients():
    labels = torch.arange(48) % 12
    points = torch.nn.functional.normalize(unit_points(12, 8)[labels] + unit_points(48, 8, 1), dim=1)
    gradients = []
    for line_from in ("zero", "delta"):
        similarity = (points @ points.T).requires_grad_()
        value = SupAP(line_from=line_from)(similarity, Pairs.within(labels))
        gradients.append(torch.autograd.grad(value, similarity)[0].flatten())
    assert 0.5 < torch.nn.functional.cosine_similarity(*gradients, dim=0) < 0.97


def test_pushes_a_negative_far_above_where_the_gradient_of_smooth_ap_vanishes():
    gradients = []
    for loss in (SupAP(), SmoothAP()):
        similarity = one(0.9)
        gradients.append(torch.autograd.grad(loss(similarity, ONE_EACH), similarity)[0][0, 1])
    # R⁺ / R² · ρ with R = 1 + 100 · 0.9 + 1.44.
    assert abs(gradients[0] - 100 / 92.44**2) < 1e-12
    assert gradients[1] < 1e-30


def test_order_among_the_positives_alone_has_no_gradient():
    """The order of two positives that are far above every negative does not matter."""
    similarity = torch.tensor([[0.9, 0.89, -0.9]], dtype=torch.float64, requires_grad=True)
    pairs = Pairs(torch.tensor([[True, True, False]]), torch.tensor([[False, False, True]]))
    (sup,) = torch.autograd.grad(SupAP()(similarity, pairs), similarity)
    assert sup.abs().max() < 1e-30
