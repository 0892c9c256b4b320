"""The record that defines a run."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, TypeAlias

from pairlens.data.loading import Augment
from pairlens.evaluation.queries import MOST_RANK
from pairlens.losses import Loss, Triplet
from pairlens.losses.frame import Source
from pairlens.losses.miners import Miner
from pairlens.model.backbone import Stride
from pairlens.model.descriptors import letters
from pairlens.model.embedder import FreezeBN
from pairlens.training.criterion import Wrapped, possible_sources
from pairlens.training.fit import OnNaN
from pairlens.training.optimizers import Optimizing

CropType: TypeAlias = Literal["uncropped", "cropped"]
ReferenceSource: TypeAlias = Literal["auto", "batch", "memory", "proxies"]
Select: TypeAlias = Literal["last", "validation", "test"]

AT_LEAST_ONE = ("batch_size", "per_class", "image_size", "feature_dim", "memory_size")
NOT_NEGATIVE = (
    *("num_epochs", "workers", "seed", "folds", "fold", "micro_batch", "warm_up", "memory_warm_up", "clip_value"),
    *("auxiliary", "weight_decay", "learning_rate", "proxy_learning_rate", "head_factor", "checkpoint_minutes"),
)
# Far beyond what anybody runs; a record of a stranger that asks for more asks for all memory.
MOST = {
    "batch_size": 1 << 20,
    "per_class": 1 << 20,
    "image_size": 4096,
    "feature_dim": 1 << 20,
    "memory_size": 1 << 26,
    "memory_warm_up": 1 << 40,
    "warm_up": 1 << 40,
    "micro_batch": 1 << 20,
    "num_epochs": 1 << 24,
    "workers": 1024,
    "seed": (1 << 63) - 1,
    "folds": 1 << 20,
}


@dataclass(frozen=True)
class Experiment:
    """Everything that defines a run: the same record on the same machine gives the same result.

    Attributes:
        loss: the pairwise loss, with its hyper-parameters; in Python also `wrap` of any function of embeddings and labels.
        data_path: folder of the prepared data sets.
        data_name: car, cub, sop, isc, minicars, folder, csv, or the name given to `pairlens prepare --name`.
        crop_type: whole photos, or cut to their bounding box (car and cub).
        backbone_type: resnet50, resnext50, efficientnet_lite0 or any timm model name.
        gd_config: global descriptors: one to three of S (mean), M (max), G (GeM); the first feeds the classifier.
        feature_dim: dimension of the embedding.
        smoothing: label smoothing of the auxiliary classification loss.
        temperature: temperature of its softmax.
        auxiliary: weight of the auxiliary classification loss; 0 trains with the pairwise loss alone.
        references: what photos are compared with: the batch, a memory of earlier batches, or learned proxies; auto is what
            the loss was made for.
        memory_size: how many embeddings a memory holds.
        memory_warm_up: how many batches are compared with themselves before the memory is used.
        miner: which pairs of photos the loss sees; none (all), or hardest, semi_hard, easy_positive, distance_weighted,
            multi_similarity_pairs, angular_pairs, with settings as in semi_hard:margin=0.1.
        recalls: the K of Recall@K and Precision@K, such as 1,2,4,8.
        batch_size: photos a training batch.
        micro_batch: so many photos at a time go through the network, which bounds its memory; 0 is the whole batch. The
            gradient is that of the whole batch, for a third more time.
        per_class: photos of one class in a batch.
        num_epochs: training epochs.
        optimizer: adam, adamw, sgd (momentum 0.9) or rmsprop.
        learning_rate: of the network; x 0.1 at 60 % and 80 % of the epochs.
        head_factor: the learning rate of what follows the backbone is so many times that of the backbone.
        proxy_learning_rate: of what the loss learns: proxies, centres, boundaries.
        weight_decay: L2 term of the network (adamw: its decoupled decay).
        optimizer_eps: what adam, adamw and rmsprop add to the denominator.
        clip_value: no element of a gradient is let beyond it; 0 clips nothing.
        warm_up: for so many epochs the backbone stands still.
        weights: imagenet, none, or a file of backbone weights.
        stride: the down-sampling taken out: port (layer 3, as leftthomas/CGD), paper (layer 4), none.
        freeze_bn: what of the backbone's BatchNorm stands still: its statistics, all of it, or none.
        learn_power: whether the p of G is learned, or fixed at 3.
        image_size: height and width of the photos as the network sees them.
        augment: standard (squash, crop, flip) or random_resized_crop.
        log_analysis: whether the shape of seen and unseen photos is written after every epoch, into analysis.csv.
        select: which epoch is kept: the last, the best on held-out training classes, or the best on the test set.
        folds: 0 tests on the test classes; from 2 on the test photos are left alone: the training classes are dealt into
            so many folds, always the same way, of which one is tested and the others are trained on.
        fold: which one, from 0.
        seed: of everything random.
        device: auto takes a GPU if there is one.
        precision: auto is bfloat16 where that is faster: on a GPU that multiplies it (Ampere and later), and on a CPU that
            does (AVX512-BF16, AMX) if the backbone has no depthwise convolutions; else float32. Runs that must agree between
            machines name one.
        compile: whether torch.compile makes the backbone's kernels; auto does so on a GPU alone, if Triton and a C compiler
            are there, because on a CPU it takes minutes to begin.
        workers: threads that load photos; 0 loads them between the steps.
        on_nan: whether a loss or a gradient that is not finite stops the run, or its step is left out and counted (skip).
        checkpoint_minutes: at most so long between two checkpoints within an epoch; 0 writes them after epochs alone.
    """

    loss: Loss | Wrapped = Triplet()  # noqa: RUF009 (a frozen record is as good as a number)
    data_path: Path = Path("data")
    data_name: str = "car"
    crop_type: CropType = "uncropped"
    backbone_type: str = "resnet50"
    gd_config: str = "SG"
    feature_dim: int = 1536
    smoothing: float = 0.1
    temperature: float = 0.5
    auxiliary: float = 1.0
    references: ReferenceSource = "auto"
    memory_size: int = 4096
    memory_warm_up: int = 0
    miner: Miner | None = None
    recalls: tuple[int, ...] = (1, 2, 4, 8)
    batch_size: int = 128
    micro_batch: int = 0
    per_class: int = 4
    num_epochs: int = 20
    optimizer: Optimizing = "adam"
    learning_rate: float = 1e-4
    head_factor: float = 1.0
    proxy_learning_rate: float = 1e-2
    weight_decay: float = 0.0
    optimizer_eps: float = 1e-8
    clip_value: float = 0.0
    warm_up: int = 0
    weights: str = "imagenet"
    stride: Stride = "port"
    freeze_bn: FreezeBN = "statistics"
    learn_power: bool = False
    image_size: int = 224
    augment: Augment = "standard"
    log_analysis: bool = True
    select: Select = "last"
    folds: int = 0
    fold: int = 0
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: Literal["auto", "yes", "no"] = "auto"
    workers: int = 2
    on_nan: OnNaN = "stop"
    checkpoint_minutes: float = 10.0

    def __post_init__(self) -> None:
        letters(self.gd_config)
        self._check_ranges()
        self._check_data()
        self._check_folds()
        self._check_references()

    def _check_ranges(self) -> None:
        for name in AT_LEAST_ONE:
            _require(getattr(self, name) >= 1, f"--{name} {getattr(self, name)} must be at least 1")
        for name in NOT_NEGATIVE:
            _require(getattr(self, name) >= 0, f"--{name} {getattr(self, name)} must not be negative")
        for name in ("temperature", "optimizer_eps"):
            _require(getattr(self, name) > 0, f"--{name} {getattr(self, name)} must be above 0")
        for name, most in MOST.items():
            _require(getattr(self, name) <= most, f"--{name} {getattr(self, name)} must be at most {most:,}")
        _require(0 <= self.smoothing < 1, f"--smoothing {self.smoothing} must be at least 0 and below 1")

    def _check_data(self) -> None:
        _require(
            self.data_name == Path(self.data_name).name and self.data_name not in ("", ".."),
            f"--data_name {self.data_name!r} is no plain folder name; give the folder around it as --data_path",
        )
        rising = all(a < b for a, b in zip((0, *self.recalls), self.recalls, strict=False))
        _require(
            bool(self.recalls) and rising and self.recalls[-1] <= MOST_RANK,
            f"--recalls {self.recalls} must be rising ranks of 1 to {MOST_RANK:,}, as 1,2,4,8",
        )

    def _check_folds(self) -> None:
        _require(self.folds != 1, "--folds 1 leaves nothing to train on; use --folds 0, or 2 and more")
        _require(
            self.fold < max(self.folds, 1), f"--fold {self.fold} is not one of --folds {self.folds}, counted from 0"
        )
        _require(
            not self.folds or self.select != "validation",
            "--select validation holds classes out of the test; with --folds the test is held out itself: use --select last",
        )

    def _check_references(self) -> None:
        possible = possible_sources(self.loss)
        _require(
            self.source in possible,
            f"--references {self.references} does not go with {_loss_name(self.loss)}, which compares photos with "
            f"{' or '.join(possible)}; use --references {possible[0]}",
        )
        _require(
            self.source != "memory" or self.memory_size >= self.batch_size,
            f"--memory_size {self.memory_size} does not hold a batch of {self.batch_size}; give it several batches",
        )

    @property
    def source(self) -> Source:
        """What photos are compared with."""
        return possible_sources(self.loss)[0] if self.references == "auto" else self.references

    @property
    def default_name(self) -> str:
        """A folder name that tells the runs of one project apart."""
        loss = _loss_name(self.loss)
        source = [] if self.source == possible_sources(self.loss)[0] else [self.source]
        miner = [] if self.miner is None else [type(self.miner).__name__.lower()]
        settings = [_short(getattr(self.loss, f.name)) for f in fields(self.loss) if f.metadata.get("plain", True)]
        parts = [self.data_name, self.crop_type, self.backbone_type.replace("/", "-"), self.gd_config, self.feature_dim]
        fold = [f"fold{self.fold}of{self.folds}"] if self.folds else []
        return "_".join(map(str, [*parts, loss, *source, *miner, *settings, *fold, f"seed{self.seed}"]))


def _loss_name(loss: Loss | Wrapped) -> str:
    return type(loss).__name__.lower()


def _short(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return "-".join(map(_short, value))
    return f"{value:g}" if isinstance(value, int | float) else "".join(c for c in str(value) if c.isalnum() or c == "-")


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise ValueError(sentence)
