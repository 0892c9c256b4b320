"""Code for a GPU mixes no devices and reads nothing back; a fake GPU checks that on any machine."""

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d, SyncBatchNormAct
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from losses.test_miners import MINERS
from pairlens.losses import Circle, Margin, SoftTriple
from pairlens.losses.protocols import is_embedding_loss
from pairlens.model.batchnorm import synchronize_batchnorm
from pairlens.model.embedder import Embedder
from pairlens.training.criterion import Criterion
from pairlens.training.learner import Learner, Objective
from pairlens.training.optimizers import OptimizerConfig, make_optimizer, make_schedule
from pairlens.training.references import CrossBatchMemory
from pairlens.training.training_step import _check_finite, training_step
from support.fake_gpu import FAKE_GPU, MixedDevicesError, fake_gpu, taken_for_gpu
from support.loss_cases import BATCH, CASES, CLASSES, DIM, criterion

PHOTOS = 24


def batch(count=PHOTOS):
    points = torch.empty(count, DIM, device=FAKE_GPU, requires_grad=True)
    return points, torch.empty(count, dtype=torch.long, device=FAKE_GPU)


@pytest.mark.parametrize(("loss", "source"), CASES, ids=str)
def test_no_loss_blocks_in_forward_or_backward(loss, source):
    made, (points, labels) = criterion(loss, source).to(FAKE_GPU), batch()
    with fake_gpu():
        for _ in range(2):
            value = made(points, labels)
            value.backward()
    assert (value.device, value.dtype) == (FAKE_GPU, torch.float32)
    assert points.grad.device == FAKE_GPU
    assert all(parameter.grad.device == FAKE_GPU for parameter in made.parameters())


@pytest.mark.parametrize(("loss", "source"), CASES, ids=str)
def test_the_gpu_branches_of_a_loss_have_the_value_and_gradient_of_the_cpu(loss, source):
    points = torch.randn(PHOTOS, DIM, dtype=torch.float64, requires_grad=True)
    expected = criterion(loss, source).double()(points, torch.arange(PHOTOS) % CLASSES)
    (gradient,) = torch.autograd.grad(expected, points)
    with taken_for_gpu(torch.device("cpu")):
        value = criterion(loss, source).double()(points, torch.arange(PHOTOS) % CLASSES)
        (other_gradient,) = torch.autograd.grad(value, points)
    assert torch.allclose(value, expected, rtol=1e-10)
    assert (other_gradient - gradient).norm() <= 1e-8 * gradient.norm()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("loss", "source"), CASES, ids=str)
def test_a_loss_of_half_precision_embeddings_does_not_block(loss, source, dtype):
    made, (points, labels) = criterion(loss, source).to(FAKE_GPU), batch()
    with fake_gpu():
        value = made(points.to(dtype), labels)
        value.backward()
    assert (value.device, value.dtype) == (FAKE_GPU, torch.float32)


