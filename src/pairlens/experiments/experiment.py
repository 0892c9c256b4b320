"""The experiment: the record of all settings that define a run."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, TypeAlias

from pairlens.core.records import require
from pairlens.data.loader import Augment
from pairlens.evaluation.per_query import MAX_RANK
from pairlens.losses import Loss, Triplet
from pairlens.losses.base import Source
from pairlens.losses.miners import Miner
from pairlens.losses.protocols import possible_sources
from pairlens.losses.third_party import Wrapped
from pairlens.model.backbone import Stride
from pairlens.model.descriptors import letters
from pairlens.model.embedder import FreezeBN
from pairlens.training.learner import OnNaN
from pairlens.training.optimizers import Optimizing

CropType: TypeAlias = Literal["uncropped", "cropped"]
ReferenceSource: TypeAlias = Literal["auto", "batch", "memory", "proxies"]
Select: TypeAlias = Literal["last", "validation", "test"]

# The ranges of the settings; the command line shows the names, so errors name the option.
AT_LEAST_ONE = ("batch_size", "per_class", "image_size", "feature_dim", "memory_size")
NOT_NEGATIVE = (
    *("num_epochs", "workers", "seed", "folds", "fold", "micro_batch", "warm_up", "memory_warm_up", "clip_value"),
    *("auxiliary", "weight_decay", "learning_rate", "proxy_learning_rate", "head_factor", "checkpoint_minutes"),
)
# Far above any real setting. A config file from an untrusted source could otherwise ask for all memory.
MAXIMUM = {
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
        crop_type: whole photos, or photos cropped to their bounding box (car and cub).
        backbone_type: resnet50, resnext50, efficientnet_lite0 or any timm model name.
        gd_config: global descriptors: one to three of S (mean), M (max), G (GeM); the first feeds the classifier.
        feature_dim: dimension of the embedding.
        smoothing: label smoothing of the auxiliary classification loss.
        temperature: temperature of its softmax.
        auxiliary: weight of the auxiliary classification loss; 0 trains with the pairwise loss alone.
        references: what photos are compared with: the batch, a memory of earlier batches, or learned proxies; auto is the
            source that the loss was designed for.
        memory_size: number of embeddings in the memory.
        memory_warm_up: number of batches that are compared with themselves before the memory is used.
        miner: which pairs of photos the loss sees; none (all), or hardest, semi_hard, easy_positive, distance_weighted,
            multi_similarity_pairs, angular_pairs, with settings as in semi_hard:margin=0.1.
        recalls: the K of Recall@K and Precision@K, such as 1,2,4,8.
        batch_size: number of photos in a training batch.
        micro_batch: number of photos that go through the network at a time, which limits its memory; 0 is the whole batch.
            The gradient is the same as that of the whole batch, but takes about a third more time.
        per_class: number of photos per class in a batch.
        num_epochs: number of training epochs.
        optimizer: adam, adamw, sgd (momentum 0.9) or rmsprop.
        learning_rate: of the network; multiplied by 0.1 at 60 % and at 80 % of the epochs.
        head_factor: factor on the learning rate for the layers after the backbone.
        proxy_learning_rate: learning rate of the parameters of the loss: proxies, centres, boundaries.
        weight_decay: L2 term of the network (adamw: its decoupled decay).
        optimizer_eps: the constant that adam, adamw and rmsprop add to the denominator.
        clip_value: largest absolute value of an element of a gradient, larger ones are clipped; 0 clips nothing.
        warm_up: number of first epochs in which the backbone is frozen.
        weights: imagenet, none, or a file of backbone weights.
        stride: the down-sampling that is removed: port (layer 3, as leftthomas/CGD), paper (layer 4), none.
        freeze_bn: what is frozen in the BatchNorm of the backbone: its statistics, all of it, or none.
        learn_power: whether the power p of G is learned, or fixed at 3.
        image_size: height and width of the photos that the network sees.
        augment: standard (squash, crop, flip) or random_resized_crop.
        log_analysis: whether statistics of seen and unseen photos are written to analysis.csv after every epoch.
        select: which epoch is kept: the last, the best on held-out training classes, or the best on the test set.
        folds: 0 tests on the test classes. From 2 on, the training classes are divided into this number of folds, always
            alike; the experiment tests on one fold and trains on the others, and does not use the test photos.
        fold: the fold that is tested on, counted from 0.
        seed: seed of all random numbers.
        device: auto takes a GPU if there is one.
        precision: auto is bfloat16 where that is faster: on a GPU that supports it in hardware (Ampere and later), and on a
            CPU that does (AVX512-BF16, AMX) if the backbone has no depthwise convolutions; otherwise float32. Name a
            precision for runs that must agree between machines.
        compile: whether torch.compile compiles the backbone; auto compiles only on a GPU, if Triton and a C compiler are
            installed, because on a CPU compilation takes minutes.
        workers: number of threads that load photos; 0 loads them between the steps.
        on_nan: a loss or gradient that is not finite stops the run (stop), or its step is left out and counted (skip).
        checkpoint_minutes: longest time between two checkpoints within an epoch; 0 writes them only after epochs.
    """

    # The order of the fields is that of the options in the help texts of the command line.
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
        # Python users may give a path as text; a frozen record can only be changed like this.
        object.__setattr__(self, "data_path", Path(self.data_path))
        object.__setattr__(self, "weights", str(self.weights))
        letters(self.gd_config)
        self._check_ranges()
        self._check_data()
        self._check_folds()
        self._check_references()

    # The errors name the command-line options, because most experiments are made there; Python has the same names.
    def _check_ranges(self) -> None:
        for name in AT_LEAST_ONE:
            require(getattr(self, name) >= 1, f"--{name} {getattr(self, name)} must be at least 1")
        for name in NOT_NEGATIVE:
            require(getattr(self, name) >= 0, f"--{name} {getattr(self, name)} must not be negative")
        for name in ("temperature", "optimizer_eps"):
            require(getattr(self, name) > 0, f"--{name} {getattr(self, name)} must be above 0")
        for name, maximum in MAXIMUM.items():
            require(getattr(self, name) <= maximum, f"--{name} {getattr(self, name)} must be at most {maximum:,}")
        require(0 <= self.smoothing < 1, f"--smoothing {self.smoothing} must be at least 0 and below 1")

    def _check_data(self) -> None:
        require(
            self.data_name == Path(self.data_name).name and self.data_name not in ("", ".."),
            f"--data_name {self.data_name!r} is not a plain folder name; give the folder that contains it as --data_path",
        )
        increasing = all(a < b for a, b in zip((0, *self.recalls), self.recalls, strict=False))
        require(
            bool(self.recalls) and increasing and self.recalls[-1] <= MAX_RANK,
            f"--recalls {self.recalls} must be increasing ranks of 1 to {MAX_RANK:,}, such as 1,2,4,8",
        )

    def _check_folds(self) -> None:
        require(self.folds != 1, "--folds 1 leaves no classes to train on; use --folds 0, or --folds 2 and more")
        require(
            self.fold < max(self.folds, 1), f"--fold {self.fold} is not one of --folds {self.folds}, counted from 0"
        )
        require(
            not self.folds or self.select != "validation",
            "--select validation cannot be combined with --folds, which already tests on held-out training classes; use "
            "--select last",
        )

    def _check_references(self) -> None:
        # A memory is the only source whose size must suit the batch.
        possible = possible_sources(self.loss)
        require(
            self.source in possible,
            f"--references {self.references} cannot be used with {_loss_name(self.loss)}, which compares photos with "
            f"{' or '.join(possible)}; use --references {possible[0]}",
        )
        require(
            self.source != "memory" or self.memory_size >= self.batch_size,
            f"--memory_size {self.memory_size} does not hold a batch of {self.batch_size}; use the size of several batches",
        )

    @property
    def source(self) -> Source:
        """What photos are compared with, "auto" replaced by the source that the loss was designed for."""
        return possible_sources(self.loss)[0] if self.references == "auto" else self.references

    @property
    def default_name(self) -> str:
        """A folder name that distinguishes the runs of one project by data set, model, loss, fold and seed."""
        loss = _loss_name(self.loss)
        # What has its default value is left out of the name.
        source = [] if self.source == possible_sources(self.loss)[0] else [self.source]
        miner = [] if self.miner is None else [type(self.miner).__name__.lower()]
        settings = [_short(getattr(self.loss, f.name)) for f in fields(self.loss) if f.metadata.get("plain", True)]
        parts = [self.data_name, self.crop_type, self.backbone_type.replace("/", "-"), self.gd_config, self.feature_dim]
        fold = [f"fold{self.fold}of{self.folds}"] if self.folds else []
        return "_".join(map(str, [*parts, loss, *source, *miner, *settings, *fold, f"seed{self.seed}"]))


def _loss_name(loss: Loss | Wrapped) -> str:
    return type(loss).__name__.lower()


def _short(value: object) -> str:
    """Return a setting of a loss as a part of a folder name, without characters that a file system might refuse."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return "-".join(map(_short, value))
    return f"{value:g}" if isinstance(value, int | float) else "".join(c for c in str(value) if c.isalnum() or c == "-")
