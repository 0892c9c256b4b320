import pytest
import torch

from pairlens.training.references import Batch, Proxies


def test_the_batch_is_compared_with_itself():
    points = torch.nn.functional.normalize(torch.randn(5, 3), dim=1)
    similarity, pairs = Batch()(points, torch.tensor([0, 0, 1, 1, 2]))
    assert torch.equal(similarity, points @ points.T)
    assert not pairs.positive.diagonal().any()


def test_proxies_are_unit_parameters_laid_out_class_by_class():
    proxies = Proxies(classes=3, dim=4, centers=2)
    similarity, pairs = proxies(torch.eye(4)[:1], torch.tensor([1]))
    assert torch.allclose(proxies.unit_centers.norm(dim=2), torch.ones(3, 2))
    assert torch.equal(similarity[0].view(3, 2), proxies.unit_centers[:, :, 0])
    assert pairs.positive.tolist() == [[False, False, True, True, False, False]]


def test_proxies_get_a_gradient():
    proxies = Proxies(classes=3, dim=4)
    proxies(torch.eye(4), torch.tensor([0, 1, 2, 0]))[0].sum().backward()
    assert proxies.vectors.grad is not None


def test_a_label_without_a_proxy_and_a_wrong_dimension_are_named():
    proxies = Proxies(classes=98, dim=4)
    with pytest.raises(ValueError, match="labels run from 0 to 98, but there are proxies for 0 to 97"):
        proxies(torch.eye(4)[:2], torch.tensor([0, 98]))
    with pytest.raises(ValueError, match="3 dimensions, the proxies 4"):
        proxies(torch.eye(3), torch.tensor([0, 1, 2]))
