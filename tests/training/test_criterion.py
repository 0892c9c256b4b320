import pytest
import torch
from pytorch_metric_learning import losses as pml

from pairlens.losses import Angular, Circle, Margin, NPair, ProxyAnchor, SoftTriple, Triplet
from pairlens.losses.miners import Hardest
from pairlens.losses.third_party import Wrapped, wrap
from pairlens.training.criterion import Criterion
from pairlens.training.references import CrossBatchMemory, Proxies

LABELS = torch.tensor([0, 0, 1, 1])


def test_a_criterion_needs_two_lines_in_a_training_loop():
    embeddings = torch.randn(4, 8, requires_grad=True)
    criterion = Criterion(Circle())
    criterion(embeddings, LABELS).backward()
    assert embeddings.grad.abs().sum() > 0
    assert not list(criterion.parameters())


def test_the_length_of_an_embedding_does_not_matter():
    embeddings = torch.randn(4, 8)
    lengths = torch.tensor([[0.1], [1.0], [7.0], [100.0]])
    assert torch.allclose(Criterion(Triplet())(embeddings, LABELS), Criterion(Triplet())(embeddings * lengths, LABELS))


def test_a_function_of_similarity_and_pairs_is_a_loss():
    criterion = Criterion(lambda similarity, pairs: similarity[pairs.negative].mean())
    assert criterion(torch.eye(4), LABELS) == 0


def test_centres_are_parameters_and_in_the_state():
    criterion = Criterion(SoftTriple(centers=3), Proxies(classes=2, dim=8, centers=3))
    assert [p.shape for p in criterion.parameters()] == [(6, 8)]
    assert list(criterion.state_dict()) == ["references.vectors"]
    criterion(torch.randn(4, 8), LABELS).backward()
    assert criterion.references.vectors.grad.abs().sum() > 0


def test_the_penalty_on_centres_is_added():
    torch.manual_seed(0)
    proxies, points = Proxies(classes=2, dim=8, centers=3), torch.randn(4, 8)
    with_penalty = Criterion(SoftTriple(centers=3, tau=0.2), proxies)(points, LABELS)
    without = Criterion(SoftTriple(centers=3, tau=0.0), proxies)(points, LABELS)
    assert torch.allclose(with_penalty - without, SoftTriple(centers=3, tau=0.2).penalty(proxies.unit_centers))
    assert with_penalty > without


def test_an_embedding_that_is_not_finite_is_named():
    embeddings = torch.randn(4, 8)
    embeddings[2, 3] = torch.nan
    with pytest.raises(ValueError, match="embedding 2 of the batch is not finite"):
        Criterion(Circle())(embeddings, LABELS)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"3 embeddings have 4 labels; give one label per embedding"):
        Criterion(Circle())(torch.randn(3, 8), LABELS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((ProxyAnchor(),), r"ProxyAnchor cannot be used with InBatch; give it references=pl.Proxies"),
        (
            (Angular(), CrossBatchMemory(8, 8)),
            r"Angular cannot be used with CrossBatchMemory; .* references=pl.InBatch\(\)",
        ),
        ((NPair(), Proxies(2, 8)), "NPair cannot be used with Proxies"),
        ((SoftTriple(centers=3), Proxies(2, 8)), "SoftTriple needs 3 centre"),
        ((Circle(), Proxies(2, 8, centers=2)), "Circle needs 1 centre"),
        ((Circle(), Proxies(2, 8), Hardest()), "a miner selects pairs of photos"),
        ((NPair(), None, Hardest()), "a miner selects pairs of photos"),
        ((Margin(),), "make the criterion with classes="),
    ],
)
def test_combinations_that_are_not_possible_are_named_at_construction(settings, message):
    with pytest.raises(ValueError, match=message):
        Criterion(*settings)


def test_a_label_without_a_boundary_is_named():
    with pytest.raises(ValueError, match=r"labels run from 0 to 1, but Margin.* has parameters for 0 to 0"):
        Criterion(Margin(), classes=1)(torch.randn(4, 8), LABELS)


def test_boundaries_are_parameters_and_get_a_gradient():
    criterion = Criterion(Margin(), classes=2)
    assert [name for name, _ in criterion.named_parameters()] == ["learned"]
    torch.manual_seed(3)
    criterion(torch.randn(4, 8), LABELS).backward()
    assert criterion.learned.grad.abs().sum() > 0


def test_a_loss_of_pytorch_metric_learning_can_be_wrapped():
    theirs = pml.ProxyAnchorLoss(2, 8)
    criterion = Criterion(wrap(theirs))
    embeddings = torch.randn(4, 8, requires_grad=True)
    value = criterion(embeddings, LABELS)
    value.backward()
    assert torch.equal(value, theirs(embeddings, LABELS))
    assert [p is theirs.proxies for p in criterion.parameters()] == [True]
    assert theirs.proxies.grad.abs().sum() > 0
    assert "wrapped.proxies" in criterion.state_dict()
    assert wrap(theirs).name == "ProxyAnchorLoss"


def test_a_wrapped_loss_without_its_function_says_how_to_resume():
    with pytest.raises(ValueError, match="not stored with its run"):
        Criterion(Wrapped("lost"))(torch.randn(4, 8), LABELS)
