"""What runs on a GPU mixes no devices and reads nothing back, which a machine without a GPU can tell as well."""

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d, SyncBatchNormAct

from losses.test_miners import MINERS
from pairlens.losses import Circle, Margin, SoftTriple
from pairlens.losses.protocols import is_embedding_loss
from pairlens.model.batchnorm import synchronize_batchnorm
from pairlens.model.embedder import Embedder
from pairlens.training.criterion import Criterion
from pairlens.training.fit import Learner, Objective, training_step
from pairlens.training.optimizers import make_optimizer, make_schedule
from pairlens.training.references import Memory
from support.fake_gpu import FAKE_GPU, MixedDevicesError, fake_gpu
from support.loss_cases import BATCH, CASES, CLASSES, DIM, criterion

PHOTOS = 24


def batch(count=PHOTOS):
    points = torch.empty(count, DIM, device=FAKE_GPU, requires_grad=True)
    return points, torch.empty(count, dtype=torch.long, device=FAKE_GPU)


@pytest.mark.parametrize(("loss", "source"), CASES, ids=str)
def test_every_loss_goes_forward_and_backward_without_waiting(loss, source):
    made, (points, labels) = criterion(loss, source).to(FAKE_GPU), batch()
    with fake_gpu():
        for _ in range(2):
            value = made(points, labels)
            value.backward()
    assert (value.device, value.dtype) == (FAKE_GPU, torch.float32)
    assert points.grad.device == FAKE_GPU
    assert all(parameter.grad.device == FAKE_GPU for parameter in made.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("loss", "source"), CASES, ids=str)
def test_a_loss_of_half_precision_embeddings_does_not_wait_either(loss, source, dtype):
    made, (points, labels) = criterion(loss, source).to(FAKE_GPU), batch()
    with fake_gpu():
        value = made(points.to(dtype), labels)
        value.backward()
    assert (value.device, value.dtype) == (FAKE_GPU, torch.float32)


@pytest.mark.parametrize("miner", MINERS, ids=str)
def test_every_miner_chooses_without_waiting(miner):
    points, labels = batch()
    for loss in BATCH:
        if is_embedding_loss(loss):
            continue
        made = Criterion(loss, miner=miner, classes=CLASSES).to(FAKE_GPU)
        with fake_gpu():
            made(points, labels).backward()


def test_a_memory_turns_round_warms_up_and_stands_still_without_waiting():
    memory = Memory(size=60, dim=DIM, warm_up=1).to(FAKE_GPU)
    made, (points, labels) = Criterion(Circle(), memory), batch()
    with fake_gpu():
        for _ in range(4):
            made(points, labels).backward()
        assert (memory.place, memory.filled, memory.seen) == (4 * PHOTOS % 60, 60, 4)
        made.eval()(points, labels).backward()
    assert memory.vectors.device == memory.labels.device == FAKE_GPU


class Recorder:
    """Stands in the place of the step of a fused optimizer, which PyTorch does not have for tensors without numbers."""

    def __init__(self, optimizer):
        self.optimizer, self.found = optimizer, []

    def __call__(self):
        self.found.append(self.optimizer.found_inf)


def learner(loss, source="batch", classes=CLASSES, miner=None):
    model = Embedder(
        backbone="test_resnet", descriptors="SG", dim=DIM, classes=classes, weights="none", stride="none", image_size=32
    )
    made = criterion(loss, source)
    optimizer = make_optimizer(model, made, learning_rate=1e-3, proxy_learning_rate=1e-2, weight_decay=0.0)
    made.miner = miner
    whole = Learner(model.to(FAKE_GPU), made.to(FAKE_GPU), optimizer, make_schedule(optimizer, 3))
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
def test_a_step_of_training_does_not_wait(name):
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
    found = made.optimizer.step.found
    assert [(one.device, one.dtype, one.shape) for one in found] == [(FAKE_GPU, torch.float32, torch.Size())] * 2


