import torch

from pairlens.comparison.controls import no_loss
from pairlens.losses.third_party import wrap
from pairlens.training.criterion import Criterion


def test_no_loss_is_zero_and_moves_nothing():
    embeddings = torch.randn(4, 3, requires_grad=True)
    value = Criterion(wrap(no_loss))(embeddings, torch.tensor([0, 0, 1, 1]))
    value.backward()
    assert value.item() == 0
    assert torch.equal(embeddings.grad, torch.zeros(4, 3))
