"""Trainings for the tests of several processes, in a module that the processes can import."""

from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed as dist

from pairlens.core.distributed import all_reduce_sum, broadcast_text, gather_rows, rank, shard, world_size
from pairlens.losses import Circle, Margin, MultiSimilarity, ProxyAnchor, Triplet
from pairlens.losses.miners import DistanceWeighted
from pairlens.losses.third_party import wrap
from pairlens.model.embedder import Embedder
from pairlens.training.criterion import Criterion
from pairlens.training.fit import Epoch, fit
from pairlens.training.learner import Learner, Objective
from pairlens.training.optimizers import OptimizerConfig, make_optimizer, make_schedule
from pairlens.training.references import CrossBatchMemory, InBatch, Proxies

LABELS = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
STEPS, EPOCHS, DIM = 3, 2, 8


@dataclass(frozen=True)
class Case:
    """One training: a loss with its references, and the settings that several ranks must treat alike."""

    loss: object
    references: str = "batch"
    miner: object = None
    head: bool = True
    backbone: str = "test_resnet"
    dtype: torch.dtype = torch.float64
    optimizer: str = "sgd"
    broken: int | None = None
    objective: Objective = Objective()


class Weighted(torch.nn.Module):
    """A third-party loss of embeddings with a parameter."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(DIM))

    def forward(self, embeddings, labels):
        return ((embeddings * self.scale) @ embeddings.T).logsumexp(dim=1).mean()


CASES = {
    "batch": Case(Triplet(margin=0.3)),
    "adam": Case(Circle(), optimizer="adam"),
    "memory": Case(MultiSimilarity(), "memory"),
    "proxies": Case(ProxyAnchor(), "proxies"),
    "learned": Case(Margin(), miner=DistanceWeighted(dim=DIM), head=False),
    "wrapped": Case("wrapped"),
    "batchnorm": Case(Circle(gamma=16), objective=Objective(freeze_bn="none")),
    "batchnorm with activation": Case(
        Circle(gamma=16), backbone="test_efficientnet", objective=Objective(freeze_bn="none")
    ),
    "warm-up and clipping": Case(Triplet(margin=0.3), objective=Objective(warm_up=1, clip_value=1e-3)),
    "idle parameters": Case(Triplet(margin=0.3), backbone="test_convnext"),
    "chunks": Case(Triplet(margin=0.3), objective=Objective(micro_batch=3)),
    "skipped": Case(Triplet(margin=0.3), "memory", broken=6, objective=Objective(on_nan="skip")),
    "bfloat16": Case(Triplet(margin=0.3), dtype=torch.float32, objective=Objective(precision="bfloat16")),
}


class Photos:
    """Three batches of noise per epoch, of which each rank has its shard; one photo of the second batch may be NaN."""

    def __init__(self, case):
        self.case = case

    def __len__(self):
        return STEPS

    def epoch(self, number, start=0):
        rng = torch.Generator().manual_seed(number)
        own_shard = shard(len(LABELS), rank(), world_size())
        for step in range(STEPS):
            pixels = torch.rand(len(LABELS), 3, 32, 32, generator=rng).to(self.case.dtype)
            if step == 1 and self.case.broken is not None:
                pixels[self.case.broken] = torch.nan
            if step >= start:
                yield pixels[own_shard], LABELS[own_shard], torch.arange(len(LABELS))[own_shard]


def learner_of(case):
    torch.manual_seed(0)
    model = Embedder(
        backbone=case.backbone,
        descriptors="SG",
        dim=DIM,
        classes=4 if case.head else 0,
        weights="none",
        stride="none",
        image_size=32,
        learn_power=True,
    ).to(case.dtype)
    loss = wrap(Weighted()) if case.loss == "wrapped" else case.loss
    references = {"batch": InBatch, "memory": lambda: CrossBatchMemory(20, DIM), "proxies": lambda: Proxies(4, DIM)}
    criterion = Criterion(loss, references[case.references](), case.miner, classes=4).to(case.dtype)
    optimizer = make_optimizer(
        model,
        criterion,
        OptimizerConfig(name=case.optimizer, learning_rate=1e-2, proxy_learning_rate=1e-2, weight_decay=0.0),
    )
    return Learner(model, criterion, optimizer, make_schedule(optimizer, EPOCHS))


def train(case):
    """Return the whole result of a training as tensors by name."""
    learner = learner_of(case)
    epochs = [record for record in fit(learner, Photos(case), case.objective, EPOCHS) if isinstance(record, Epoch)]
    result = {**learner.model.state_dict(), **{f"criterion.{n}": t for n, t in learner.criterion.state_dict().items()}}
    result = {name: tensor for name, tensor in result.items() if isinstance(tensor, torch.Tensor)}
    result["record"] = torch.tensor([[e.loss, e.ranking, e.accuracy, e.gradient_cosine, e.skipped] for e in epochs])
    result["embeddings"], result["labels"] = epochs[-1].embeddings, epochs[-1].labels
    return result


def exchange():
    """Return the results of each communication function, called with different values on each rank."""
    rows = torch.full((rank() + 1, 2), float(rank()))
    return {
        "rows": gather_rows(rows),
        "total": all_reduce_sum(rows.sum()),
        "text": torch.tensor([*broadcast_text(f"é{rank()}").encode()]),
        "nothing": torch.tensor([*broadcast_text("").encode()]),
    }


@contextmanager
def group(number, count, folder):
    """Join the process group of all processes that use the same folder."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=number, world_size=count)
    try:
        yield
    finally:
        dist.destroy_process_group()


def train_all(number, count, folder):
    """Train every case as one of `count` ranks, and write the results into the folder."""
    torch.set_num_threads(1)
    with group(number, count, folder):
        result = {name: train(case) for name, case in CASES.items()} | {"ranks": exchange()}
    torch.save(result, f"{folder}/rank{number}.pt")
