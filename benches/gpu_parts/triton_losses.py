"""Circle, multi-similarity, SupCon and NT-Xent with the memory of the embeddings: the kernels of `triton_kernels` as losses.

The value and the gradient are those of the losses of Pairlens over the pairs of a batch. What is stored for the backward
pass are the unit vectors and a few numbers per photo; the similarities are computed again there. Second derivatives
are not available.
"""

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from gpu_parts import triton_kernels as kernels
from pairlens.core.similarity import unit
from pairlens.losses import Circle, MultiSimilarity, NTXent, SupCon
from pairlens.losses.reductions import log1p_exp

TritonLossKind: TypeAlias = Circle | MultiSimilarity | SupCon | NTXent


@dataclass(frozen=True)
class Tiles:
    """How a kernel divides its work.

    Attributes:
        rows: photos of a tile that a program keeps.
        columns: photos that it compares them with at a time.
        depth: dimensions of the embeddings that are multiplied at a time.
        width: dimensions of the gradient that a program writes, at most; more than these are divided among programs.
        warps: of 32 threads that work on a tile.
        stages: loads of a loop that are under way at a time.
        precision: of the products of float32: "ieee", "tf32" or "tf32x3", three TF32 products that come near to float32.
    """

    rows: int = 64
    columns: int = 64
    depth: int = 32
    width: int = 512
    warps: int = 8
    stages: int = 2
    precision: str = "ieee"


@dataclass(frozen=True)
class Logits:
    """The two logits of a loss as the kernels compute them.

    Attributes:
        scale_p: SCALE of the positives.
        center_p: CENTER of the positives.
        scale_n: SCALE of the negatives.
        center_n: CENTER of the negatives.
        optimum_p: OPTIMUM of the positives, for circle loss.
        optimum_n: OPTIMUM of the negatives, for circle loss.
        circle: whether the logits are those of circle loss.
    """

    scale_p: float
    center_p: float
    scale_n: float
    center_n: float
    optimum_p: float = 0.0
    optimum_n: float = 0.0
    circle: bool = False

    def constants(self) -> dict[str, Any]:
        """Return them under the names of the kernels."""
        return {name.upper(): value for name, value in vars(self).items()}


@dataclass(frozen=True)
class Sums:
    """What the passes over the tiles have found of each photo, all of them (photo,).

    Attributes:
        log_sum_p: log Σ exp of the logits of its positives.
        log_sum_n: the same of its negatives.
        count_p: its number of positives, at least 1.
        total_p: Σ of the logits of its positives.
        complete: 1 if it has a positive and a negative, else 0.
        ratio_loss: Σ_p log(1 + exp(log_sum_n - l_p)), for NT-Xent.
        ratio_share: Σ_p sigmoid(log_sum_n - l_p), for NT-Xent.
    """

    log_sum_p: Tensor
    log_sum_n: Tensor
    count_p: Tensor
    total_p: Tensor
    complete: Tensor
    ratio_loss: Tensor
    ratio_share: Tensor


@dataclass(frozen=True)
class Weights:
    """The loss of each photo and the factors of its gradient, all of them (photo,); see the rows of `anchors`.

    Attributes:
        value: the loss.
        factor_p: FACTOR_P.
        factor_n: FACTOR_N.
        offset_p: OFFSET_P.
        times: how often the photo counts in the mean; None if all count once.
    """

    value: Tensor
    factor_p: Tensor
    factor_n: Tensor
    offset_p: Tensor | None = None
    times: Tensor | None = None


