import torch

from pairlens.evaluation.metrics import map_at_r, mean_similarities, precision_at_k, r_precision, recall_at_k
from support import naive

HITS = torch.tensor([[False, True, True, False], [True, False, False, False]])
RELEVANT = torch.tensor([3, 1])


def test_values_by_hand():
    assert recall_at_k(HITS, 1).tolist() == [0, 1]
    assert recall_at_k(HITS, 2).tolist() == [1, 1]
    assert precision_at_k(HITS, 4).tolist() == [0.5, 0.25]
    assert torch.allclose(r_precision(HITS, RELEVANT), torch.tensor([2 / 3, 1.0]))
    assert torch.allclose(map_at_r(HITS, RELEVANT), torch.tensor([(1 / 2 + 2 / 3) / 3, 1.0]))


def test_precision_can_decrease_with_k_unlike_in_the_original_project():
    hits = torch.tensor([[True, False, False, False]])
    assert [precision_at_k(hits, k).item() for k in (1, 2, 4)] == [1.0, 0.5, 0.25]


def test_mean_similarities_of_queries_with_a_gallery_equal_a_loop():
    points = torch.nn.functional.normalize(torch.randn(9, 5), dim=1)
    labels = torch.tensor([4, 4, 8, 2, 4, 8, 8, 8, 3])
    pairs = [(i, j) for i in range(4) for j in range(4, 9)]
    same = [float(points[i] @ points[j]) for i, j in pairs if labels[i] == labels[j]]
    different = [float(points[i] @ points[j]) for i, j in pairs if labels[i] != labels[j]]
    s_p, s_n = mean_similarities(points[:4], labels[:4], points[4:], labels[4:])
    assert abs(s_p - sum(same) / len(same)) < 1e-6
    assert abs(s_n - sum(different) / len(different)) < 1e-6


def test_mean_similarities_equal_a_loop_over_pairs():
    vectors = torch.nn.functional.normalize(torch.randn(12, 5), dim=1)
    labels = torch.tensor([7, 7, 7, 2, 2, 9, 9, 9, 9, 1, 1, 30])
    same, different = [], []
    for i in range(12):
        for j in range(12):
            if i != j:
                value = naive.cosine(vectors[i].tolist(), vectors[j].tolist())
                (same if labels[i] == labels[j] else different).append(value)
    s_p, s_n = mean_similarities(vectors, labels)
    assert abs(s_p - sum(same) / len(same)) < 1e-6
    assert abs(s_n - sum(different) / len(different)) < 1e-6
