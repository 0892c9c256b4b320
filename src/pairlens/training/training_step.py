"""One step of training: forward pass, losses, gradient, and the step of the optimizer if all of it is finite."""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn import functional as F
from torch.nn.utils import clip_grad_value_

from pairlens.core.distributed import gather_equal_rows
from pairlens.core.similarity import unit, working_precision
from pairlens.model.embedder import Embedder
from pairlens.training.divergence import check_finite_step, gradient_norm
from pairlens.training.gradient_cosine import gradient_cosine, watch_input
from pairlens.training.learner import Learner, Objective, Precision
from pairlens.training.precision import choose_precision


@dataclass(frozen=True, eq=False)
class StepOutcome:
    """The result of one step.

    Attributes:
        sums: (6,) number of photos; sums over them of total loss, ranking loss and correct predictions; the total loss and
            the norm of its gradient, which must be finite.
        embeddings: (photo, dim) embeddings of the batch.
        labels: (photo,) their labels.
        cosine: cosine of the gradients of ranking and auxiliary loss; NaN if it was not measured.
    """

    sums: Tensor
    embeddings: Tensor
    labels: Tensor
    cosine: float


def training_step(
    learner: Learner,
    objective: Objective,
    pixels: Tensor,
    labels: Tensor,
    probe: bool,
    extra: Mapping[str, Tensor] | None = None,
) -> StepOutcome:
    """Take one step of the optimizer on a batch.

    Args:
        learner: what is trained.
        objective: what is minimised.
        pixels: (photo, 3, height, width) photos of this rank, on the device of the model; or what the descriptors of the
            model have pooled already, (photo, descriptor, channel).
        labels: (photo,) their labels.
        probe: whether to measure the cosine of the gradients of both losses, which takes two partial backward passes.
        extra: further (photo, ...) values by name, for a loss that needs them.

    Raises:
        FloatingPointError: if loss or gradient is not finite; no weight has been changed then. On a GPU with a fused
            optimizer the step is left out on the device instead, and the values in the outcome tell that.
    """
    all_labels = gather_equal_rows(labels)  # (photo of all ranks,)
    all_extra = {name: gather_equal_rows(values) for name, values in (extra or {}).items()}
    with _autocast(learner.model, objective.precision), watch_input(learner.model.descriptors[0]) as feature_maps:
        embeddings, logits = learner.network(pixels)  # (photo, dim) and (photo, class), of all ranks
    # Outside the autocast, so that losses are computed in float32 also if the network runs in bfloat16.
    ranking = learner.criterion.of_whole_batch(embeddings, all_labels, all_extra)
    if logits is None:
        total, correct, cosine = ranking, torch.full_like(ranking, torch.nan), math.nan
    else:
        auxiliary = _classification(working_precision(logits), all_labels, objective)
        total = ranking + objective.auxiliary * auxiliary
        correct = (logits.argmax(dim=1) == all_labels).sum()
        # Without a feature map the batch was pooled already, and the backbone is frozen.
        cosine = gradient_cosine(ranking, auxiliary, feature_maps[-1]) if probe and feature_maps else math.nan
    # The cosine above needs the graph, which the backward pass in the update frees.
    norm = _update_weights(learner, objective, total)
    # Created on the device, because copying a number there would block.
    count = torch.full_like(total, len(all_labels), requires_grad=False)
    sums = torch.stack([count, total * count, ranking * count, correct, total, norm]).detach().float()
    # The statistics of embeddings are those of unit vectors, also if the loss sees raw ones.
    shown = unit(embeddings.detach()) if learner.model.raw else embeddings.detach()
    return StepOutcome(sums, shown, all_labels, cosine)


def _update_weights(learner: Learner, objective: Objective, total: Tensor) -> Tensor:
    """Compute the gradient and take a step of the optimizer; returns the norm of the gradient for a check to come."""
    learner.optimizer.zero_grad(set_to_none=True)
    total.backward()
    learner.network.all_reduce_gradients(learner.criterion)
    # The norm is that of the whole gradient, so it is computed before any element is clipped.
    norm = _check_finite(learner, objective, total)
    if objective.clip_value:
        clip_grad_value_(_trained_parameters(learner), objective.clip_value)
    learner.optimizer.step()
    return norm


def _check_finite(learner: Learner, objective: Objective, total: Tensor) -> Tensor:
    """Keep a step that is not finite from changing a weight; returns the norm of the gradient, 0 if it was checked here.

    On a GPU, fused optimizers check a flag on the device and leave the step out, so the training loop need not wait for
    the norm; it finds out when the norm arrives. In all other cases the norm is read here.
    """
    optimizer: Any = learner.optimizer
    # A flag that an earlier step has set would make the optimizer leave out all later steps.
    optimizer.grad_scale = optimizer.found_inf = None
    if not (total.is_cuda and objective.on_nan == "stop" and optimizer.defaults.get("fused")):
        check_finite_step(total, _trained_parameters(learner))
        return torch.zeros_like(total)
    norm = gradient_norm(_trained_parameters(learner))
    optimizer.found_inf = (~torch.isfinite(norm + total.detach())).float()
    return norm


def _trained_parameters(learner: Learner) -> list[Parameter]:
    # Those of the optimizer, because walking through the modules of a backbone at every step takes longer than a step of
    # the layers after it.
    return [parameter for group in learner.optimizer.param_groups for parameter in group["params"]]


def _classification(logits: Tensor, labels: Tensor, objective: Objective) -> Tensor:
    return F.cross_entropy(logits / objective.temperature, labels, label_smoothing=objective.smoothing)


def _autocast(model: Embedder, precision: Precision) -> AbstractContextManager:
    device = next(model.parameters()).device
    # `fit` has resolved "auto" once; a caller of a single step pays for it at each step.
    chosen = choose_precision(model) if precision == "auto" else precision
    return torch.autocast(device.type, torch.bfloat16) if chosen == "bfloat16" else nullcontext()
