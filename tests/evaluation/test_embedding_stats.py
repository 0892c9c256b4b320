import torch

from pairlens.evaluation.embedding_stats import choose_classes, embedding_stats, embedding_stats_or_none, whole_classes
from pairlens.losses import Circle
from support.twin_checks import unit_points


def test_whole_classes_are_chosen_and_always_the_same():
    labels = torch.arange(60) % 6
    photos = whole_classes(labels, 30)
    assert len(photos) == 30
    assert len(labels[photos].unique()) == 3
    assert torch.equal(photos, whole_classes(labels, 30))
    assert len(whole_classes(labels, 1)) == 20
    assert len(whole_classes(labels, 1000)) == 60


def test_classes_are_chosen_by_their_label_whatever_the_first_label_is():
    labels = torch.arange(60) % 6
    assert torch.equal(choose_classes(labels + 10, 30), choose_classes(labels, 30) + 10)
    assert len(choose_classes(labels + 10, 30)) == 3


def test_sets_without_pairs_have_no_statistics():
    assert embedding_stats_or_none(None, None, Circle()) is None
    assert embedding_stats_or_none(unit_points(4, 8), torch.arange(4), Circle()) is None
    assert embedding_stats_or_none(unit_points(4, 8), torch.zeros(4, dtype=torch.long), Circle()) is None


def test_the_length_of_embeddings_does_not_change_their_statistics():
    vectors, labels = unit_points(24, 8), torch.arange(24) % 6
    stats, expected = embedding_stats_or_none(3 * vectors, labels, Circle()), embedding_stats(vectors, labels, Circle())
    assert abs(stats.auc - expected.auc) < 1e-9
