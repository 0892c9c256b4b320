import torch

from pairlens.core.pairs import Pairs
from pairlens.losses import RecallAtK
from support.twin_checks import unit_points

LABELS = torch.arange(40) % 10
KS = (1, 2, 4, 8)


def recall_loss(similarity, k, at_rank_k):
    """Return 1 - mean over anchors of the share of positives before rank k, by sorting; one at rank k counts `at_rank_k`."""
    values = []
    labels = LABELS.tolist()
    for a, label in enumerate(labels):
        order = [j for j in similarity[a].argsort(descending=True).tolist() if j != a]
        hits = [labels[j] == label for j in order]
        values.append((sum(hits[: k - 1]) + at_rank_k * hits[k - 1]) / min(k, sum(hits)))
    return 1 - sum(values) / len(values)


def test_tends_to_recall_in_which_rank_k_itself_counts_half():
    """The sigmoid of k - rank is ½ at rank k, whatever its temperature."""
    points = unit_points(40, 5)
    similarity, pairs = points @ points.T, Pairs.within(LABELS)
    expected = sum(recall_loss(similarity, k, 0.5) for k in KS) / len(KS)
    errors = [abs(RecallAtK(KS, t, t)(similarity, pairs) - expected) for t in (1e-1, 1e-7)]
    assert errors[0] > 1e-3
    assert errors[1] < 1e-9


def test_counting_the_query_moves_every_positive_one_rank_down():
    points = unit_points(40, 5)
    similarity, pairs = points @ points.T, Pairs.within(LABELS)
    for k in (2, 4):
        shifted = RecallAtK((k,), 1e-7, 1e-7, count_query=True)(similarity, pairs)
        exact = RecallAtK((k - 1,), 1e-7, 1e-7)(similarity, pairs)
        # Every rank is higher by one, so k must be, too; only the division by min(k, |P|) differs.
        assert abs((1 - shifted) * min(k, 3) - (1 - exact) * min(k - 1, 3)) < 1e-9


def test_a_positive_far_within_the_first_k_has_no_loss():
    similarity = torch.tensor([[0.9, -0.9]], dtype=torch.float64)
    pairs = Pairs(torch.tensor([[True, False]]), torch.tensor([[False, True]]))
    assert abs(RecallAtK((100,))(similarity, pairs)) < 1e-12
    assert abs(RecallAtK((1,))(similarity, pairs) - 0.5) < 1e-12


def test_every_k_has_the_same_weight():
    points = unit_points(40, 5)
    similarity, pairs = points @ points.T, Pairs.within(LABELS)
    alone = [RecallAtK((k,))(similarity, pairs) for k in KS]
    assert abs(RecallAtK(KS)(similarity, pairs) - sum(alone) / len(KS)) < 1e-12
