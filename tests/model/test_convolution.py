import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from pairlens.model.convolution import Geometry, convolve

# Name: input channels, output channels, kernel (height, width), size of the map, geometry.
CASES = {
    "pointwise": (6, 4, (1, 1), 7, Geometry()),
    "full": (4, 6, (5, 5), 9, Geometry(padding=(2, 2))),
    "in two groups": (4, 6, (5, 5), 9, Geometry(padding=(2, 2), groups=2)),
    "depthwise 3 x 3": (4, 4, (3, 3), 8, Geometry(padding=(1, 1), groups=4)),
    "depthwise 5 x 5": (4, 4, (5, 5), 8, Geometry(padding=(2, 2), groups=4)),
    "depthwise 7 x 7": (4, 4, (7, 7), 9, Geometry(padding=(3, 3), groups=4)),
    "depthwise 2 x 4": (4, 4, (2, 4), 9, Geometry(padding=(0, 1), groups=4)),
    "depthwise of stride 2": (4, 4, (5, 5), 11, Geometry((2, 2), (2, 2), groups=4)),
    "depthwise of stride 2 that misses the last column": (4, 4, (5, 5), 10, Geometry((2, 2), (0, 0), groups=4)),
    "depthwise with much padding": (4, 4, (5, 5), 4, Geometry(padding=(5, 5), groups=4)),
    "depthwise and dilated": (4, 4, (5, 5), 12, Geometry(padding=(2, 2), dilation=(2, 2), groups=4)),
    "depthwise with several outputs": (4, 8, (5, 5), 8, Geometry(padding=(2, 2), groups=4)),
}