class NoHalves(TorchDispatchMode):
    """Raises an error if an operation has a result in half precision."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        halves = [one for one in tree_leaves(out) if getattr(one, "dtype", None) in (torch.float16, torch.bfloat16)]
        assert not halves, f"{func} is computed in {halves[0].dtype}"
        return out


@pytest.mark.parametrize(("loss", "source"), CASES, ids=str)
def test_under_autocast_a_loss_computes_nothing_in_half_precision(loss, source):
    with FakeTensorMode(), torch.device("cuda"):
        made, points = criterion(loss, source), torch.empty(PHOTOS, DIM, requires_grad=True)
        torch.set_autocast_enabled("cuda", True)
        torch.set_autocast_dtype("cuda", torch.float16)
        try:
            with NoHalves():
                value = made(points, torch.zeros(PHOTOS, dtype=torch.long))
        finally:
            torch.set_autocast_enabled("cuda", False)
    assert (value.device.type, value.dtype) == ("cuda", torch.float32)


@pytest.mark.parametrize("miner", MINERS, ids=str)
def test_no_miner_blocks(miner):
    points, labels = batch()
    for loss in BATCH:
        if is_embedding_loss(loss):
            continue
        made = Criterion(loss, miner=miner, classes=CLASSES).to(FAKE_GPU)
        with fake_gpu():
            made(points, labels).backward()


def test_a_memory_never_blocks():
    memory = CrossBatchMemory(size=60, dim=DIM, warm_up=1).to(FAKE_GPU)
    made, (points, labels) = Criterion(Circle(), memory), batch()
    with fake_gpu():
        for _ in range(4):
            made(points, labels).backward()
        assert (memory.next_slot, memory.filled, memory.seen) == (4 * PHOTOS % 60, 60, 4)
        made.eval()(points, labels).backward()
    assert memory.vectors.device == memory.labels.device == FAKE_GPU


class Recorder:
    """Replaces the step of a fused optimizer, which PyTorch does not have for meta tensors, and records its flag."""

    def __init__(self, optimizer):
        self.optimizer, self.flags = optimizer, []

    def __call__(self):
        self.flags.append(self.optimizer.found_inf)


def learner(loss, source="batch", classes=CLASSES, miner=None):
    model = Embedder(
        backbone="test_resnet", descriptors="SG", dim=DIM, classes=classes, weights="none", stride="none", image_size=32
    )
    made = criterion(loss, source).to(FAKE_GPU)
    # Moved first: tensors of the fake GPU are new parameters, which the optimizer must have.
    model.to(FAKE_GPU)
    optimizer = make_optimizer(
        model, made, OptimizerConfig(learning_rate=1e-3, proxy_learning_rate=1e-2, weight_decay=0.0)
    )
    made.miner = miner
    whole = Learner(model, made, optimizer, make_schedule(optimizer, 3))
    optimizer.step = Recorder(optimizer)
    return whole


STEPS = {
    "stop": {"loss": Circle()},
    "memory": {"loss": Circle(), "source": "memory"},
    "proxies": {"loss": SoftTriple(), "source": "proxies"},
    "boundaries of classes": {"loss": Margin(), "miner": MINERS[3]},
    "without a head": {"loss": Circle(), "classes": 0},
    "clipping": {"loss": Circle(), "objective": Objective(clip_value=1.0)},
    "frozen BatchNorm": {"loss": Circle(), "objective": Objective(freeze_bn="all")},
    "free BatchNorm": {"loss": Circle(), "objective": Objective(freeze_bn="none")},
    "chunks": {"loss": Circle(), "objective": Objective(micro_batch=7)},
}


@pytest.mark.parametrize("name", STEPS)
def test_a_training_step_does_not_block(name):
    settings = dict(STEPS[name])
    objective = settings.pop("objective", Objective())
    made = learner(**settings)
    made.model.train().freeze_batchnorm(objective.freeze_bn)
    made.model.set_micro_batch(objective.micro_batch, objective.freeze_bn)
    pixels = torch.empty(PHOTOS, 3, 32, 32, dtype=torch.uint8, device=FAKE_GPU)
    labels = torch.empty(PHOTOS, dtype=torch.long, device=FAKE_GPU)
    with fake_gpu():
        learned = [training_step(made, objective, pixels, labels, probe=False) for _ in range(2)]
    assert {tensor.device for one in learned for tensor in (one.sums, one.embeddings, one.labels)} == {FAKE_GPU}
    assert learned[0].sums.shape == (6,)
    flags = made.optimizer.step.flags
    assert [(flag.device, flag.dtype, flag.shape) for flag in flags] == [(FAKE_GPU, torch.float32, torch.Size())] * 2


@pytest.mark.parametrize(("objective", "probe"), [(Objective(on_nan="skip"), False), (Objective(), True)])
def test_a_step_that_must_check_its_gradient_reads_it(objective, probe):
    pixels = torch.empty(PHOTOS, 3, 32, 32, dtype=torch.uint8, device=FAKE_GPU)
    made = learner(Circle())
    with fake_gpu(), pytest.raises((RuntimeError, NotImplementedError), match="meta tensor"):
        training_step(made, objective, pixels, torch.empty(PHOTOS, dtype=torch.long, device=FAKE_GPU), probe)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_efficientnet"])
def test_batchnorm_is_synchronized_once_and_keeps_its_activation(backbone):
    network = Embedder(backbone=backbone, weights="none", stride="none", image_size=32, dim=8).to(FAKE_GPU).backbone
    norms = [type(module) for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    joined = [SyncBatchNormAct if norm is BatchNormAct2d else torch.nn.SyncBatchNorm for norm in norms]
    with fake_gpu():
        for _ in range(2):
            synchronize_batchnorm(network)
            assert [
                type(module) for module in network.modules() if isinstance(module, torch.nn.SyncBatchNorm)
            ] == joined


def test_a_fused_optimizer_accepts_its_flag_on_the_device():
    with FakeTensorMode(), torch.device("cuda"):
        model = Embedder(backbone="test_resnet", weights="none", stride="none", image_size=32, dim=8)
        made = criterion(SoftTriple(), "proxies")
        optimizer = make_optimizer(
            model, made, OptimizerConfig(name="adam", learning_rate=1e-3, proxy_learning_rate=1e-2, weight_decay=0.0)
        )
        steps = Learner(model, made, optimizer, make_schedule(optimizer, 3))
        for parameter in (*model.parameters(), *made.parameters()):
            parameter.grad = torch.zeros_like(parameter)
        for _ in range(2):
            norm = _check_finite(steps, Objective(), torch.zeros(()))
            optimizer.step()
        devices = {value.device.type for state in optimizer.state.values() for value in state.values()}
    assert devices == {norm.device.type} == {"cuda"}


READS = {
    "a number": lambda x: x.sum().item(),
    "a truth value": lambda x: bool((x > 0).any()),
    "a list": lambda x: x.tolist(),
    "positions": lambda x: x.nonzero(),
    "a mask": lambda x: x[x > 0],
    "different values": lambda x: x.unique(),
    "how many of each": lambda x: torch.bincount(x.long()[0]),
    "to the CPU": lambda x: x.cpu(),
}
MIXES = {
    "a tensor of the CPU": lambda x: x + torch.ones(3),
    "an index of the CPU": lambda x: x[torch.arange(2)],
    "an index of the CPU written to": lambda x: x.__setitem__((torch.arange(2), torch.arange(2, device=x.device)), 1.0),
    "from the CPU": lambda x: torch.ones(3).to(x.device),
    "a buffer of the CPU copied": lambda x: x.copy_(torch.ones(4, 3)),
}
# PyTorch 2.11 does not dispatch these two operations, so the fake GPU cannot detect them.
if torch.__version__ >= "2.15":
    MIXES |= {
        "a list as index": lambda x: x[[0, 1]],
        "a number copied": lambda x: x * torch.tensor(2.0, device=x.device),
    }


@pytest.mark.parametrize("name", READS)
def test_the_fake_gpu_detects_reads(name):
    with fake_gpu(), pytest.raises((RuntimeError, NotImplementedError)):
        READS[name](torch.empty(4, 3, device=FAKE_GPU))


@pytest.mark.parametrize("name", MIXES)
def test_the_fake_gpu_detects_mixed_devices_and_copies(name):
    with fake_gpu(), pytest.raises((MixedDevicesError, RuntimeError), match="device"):
        MIXES[name](torch.empty(4, 3, device=FAKE_GPU))


def test_the_fake_gpu_accepts_numbers_and_its_own_tensors():
    x = torch.empty(4, 3, device=FAKE_GPU)
    with fake_gpu():
        assert x.is_cuda
        assert not torch.ones(1).is_cuda
        assert (x * 2 + torch.full((), 3.0) + torch.full((3,), 1.0, device=x.device)).device == FAKE_GPU
