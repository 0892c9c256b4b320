import pytest
import torch

from pairlens.model.embedder import Embedder
from pairlens.model.micro_batch import run_in_micro_batches


def test_a_micro_batch_is_computed_twice_with_the_same_random_numbers():
    layer = torch.nn.Linear(4, 3)
    calls = []

    def noisy(photos):
        calls.append((len(photos), torch.rand(2).tolist()))
        return (layer(photos).relu(),)

    run_in_micro_batches(noisy, torch.randn(5, 4), 2)[0].sum().backward()
    assert [photos for photos, _ in calls] == [2, 2, 1, 1, 2, 2]
    assert [calls[0], calls[1], calls[2]] == [calls[5], calls[4], calls[3]]
    assert len({str(numbers) for _, numbers in calls}) == 3


def test_intermediate_activations_are_not_stored():
    stored = []

    def watch(tensor):
        stored.append(tensor.numel())
        return tensor

    def wide(photos):
        return ((photos @ torch.ones(4, 1000)).sin().sum(dim=1),)

    photos = torch.randn(64, 4, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(watch, lambda tensor: tensor):
        run_in_micro_batches(wide, photos, 8)
        assert max(stored, default=0) <= 64 * 4
        wide(photos)
    assert max(stored) >= 64_000


def test_bfloat16_gradients_of_micro_batches_are_summed_in_float32():
    torch.manual_seed(0)
    layer, photos = torch.nn.Linear(16, 4), torch.rand(512, 16)
    with torch.autocast("cpu", torch.bfloat16):
        run_in_micro_batches(lambda x: (layer(x),), photos, 2)[0].float().sum().backward()
    expected = photos.sum(dim=0).expand(4, 16)
    assert ((layer.weight.grad - expected).abs() / expected).max() < 2e-3


def small(**settings):
    torch.manual_seed(0)
    return Embedder(backbone="test_resnet", dim=8, classes=3, weights="none", stride="none", image_size=32, **settings)


def test_the_head_uses_the_whole_batch():
    photos = torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8)
    whole, chunked = small(), small()
    for model in (whole, chunked):
        model.train()
        model.freeze_batchnorm("statistics")
    chunked.set_micro_batch(3, "statistics")
    outputs = [model(photos) for model in (whole, chunked)]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*outputs, strict=True))
    assert torch.allclose(whole.head[0].running_var, chunked.head[0].running_var, rtol=1e-4)


@pytest.mark.parametrize("backbone", ["test_resnet", "efficientnet_lite0"])
def test_batchnorm_statistics_per_micro_batch_are_an_error(backbone):
    model = Embedder(backbone=backbone, dim=8, weights="none", stride="none", image_size=32)
    with pytest.raises(ValueError, match=r"--micro_batch 4 would give .* its own BatchNorm statistics.*--freeze_bn"):
        model.set_micro_batch(4, "none")
    model.set_micro_batch(0, "none")
    model.set_micro_batch(4, "all")


def test_a_backbone_without_statistics_needs_no_frozen_batchnorm():
    Embedder(backbone="convnext_atto", dim=8, weights="none", stride="none", image_size=32).set_micro_batch(4, "none")