def tensors(case, dtype):
    channels, outputs, kernel, size, geometry = CASES[case]
    torch.manual_seed(0)
    maps = torch.randn(2, channels, size, size, dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.randn(outputs, channels // geometry.groups, *kernel, dtype=dtype)
    bias = torch.randn(outputs, dtype=dtype)
    return [t.requires_grad_() for t in (maps, weight, bias)], geometry


def _plain(maps, weight, bias, geometry):
    return F.conv2d(maps, weight, bias, *geometry)


def gradients(function, inputs, geometry):
    outputs = function(*inputs, geometry)
    factors = torch.linspace(-1, 1, outputs.numel(), dtype=outputs.dtype).view_as(outputs)
    return [outputs, *torch.autograd.grad((outputs * factors).sum(), inputs)]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_the_gradient_equals_that_of_pytorch_within_rounding(case, dtype, tolerance):
    inputs, geometry = tensors(case, dtype)
    ours = gradients(convolve, inputs, geometry)
    plain = gradients(_plain, inputs, geometry)
    for one, other in zip(ours, plain, strict=True):
        assert one.shape == other.shape
        assert (one - other).norm() <= tolerance * other.norm()


@pytest.mark.parametrize("case", ["depthwise 5 x 5", "depthwise of stride 2"])
def test_second_derivatives_are_right(case):
    inputs, geometry = tensors(case, torch.float64)
    small = [inputs[0][:1, :, :6, :6].detach().requires_grad_(), *inputs[1:]]
    assert torch.autograd.gradgradcheck(lambda maps, weight, bias: convolve(maps, weight, bias, geometry), small)


def test_a_frozen_weight_passes_the_gradient_on_to_the_map():
    (maps, weight, _), geometry = tensors("depthwise 5 x 5", torch.float32)
    convolve(maps, weight.detach(), None, geometry).sum().backward()
    assert maps.grad is not None
    assert weight.grad is None


def test_a_padding_may_be_a_word():
    (maps, weight, bias), geometry = tensors("depthwise 5 x 5", torch.float32)
    words = geometry._replace(padding="same")
    assert torch.equal(convolve(maps, weight, bias, words), convolve(maps, weight, bias, geometry))


@pytest.mark.parametrize("case", ["pointwise", "depthwise 5 x 5", "depthwise of stride 2"])
def test_autocast_computes_in_bfloat16_with_gradients_in_float32(case):
    inputs, geometry = tensors(case, torch.float32)
    exact = gradients(convolve, inputs, geometry)
    with torch.autocast("cpu", torch.bfloat16):
        half = gradients(convolve, inputs, geometry)
    assert half[0].dtype == torch.bfloat16
    for ours, reference in zip(half[1:], exact[1:], strict=True):
        assert ours.dtype == torch.float32
        # bfloat16 has 8 bits.
        assert (ours - reference).norm() <= 2**-6 * reference.norm()


def test_autocast_leaves_float64_as_it_is():
    inputs, geometry = tensors("depthwise 5 x 5", torch.float64)
    exact = gradients(convolve, inputs, geometry)
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.equal(*both) for both in zip(gradients(convolve, inputs, geometry), exact, strict=True))


def test_a_wide_depthwise_gradient_is_computed_in_pieces_of_three_columns(monkeypatch):
    widths = []
    native = torch.ops.aten.convolution_backward

    def watch(*given):
        widths.append(given[2].shape[3])
        return native(*given)

    monkeypatch.setattr("torch.ops.aten.convolution_backward", watch)
    inputs, geometry = tensors("depthwise 5 x 5", torch.float32)
    gradients(convolve, inputs, geometry)
    # The gradient of the map, then two pieces of that of the weight.
    assert widths == [5, 3, 3]


def test_torch_func_differentiates_it():
    inputs, geometry = tensors("depthwise 5 x 5", torch.float64)
    maps, weight, bias = (t.detach() for t in inputs)

    def total(kernel: torch.Tensor) -> torch.Tensor:
        return convolve(maps, kernel, bias, geometry).square().sum()

    layer = nn.Parameter(weight.clone())
    (expected,) = torch.autograd.grad(total(layer), layer)
    assert torch.allclose(torch.func.grad(total)(weight), expected)


class Recorded(TorchDispatchMode):
    """Records which operations run."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(function.name())
        return function(*args, **(kwargs or {}))


@pytest.fixture
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def has_onednn():
    return torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability().startswith("AVX")


@pytest.mark.parametrize("threads", [1], indirect=True)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("photos", [0, 1, 15, 16])
def test_without_a_gradient_in_one_thread(threads, case, with_bias, photos):
    (maps, weight, bias), geometry = tensors(case, torch.float32)
    maps, bias = maps[:1].detach().expand(photos, -1, -1, -1), bias if with_bias else None
    with torch.no_grad(), Recorded() as recorded:
        found = convolve(maps, weight, bias, geometry)
    used = "aten::mkldnn_convolution" in recorded.names
    assert used == (has_onednn() and 0 < photos < 16)
    expected = F.conv2d(maps.double(), weight.double(), None if bias is None else bias.double(), *geometry)
    assert found.shape == expected.shape
    assert (found - expected).norm() <= 2e-6 * expected.norm()


@pytest.mark.parametrize("threads", [1, 2], indirect=True)
@pytest.mark.parametrize(
    ("dtype", "context"),
    [
        (torch.float64, torch.no_grad()),
        (torch.bfloat16, torch.no_grad()),
        (torch.float32, torch.autocast("cpu", torch.bfloat16)),
    ],
    ids=["float64", "bfloat16", "autocast"],
)
def test_elsewhere_pytorch_chooses_the_kernel(threads, dtype, context):
    (maps, weight, bias), geometry = tensors("pointwise", dtype)
    with torch.no_grad(), context, Recorded() as recorded:
        convolve(maps, weight, bias, geometry)
    assert "aten::mkldnn_convolution" not in recorded.names


@pytest.mark.parametrize("threads", [1], indirect=True)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "trained", [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]
)
def test_with_a_gradient_in_one_thread_the_result_is_the_same(threads, case, trained):
    inputs, geometry = tensors(case, torch.float32)
    with torch.no_grad():
        expected = convolve(*inputs, geometry)
    given = [tensor.detach().requires_grad_(wanted) for tensor, wanted in zip(inputs, trained, strict=True)]
    found = convolve(*given, geometry)
    assert (found - expected).norm() <= 2e-6 * expected.norm()
    ours = torch.autograd.grad(found.sum(), [one for one in given if one.requires_grad])
    theirs = torch.autograd.grad(_plain(*given, geometry).sum(), [one for one in given if one.requires_grad])
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).norm() <= 2e-6 * other.norm()


@pytest.mark.parametrize("threads", [2], indirect=True)
def test_with_several_threads_pytorch_uses_onednn_by_itself(threads):
    (maps, weight, bias), geometry = tensors("pointwise", torch.float32)
    with torch.no_grad(), Recorded() as recorded:
        found = convolve(maps, weight, bias, geometry)
    assert "aten::convolution" in recorded.names
    torch.testing.assert_close(found, F.conv2d(maps, weight, bias, *geometry))


def test_a_padding_that_is_a_word():
    (maps, weight, bias), _ = tensors("full", torch.float32)
    with torch.no_grad():
        found = convolve(maps, weight, bias, Geometry(padding="same"))
    torch.testing.assert_close(found, F.conv2d(maps, weight, bias, padding="same"))
