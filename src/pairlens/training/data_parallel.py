"""Several processes learn from one batch, each from its share of it, and all learn what one would from the whole.

What is large (the backbone) runs on each rank's share alone; what is small (embeddings, loss, auxiliary head) is computed
on every rank from the whole batch. So every loss, miner and memory sees what it would see in one process.
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from pairlens.core.distributed import all_reduce_sum, gather_equal_rows, rank, shard, world_size
from pairlens.model.batchnorm import synchronize_batchnorm
from pairlens.model.embedder import Embedder, FreezeBN
from pairlens.training.criterion import Criterion

# Buffers are the same on all ranks by themselves, and need not be sent at every step; PyTorch 2.15 has a new word for it.
_NEWER = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
_KEEP_BUFFERS: dict[str, Any] = {"forward_sync_buffers" if _NEWER else "broadcast_buffers": False}


def gather_with_gradient(rows: Tensor) -> Tensor:
    """Return the rows of every rank, in the order of the ranks; a rank's own rows get their gradient, times the ranks.

    Every rank computes the same loss of the same joined rows, so the gradient of its own is in its own graph already, and
    needs no sending. `DistributedDataParallel` takes the mean of the parameters' gradients over the ranks; as each rank
    has a part of their sum, the part is multiplied by the number of ranks before.

    Args:
        rows: (row, ...), equally many on every rank.

    >>> gather_with_gradient(torch.eye(2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    return rows if world_size() == 1 else _Gather.apply(rows)  # pyright: ignore[reportReturnType]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        return gather_equal_rows(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0][shard(len(gradients[0]), rank(), world_size())] * world_size()


@dataclass(frozen=True, eq=False)
class Network:
    """A model that is fed each rank's share of a batch and gives the embeddings of the whole; made by `wrap_ddp`.

    Attributes:
        model: the parameters, the same on every rank.
        local: what runs on the share, (photo, ...) -> embeddings and first descriptor; DDP adds up its gradients.
    """

    model: Embedder
    local: Callable[[Tensor], tuple[Tensor, Tensor]]

    def __call__(self, photos: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return (photo, dim) embeddings and (photo, class) logits of the photos of all ranks."""
        if world_size() == 1:
            return self.model(photos)
        embeddings, first = self.local(photos)
        logits = None if self.model.head is None else self.model.head(gather_with_gradient(first))
        return gather_with_gradient(embeddings), logits

    def all_reduce_gradients(self, criterion: Criterion) -> None:
        """Take the mean over the ranks of the gradients of what is computed on each; to be called after `backward`.

        They are equal but for the last bit, which a GPU leaves to chance; without this the ranks would drift apart.
        """
        if world_size() == 1:
            return
        gradients = [p.grad for p in _everywhere(self.model, criterion) if p.grad is not None]
        if gradients:
            mean = all_reduce_sum(torch.cat([gradient.flatten() for gradient in gradients])) / world_size()
            for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(part.view_as(gradient))


def wrap_ddp(model: Embedder, criterion: Criterion, freeze_bn: FreezeBN = "none") -> Network:
    """Return a model ready to be trained by all ranks, which start from the state of rank 0, its random numbers too.

    To be called anew when other parameters learn than before. With freeze_bn "none" the statistics of the backbone's
    BatchNorm are those of the whole batch. Dropout, of which our backbones have none, is another than in one process.

    Args:
        model: on this rank's device, in training mode, as of this epoch.
        criterion: what is learned beside it.
        freeze_bn: what of BatchNorm stands still.
    """
    if world_size() == 1:
        return Network(model, model.describe)
    if freeze_bn == "none":
        synchronize_batchnorm(model.backbone)
    device = next(model.parameters()).device
    _start_alike([*_everywhere(model, criterion), *model.buffers(), *criterion.buffers()])
    _draw_alike(device)
    local = _Local(model)
    return Network(
        model,
        DistributedDataParallel(
            local,
            device_ids=[device.index] if device.type == "cuda" else None,
            find_unused_parameters=_has_idle(local, model.architecture.image_size, device),
            **_KEEP_BUFFERS,
        ),
    )


class _Local(nn.Module):
    """What of a model runs on a share of the batch: all but the head."""

    def __init__(self, model: Embedder) -> None:
        super().__init__()
        self.backbone, self.descriptors, self.projections = model.backbone, model.descriptors, model.projections
        self.describe = model.describe

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        return self.describe(photos)


def _everywhere(model: Embedder, criterion: Criterion) -> list[nn.Parameter]:
    head = [] if model.head is None else list(model.head.parameters())
    return [*head, *criterion.parameters()]


def _start_alike(tensors: Iterable[Tensor]) -> None:
    for tensor in tensors:
        dist.broadcast(tensor.detach(), 0)


def _draw_alike(device: torch.device) -> None:
    """Give each rank the random numbers of rank 0: those of the CPU, and those of a GPU, from which a miner draws there."""
    for source in (torch, torch.cuda) if device.type == "cuda" else (torch,):
        state = source.get_rng_state()
        dist.broadcast(state, 0)
        source.set_rng_state(state)


def _has_idle(local: _Local, image_size: int, device: torch.device) -> bool:
    """Whether the network has learning parameters without use, such as timm's norm before a head; DDP must know."""
    learning = [parameter for parameter in local.parameters() if parameter.requires_grad]
    modes = {module: module.training for module in local.modules()}
    local.eval()
    # Not compiled: that would take longer than all this, for a batch of one photo that never comes again.
    with torch.compiler.set_stance("force_eager"):
        embeddings, first = local(torch.zeros(1, 3, image_size, image_size, device=device, dtype=learning[0].dtype))
    found = torch.autograd.grad(embeddings.sum() + first.sum(), learning, allow_unused=True)
    for module, mode in modes.items():
        module.training = mode
    return any(gradient is None for gradient in found)