class TritonLoss:
    """A loss of (photo, dim) embeddings of any length and (photo,) labels, like a `Criterion` of the same loss.

    Args:
        loss: its settings.
        tiles: how the kernels divide their work.
    """

    def __init__(self, loss: TritonLossKind, tiles: Tiles | None = None) -> None:
        self.loss = loss
        self.tiles = tiles or Tiles()

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss over the photos that have a positive and a negative; 0 with a graph if there is none."""
        units = unit(embeddings)
        if not len(units):
            return units.sum()  # 0 with a graph: there is no photo
        return _TiledLoss.apply(units, labels, self.loss, self.tiles)  # pyright: ignore[reportReturnType]


class _TiledLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, units: Tensor, labels: Tensor, loss: TritonLossKind, tiles: Tiles) -> Tensor:
        passes = Passes(units.detach().contiguous(), labels.contiguous(), loss, _fitting(tiles, units))
        anchors = units.new_zeros(kernels.ANCHOR_ROWS, len(units))
        sums = passes.sums(anchors)
        weights = weigh(loss, sums)
        counted = sums.complete if weights.times is None else sums.complete * weights.times
        shares = counted / counted.sum().clamp(min=1)
        anchors[kernels.FACTOR_P.value] = shares * weights.factor_p
        anchors[kernels.FACTOR_N.value] = shares * weights.factor_n
        if weights.offset_p is not None:
            anchors[kernels.OFFSET_P.value] = shares * weights.offset_p
        ctx.passes = passes
        ctx.save_for_backward(anchors)
        return (weights.value * shares).masked_fill(shares == 0, 0.0).sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (anchors,) = ctx.saved_tensors
        return ctx.passes.gradient(anchors).mul_(gradients[0]), None, None, None


def _fitting(tiles: Tiles, units: Tensor) -> Tiles:
    """Return the tiles with a width that is no larger than the embeddings need; it must be a power of two."""
    needed = max(16, 1 << (units.shape[1] - 1).bit_length())
    return replace(tiles, width=min(tiles.width, needed))


@dataclass(frozen=True)
class Passes:
    """The passes of the kernels over one batch.

    Attributes:
        units: (photo, dim) unit vectors.
        labels: (photo,) integers.
        loss: the settings of the loss.
        tiles: how the work is divided.
    """

    units: Tensor
    labels: Tensor
    loss: TritonLossKind
    tiles: Tiles

    def sums(self, anchors: Tensor) -> Sums:
        """Return the sums of each photo, and fill in the rows of `anchors` that belong to them."""
        mined = is_mined(self.loss)
        if mined:
            self._mine(anchors)
        count_p, count_n, total_p = self.units.new_empty(3, len(self.units))
        constants = {**logits_of(self.loss).constants(), "MINED": mined}
        self._start(kernels.sums_kernel, (anchors, count_p, count_n, total_p), constants)
        loss, share = self._ratios(anchors) if isinstance(self.loss, NTXent) else (total_p, total_p)
        return Sums(
            log_sum_p=anchors[kernels.LOG_SUM_P.value],
            log_sum_n=anchors[kernels.LOG_SUM_N.value],
            count_p=count_p.clamp(min=1),
            total_p=total_p,
            complete=((count_p > 0) & (count_n > 0)).to(count_p.dtype),
            ratio_loss=loss,
            ratio_share=share,
        )

    def gradient(self, anchors: Tensor) -> Tensor:
        """Return the (photo, dim) gradient of the unit vectors."""
        gradient = torch.empty_like(self.units)
        constants = {
            **logits_of(self.loss).constants(),
            "MINED": is_mined(self.loss),
            "RATIO": isinstance(self.loss, NTXent),
            "WIDTH": self.tiles.width,
        }
        parts = -(-self.units.shape[1] // self.tiles.width)
        self._start(kernels.gradient_kernel, (anchors, gradient), constants, parts)
        return gradient

    def _mine(self, anchors: Tensor) -> None:
        """Write the limits of the mining: the highest negative + ε of positives, the lowest positive - ε of negatives."""
        lowest, highest = self.units.new_empty(2, len(self.units))
        self._start(kernels.extremes_kernel, (lowest, highest), {})
        # As in `MultiSimilarity.mine`: both rules select something under the same condition.
        selects = highest > lowest - self.loss.epsilon
        anchors[kernels.LIMIT_P.value] = torch.where(selects, highest + self.loss.epsilon, -torch.inf)
        anchors[kernels.LIMIT_N.value] = torch.where(selects, lowest - self.loss.epsilon, torch.inf)

    def _ratios(self, anchors: Tensor) -> tuple[Tensor, Tensor]:
        loss, share = self.units.new_empty(2, len(self.units))
        self._start(kernels.ratios_kernel, (anchors, loss, share), {"SCALE": 1 / self.loss.temperature})
        return loss, share

    def _start(self, kernel: Any, tensors: tuple[Tensor, ...], constants: dict[str, Any], parts: int = 1) -> None:
        """Start a kernel with one program for each tile of rows, times `parts`; it reads and writes the tensors."""
        photos, dim = self.units.shape
        tiles = self.tiles
        kernel[(-(-photos // tiles.rows), parts)](
            self.units,
            self.labels,
            *tensors,
            photos,
            dim,
            **constants,
            ROWS=tiles.rows,
            COLUMNS=tiles.columns,
            DEPTH=tiles.depth,
            PRECISION=tiles.precision,
            num_warps=tiles.warps,
            num_stages=tiles.stages,
        )


def is_mined(loss: TritonLossKind) -> bool:
    """Return whether the loss selects pairs by the other side of their anchor."""
    return isinstance(loss, MultiSimilarity) and loss.mining


def logits_of(loss: TritonLossKind) -> Logits:
    """Return the logits of a loss."""
    match loss:
        case Circle(margin=margin, gamma=gamma):
            return Logits(-gamma, 1 - margin, gamma, margin, 1 + margin, -margin, circle=True)
        case MultiSimilarity():
            return Logits(-loss.alpha, loss.lam, loss.beta, loss.lam)
        case SupCon() | NTXent():
            scale = 1 / loss.temperature
            return Logits(scale, 0.0, scale, 0.0)


def weigh(loss: TritonLossKind, sums: Sums) -> Weights:
    """Return the loss of each photo, and dL/dl of its pairs as factors of their softmax."""
    match loss:
        case Circle():
            violation = sums.log_sum_p + sums.log_sum_n
            return Weights(log1p_exp(violation), violation.sigmoid(), violation.sigmoid())
        case MultiSimilarity(alpha=alpha, beta=beta):
            value = log1p_exp(sums.log_sum_p) / alpha + log1p_exp(sums.log_sum_n) / beta
            return Weights(value, sums.log_sum_p.sigmoid() / alpha, sums.log_sum_n.sigmoid() / beta)
        case SupCon():
            gap = sums.log_sum_n - sums.log_sum_p
            value = sums.log_sum_p + log1p_exp(gap) - sums.total_p / sums.count_p
            return Weights(value, (-gap).sigmoid(), gap.sigmoid(), offset_p=1 / sums.count_p)
        case NTXent():
            times = sums.count_p if loss.average == "pair" else None
            value, share = sums.ratio_loss / sums.count_p, sums.ratio_share / sums.count_p
            return Weights(value, 1 / sums.count_p, share, times=times)
