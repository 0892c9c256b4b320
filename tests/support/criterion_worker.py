"""Losses of a criterion in a training loop of one's own, with one and with two ranks."""

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pairlens.core.distributed import rank, world_size
from pairlens.losses import Circle, Margin, MultiSimilarity, ProxyAnchor, SoftTriple, Triplet
from pairlens.losses.miners import DistanceWeighted
from pairlens.losses.third_party import wrap
from pairlens.training.criterion import Criterion
from pairlens.training.references import CrossBatchMemory, Proxies
from support.ddp_worker import group

DIM, CLASSES, STEPS = 6, 3, 3
LABELS = torch.tensor([0, 0, 1, 2, 0, 1, 1, 2, 2, 0])
WEIGHTS = torch.linspace(0.5, 2, len(LABELS), dtype=torch.float64)


class Weighted:
    """A function of embeddings that needs a weight of each photo."""

    needs = ("weight",)

    def __call__(self, embeddings, labels, weight):
        similar = torch.nn.functional.normalize(embeddings, dim=1) @ embeddings.T
        return ((similar - (labels[:, None] == labels).double()) ** 2 * weight[:, None] * weight).mean()


class WeightedLoss(Weighted):
    """The same as a loss of embeddings."""

    def of_embeddings(self, embeddings, labels, weight):
        return self(embeddings, labels, weight)


class WeightedPairs:
    """A function of similarities and pairs that needs a weight of each anchor."""

    needs = ("weight",)

    def __call__(self, similarity, pairs, weight):
        return (similarity * pairs.negative * weight[:, None]).sum() - (similarity * pairs.positive).sum()


# The shares of the two ranks differ where the batch has 10 photos and the first rank takes 6 of them.
CASES = {
    "triplet": lambda: Criterion(Triplet(margin=0.3)),
    "circle": lambda: Criterion(Circle(gamma=16)),
    "memory": lambda: Criterion(MultiSimilarity(), CrossBatchMemory(25, DIM)),
    "proxies": lambda: Criterion(ProxyAnchor(), Proxies(CLASSES, DIM)),
    "centres": lambda: Criterion(SoftTriple(centers=2), Proxies(CLASSES, DIM, 2)),
    "learned, mined": lambda: Criterion(Margin(), miner=DistanceWeighted(dim=DIM), classes=CLASSES),
    "weighted": lambda: Criterion(WeightedLoss()),
    "weighted function": lambda: Criterion(wrap(Weighted())),
    "weighted pairs": lambda: Criterion(WeightedPairs()),
    "not gathered": lambda: Criterion(Triplet(margin=0.3), gather=False),
}


def train(case, first_share=6):
    """Train a linear model for some steps; returns the gradients, the losses and what the criterion holds."""
    # The proxies of the second rank would be others without the criterion's help.
    torch.manual_seed(rank())
    criterion = CASES[case]().double()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, DIM)).double()
    trained = DistributedDataParallel(model) if world_size() > 1 else model
    shares = [slice(0, first_share), slice(first_share, len(LABELS))]
    own = shares[rank()] if world_size() > 1 else slice(None)
    optimizer = torch.optim.SGD([*model.parameters(), *criterion.parameters()], lr=0.1)
    gradients, losses = [], []
    for step in range(STEPS):
        photos = torch.randn(len(LABELS), 5, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
        optimizer.zero_grad()
        loss = criterion(trained(photos[own]), LABELS[own], extra={"weight": WEIGHTS[own], "other": LABELS[own]})
        loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in (*model.parameters(), *criterion.parameters())]))
        losses.append(loss.detach())
        optimizer.step()
    held = {name: value for name, value in criterion.state_dict().items() if isinstance(value, torch.Tensor)}
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    return {"gradients": torch.stack(gradients), "losses": torch.stack(losses), "weights": weights, **held}


def train_all(number, count, folder):
    """Train every case as one of `count` ranks, with equal and unequal shares, and write the results into the folder."""
    torch.set_num_threads(1)
    with group(number, count, folder):
        result = {(case, share): train(case, share) for case in CASES for share in (5, 6)}
    torch.save({f"{case} {share}": values for (case, share), values in result.items()}, f"{folder}/rank{number}.pt")