@pytest.mark.parametrize(("objective", "probe"), [(Objective(on_nan="skip"), False), (Objective(), True)])
def test_a_step_that_has_to_look_at_its_gradient_reads_it(objective, probe):
    pixels = torch.empty(PHOTOS, 3, 32, 32, dtype=torch.uint8, device=FAKE_GPU)
    made = learner(Circle())
    with fake_gpu(), pytest.raises((RuntimeError, NotImplementedError), match="meta tensor"):
        training_step(made, objective, pixels, torch.empty(PHOTOS, dtype=torch.long, device=FAKE_GPU), probe)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_efficientnet"])
def test_batchnorm_is_joined_once_and_keeps_its_activation(backbone):
    network = Embedder(backbone=backbone, weights="none", stride="none", image_size=32, dim=8).to(FAKE_GPU).backbone
    norms = [type(module) for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    joined = [SyncBatchNormAct if norm is BatchNormAct2d else torch.nn.SyncBatchNorm for norm in norms]
    with fake_gpu():
        for _ in range(2):
            synchronize_batchnorm(network)
            assert [
                type(module) for module in network.modules() if isinstance(module, torch.nn.SyncBatchNorm)
            ] == joined


def test_a_fused_optimizer_takes_what_is_said_of_a_step_on_its_own_device():
    from torch._subclasses import FakeTensorMode

    from pairlens.training.fit import _check_finite

    with FakeTensorMode(), torch.device("cuda"):
        model = Embedder(backbone="test_resnet", weights="none", stride="none", image_size=32, dim=8)
        made = criterion(SoftTriple(), "proxies")
        optimizer = make_optimizer(
            model, made, kind="adam", learning_rate=1e-3, proxy_learning_rate=1e-2, weight_decay=0.0
        )
        steps = Learner(model, made, optimizer, make_schedule(optimizer, 3))
        for parameter in (*model.parameters(), *made.parameters()):
            parameter.grad = torch.zeros_like(parameter)
        for _ in range(2):
            norm = _check_finite(steps, Objective(), torch.zeros(()))
            optimizer.step()
        kept = {value.device.type for state in optimizer.state.values() for value in state.values()}
    assert kept == {norm.device.type} == {"cuda"}


READS = {
    "a number": lambda x: x.sum().item(),
    "a truth": lambda x: bool((x > 0).any()),
    "a list": lambda x: x.tolist(),
    "places": lambda x: x.nonzero(),
    "a mask": lambda x: x[x > 0],
    "different values": lambda x: x.unique(),
    "how many of each": lambda x: torch.bincount(x.long()[0]),
    "to the CPU": lambda x: x.cpu(),
}
MIXES = {
    "a tensor of the CPU": lambda x: x + torch.ones(3),
    "an index of the CPU": lambda x: x[torch.arange(2)],
    "a place of the CPU written to": lambda x: x.__setitem__((torch.arange(2), torch.arange(2, device=x.device)), 1.0),
    "from the CPU": lambda x: torch.ones(3).to(x.device),
    "a buffer of the CPU copied": lambda x: x.copy_(torch.ones(4, 3)),
}
# PyTorch 2.11 does not show these two, so there they go unnoticed.
if torch.__version__ >= "2.15":
    MIXES |= {
        "a list as index": lambda x: x[[0, 1]],
        "a number copied": lambda x: x * torch.tensor(2.0, device=x.device),
    }


@pytest.mark.parametrize("name", READS)
def test_the_fake_gpu_notices_what_is_read(name):
    with fake_gpu(), pytest.raises((RuntimeError, NotImplementedError)):
        READS[name](torch.empty(4, 3, device=FAKE_GPU))


@pytest.mark.parametrize("name", MIXES)
def test_the_fake_gpu_notices_what_is_mixed_or_copied(name):
    with fake_gpu(), pytest.raises((MixedDevicesError, RuntimeError), match="device"):
        MIXES[name](torch.empty(4, 3, device=FAKE_GPU))


def test_the_fake_gpu_lets_numbers_and_its_own_tensors_through():
    x = torch.empty(4, 3, device=FAKE_GPU)
    with fake_gpu():
        assert x.is_cuda
        assert not torch.ones(1).is_cuda
        assert (x * 2 + torch.full((), 3.0) + torch.full((3,), 1.0, device=x.device)).device == FAKE_GPU
