"""Data-parallel training: several ranks train on shards of one batch with the result of one process on the whole batch.

The backbone, which is expensive, runs on the shard of each rank. The embeddings are then gathered, and the loss and the
auxiliary head, which are cheap, are computed on every rank from the whole batch. So every loss, miner and memory sees the
same as in one process.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from pairlens.core.distributed import all_reduce_sum, world_size
from pairlens.model.batchnorm import synchronize_batchnorm
from pairlens.model.embedder import Embedder, FreezeBN
from pairlens.model.evaluation_mode import in_evaluation_mode
from pairlens.training.criterion import Criterion
from pairlens.training.gather import broadcast_from_first, gather_with_gradient

# The buffers of all ranks stay equal by themselves and need not be sent at every step. PyTorch 2.15 renamed this option.
_IS_RENAMED = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
_KEEP_BUFFERS: dict[str, Any] = {"forward_sync_buffers" if _IS_RENAMED else "broadcast_buffers": False}


@dataclass(frozen=True, eq=False)
class Network:
    """A model that takes the shard of each rank and returns the embeddings of the whole batch; made by `wrap_ddp`.

    Attributes:
        model: the model, with the same parameters on every rank.
        local: the part that runs on the shard: photos -> (embeddings, first descriptor); DDP reduces its gradients.
    """

    model: Embedder
    local: Callable[[Tensor], tuple[Tensor, Tensor]]

    def __call__(self, photos: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return (photo, dim) embeddings and (photo, class) logits of the photos of all ranks; no logits without a head."""
        if world_size() == 1:
            return self.model(photos)
        embeddings, first_descriptor = self.local(photos)
        # The head runs on the whole batch on every rank, because its BatchNorm takes the statistics of the whole batch.
        logits = None if self.model.head is None else self.model.head(gather_with_gradient(first_descriptor))
        return gather_with_gradient(embeddings), logits

    def all_reduce_gradients(self, criterion: Criterion) -> None:
        """Average over the ranks the gradients that every rank computes for itself (head and criterion), after `backward`.

        These gradients are equal except for rounding, which differs on GPUs from run to run; without the average the
        parameters of the ranks would drift apart.
        """
        if world_size() == 1:
            return
        gradients = [p.grad for p in _replicated_parameters(self.model, criterion) if p.grad is not None]
        if gradients:
            # All gradients in one message, which takes less time than a message for each.
            mean = all_reduce_sum(torch.cat([gradient.flatten() for gradient in gradients])) / world_size()
            parts = mean.split([gradient.numel() for gradient in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))


def wrap_ddp(model: Embedder, criterion: Criterion, freeze_bn: FreezeBN = "none") -> Network:
    """Return a model that all ranks train together, starting from the parameters and the random state of rank 0.

    To be called again whenever other parameters are frozen. With freeze_bn "none" the statistics of the backbone's BatchNorm
    are those of the whole batch. Dropout draws other masks than in one process.

    Args:
        model: on the device of this rank, in training mode, with the parameters of this epoch frozen.
        criterion: the loss, whose parameters are trained too.
        freeze_bn: what is frozen in the BatchNorm of the backbone.
    """
    # One process trains the model itself; DDP would only add overhead.
    if world_size() == 1:
        return Network(model, model.describe)
    if freeze_bn == "none":
        synchronize_batchnorm(model.backbone)
    device = next(model.parameters()).device
    # DDP broadcasts the parameters of its module itself; these are the others.
    broadcast_from_first([*_replicated_parameters(model, criterion), *model.buffers(), *criterion.buffers()])
    _broadcast_random_state(device)
    local = _Local(model)
    wrapped = DistributedDataParallel(
        local,
        device_ids=[device.index] if device.type == "cuda" else None,
        find_unused_parameters=_has_unused_parameters(local, model.architecture.image_size, device),
        **_KEEP_BUFFERS,
    )
    return Network(model, wrapped)


class _Local(nn.Module):
    """The part of a model that runs on the shard of a rank: everything except the head."""

    def __init__(self, model: Embedder) -> None:
        super().__init__()
        # Submodules, so that DDP finds their parameters; `describe` is what they compute.
        self.backbone = model.backbone
        self.descriptors = model.descriptors
        self.projections = model.projections
        self.describe = model.describe

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        return self.describe(photos)


def _replicated_parameters(model: Embedder, criterion: Criterion) -> list[nn.Parameter]:
    """Return the parameters that every rank trains on the whole batch, outside DDP."""
    head = [] if model.head is None else list(model.head.parameters())
    return [*head, *criterion.parameters()]


def _broadcast_random_state(device: torch.device) -> None:
    """Give each rank the random state of rank 0, on the CPU and on a GPU, so that a miner draws the same on all ranks."""
    for generator in (torch, torch.cuda) if device.type == "cuda" else (torch,):
        state = generator.get_rng_state()
        dist.broadcast(state, 0)
        generator.set_rng_state(state)


def _has_unused_parameters(local: _Local, image_size: int, device: torch.device) -> bool:
    """Whether some trained parameters do not contribute to the output, such as timm's norm before a head.

    DDP would wait for their gradients forever, and searching for them at each step takes time if there are none.
    """
    trained = [parameter for parameter in local.parameters() if parameter.requires_grad]
    photo = torch.zeros(1, 3, image_size, image_size, device=device, dtype=trained[0].dtype)
    # Not compiled, because that would take longer than everything here, for a batch of one photo that never occurs again.
    # In evaluation mode, so that the photo of zeros does not change the statistics of BatchNorm.
    with torch.compiler.set_stance("force_eager"), in_evaluation_mode(local):
        embeddings, first_descriptor = local(photo)
    gradients = torch.autograd.grad(embeddings.sum() + first_descriptor.sum(), trained, allow_unused=True)
    return any(gradient is None for gradient in gradients)
