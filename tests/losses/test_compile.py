"""Every loss is traced as one graph, without graph breaks and without operations that would synchronise with a GPU."""

import re
import shutil

import pytest
import torch

from pairlens.losses import Circle
from support.loss_cases import CASES, CLASSES, DIM, criterion

# Parts of the names of operations that read values back from a GPU.
SYNCHRONISING = {
    "item",
    "_local_scalar_dense",
    "nonzero",
    "unique",
    "bincount",
    "masked_select",
    "is_nonzero",
    "tolist",
}


def _kind(loss, source):
    # What a memory adds is in the criterion, and the same for all losses that read references the same way.
    return (type(loss).__base__ if source == "memory" else type(loss)), source


# Each kind of loss is traced once with the batch and with proxies, in the first of its settings.
TRACED = list({_kind(*case): case for case in reversed(CASES)}.values())


@pytest.mark.parametrize(("loss", "source"), TRACED, ids=str)
def test_one_graph_without_data_dependent_shapes_gives_the_eager_value_and_gradient(loss, source):
    torch._dynamo.reset()
    points = torch.randn(24, DIM, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.arange(24) % CLASSES
    graphs = []

    def collect(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(criterion(loss, source), fullgraph=True, backend=collect, dynamic=False)
    value = compiled(points, labels)
    expected = criterion(loss, source)(points, labels)
    assert torch.allclose(value, expected, rtol=1e-5, atol=1e-6)
    gradient, expected_gradient = (torch.autograd.grad(v, points)[0] for v in (value, expected))
    assert torch.allclose(gradient, expected_gradient, rtol=1e-3, atol=1e-5)
    assert len(graphs) == 1
    words = {word for node in graphs[0].graph.nodes for word in re.split(r"[^a-z_]", str(node.target))}
    assert not words & SYNCHRONISING
    # The compiler of PyTorch 2.11 fails at a view of a boolean mask as bytes.
    assert not any(node.target == "view" and torch.uint8 in node.args for node in graphs[0].graph.nodes)


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_the_compiler_itself_agrees(backend):
    """One loss through the compiler's own autograd, and through the code that it generates."""
    if backend == "inductor" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("the code that torch.compile generates for a CPU needs a C++ compiler")
    torch._dynamo.reset()
    points = torch.randn(24, DIM).requires_grad_()
    labels = torch.arange(24) % CLASSES
    compiled = torch.compile(criterion(Circle(), "batch"), fullgraph=True, backend=backend)
    value, expected = compiled(points, labels), criterion(Circle(), "batch")(points, labels)
    assert torch.allclose(value, expected, rtol=1e-5)
    assert torch.allclose(*(torch.autograd.grad(v, points)[0] for v in (value, expected)), atol=1e-5)
