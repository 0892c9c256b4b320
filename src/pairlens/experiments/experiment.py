"""The experiment: all settings that define a run, as nested records that lie beside the code that they configure."""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, get_args

from pairlens.core.inputs import as_whole_numbers
from pairlens.core.records import require
from pairlens.core.settings import Rules, check_settings, find_setting, nested_settings, setting, settings_of
from pairlens.data.data_config import DataConfig
from pairlens.data.loader import BatchConfig
from pairlens.evaluation.metric_definitions import MAX_RANK, MetricChoice
from pairlens.experiments.metric_spec import check_choices
from pairlens.experiments.trackers import TrackerName
from pairlens.losses import Triplet
from pairlens.losses.base import Source
from pairlens.losses.loss_text import AnyLoss, folder_words, loss_name, resolve_loss
from pairlens.losses.miners import Miner
from pairlens.losses.protocols import possible_sources
from pairlens.losses.third_party import stored_form
from pairlens.model.embedder import Architecture
from pairlens.model.given_features import FEATURES
from pairlens.training.learner import Objective
from pairlens.training.optimizers import OptimizerConfig
from pairlens.training.references import ReferenceConfig

Select: TypeAlias = Literal["last", "validation", "test"]


@dataclass(frozen=True)
class EvaluationConfig:
    """On which photos a model is tested, and with which metrics.

    Attributes:
        recalls: the K of Recall@K and Precision@K, such as 1,2,4,8.
        metrics: further metrics: map_at_k (for each K of the recalls), map_at_10 (for one K), mrr, opis, and module:name
            for your own, which is imported when a training starts. In Python also a MetricDefinition or a ClassMetric.
        log_analysis: whether statistics of seen and unseen photos are written to analysis.csv after every epoch.
        select: which epoch is kept: the last, the best on held-out training classes, or the best on the test set.
        folds: 0 tests on the test classes. From 2 on, the training classes are divided into this number of folds, always
            alike; the experiment tests on one fold and trains on the others, and does not use the test photos.
        fold: the fold that is tested on, counted from 0.
        every: after how many epochs the model is evaluated; it always is before the first and after the last one. An epoch
            that is not evaluated has no row and is never kept.

    Raises:
        ValueError: for a setting out of its range, or settings that contradict each other.
    """

    recalls: tuple[int, ...] = (1, 2, 4, 8)
    metrics: tuple[MetricChoice, ...] = ()
    log_analysis: bool = True
    select: Select = "last"
    folds: int = setting(0, Rules(low=0, high=1 << 20))
    fold: int = setting(0, Rules(low=0))
    every: int = setting(1, Rules(option="evaluate_every", low=1, high=1 << 24))

    # The errors name the options of the command line, because most experiments are made there.
    def __post_init__(self) -> None:
        check_settings(self)
        require(not isinstance(self.metrics, str), f"metrics={self.metrics!r} is one text; give a list of metrics")
        # Python users may give a list; a frozen record can only be changed like this.
        object.__setattr__(self, "metrics", tuple(self.metrics))
        object.__setattr__(self, "recalls", as_whole_numbers(self.recalls, "--recalls"))
        increasing = all(a < b for a, b in zip((0, *self.recalls), self.recalls, strict=False))
        require(
            bool(self.recalls) and increasing and self.recalls[-1] <= MAX_RANK,
            f"--recalls {self.recalls} must be increasing ranks of 1 to {MAX_RANK:,}, such as 1,2,4,8",
        )
        check_choices(self.metrics, self.recalls)
        require(self.folds != 1, "--folds 1 leaves no classes to train on; use --folds 0, or --folds 2 and more")
        require(
            self.fold < max(self.folds, 1), f"--fold {self.fold} is not one of --folds {self.folds}, counted from 0"
        )
        require(
            not self.folds or self.select != "validation",
            "--select validation cannot be combined with --folds, which already tests on held-out training classes; use "
            "--select last",
        )

    def is_due(self, epoch: int, epochs: int) -> bool:
        """Return whether the model is evaluated after an epoch, given their number."""
        return epoch % self.every == 0 or epoch == epochs


@dataclass(frozen=True)
class RunConfig:
    """How long a run trains, from which random numbers, and on which device.

    Attributes:
        epochs: number of training epochs.
        seed: seed of all random numbers.
        device: auto takes a GPU if there is one.
        compile: whether torch.compile compiles the backbone; auto compiles only on a GPU, if Triton and a C compiler are
            installed, because on a CPU compilation takes minutes.
        checkpoint_minutes: longest time between two checkpoints within an epoch; 0 writes them only after epochs.
        log: trackers that the epochs and the outcome are sent to, beside statistics.csv: tensorboard, mlflow, wandb, or
            several of these; their files lie in the run folder, and W&B is offline unless WANDB_MODE says otherwise.

    Raises:
        ValueError: for a setting out of its range.
    """

    epochs: int = setting(20, Rules(option="num_epochs", low=0, high=1 << 24))
    seed: int = setting(0, Rules(low=0, high=(1 << 63) - 1))
    device: Literal["auto", "cpu", "cuda"] = "auto"
    compile: Literal["auto", "yes", "no"] = "auto"
    checkpoint_minutes: float = setting(10.0, Rules(low=0))
    # Left out where it is empty, so that stored settings stay readable for earlier versions.
    log: tuple[TrackerName, ...] = field(default=(), metadata={"omit_default": True})

    def __post_init__(self) -> None:
        check_settings(self)
        # In Python one name or a list may be given; a frozen record can only be changed like this.
        object.__setattr__(self, "log", (self.log,) if isinstance(self.log, str) else tuple(dict.fromkeys(self.log)))
        for name in self.log:
            known = get_args(TrackerName)
            require(name in known, f"--log {name!r} is not one of {', '.join(known)}")


@dataclass(frozen=True)
class Experiment:
    """Everything that defines a run: the same record on the same machine gives the same result.

    Attributes:
        loss: the pairwise loss, with its hyper-parameters, or its name; in Python also a frozen dataclass of your own, and
            `wrap` or `wrap_pairs` of any function.
        data: which prepared data set.
        model: the network.
        weights: imagenet, none, or a file of backbone weights.
        objective: what is minimised beside the pairwise loss, and in which arithmetic.
        references: what photos are compared with.
        miner: which pairs of photos the loss sees; none (all), or hardest, semi_hard, easy_positive, batch_easy_hard,
            distance_weighted, pair_margin, hardest_fraction, uniform_histogram, multi_similarity_pairs, angular_pairs, with
            settings as in semi_hard:margin=0.1.
        batches: how photos are drawn, augmented and loaded.
        optimizer: the optimizer and its learning rates.
        evaluation: on what the model is tested, and with which metrics.
        run: epochs, seed and device.

    Raises:
        ValueError: for settings that contradict each other, or a loss that a run could not store.

    >>> from pairlens.losses import Circle
    >>> experiment = Experiment(Circle(), DataConfig(name="cub"), Architecture(backbone="resnet50", dim=512))
    >>> experiment.source, experiment.default_name
    ('batch', 'cub_uncropped_resnet50_SG_512_circle_0.4_80_seed0')
    """

    # Form 1 was one flat record, whose fields had the names of the options.
    VERSION: ClassVar[int] = 2

    # The order of the fields is that of the options in the help texts of the command line.
    loss: AnyLoss = field(default=Triplet(), metadata={"stored_as": stored_form})
    data: DataConfig = DataConfig()
    model: Architecture = Architecture()
    weights: str = "imagenet"
    objective: Objective = Objective()
    references: ReferenceConfig = ReferenceConfig()
    miner: Miner | None = None
    batches: BatchConfig = BatchConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    run: RunConfig = RunConfig()

    def __post_init__(self) -> None:
        # Python users may give a path; a frozen record can only be changed like this.
        object.__setattr__(self, "weights", str(self.weights))
        if isinstance(self.data, DataConfig) and self.data.holds_features:
            self._take_features()
        object.__setattr__(self, "loss", resolve_loss(self.loss))
        # A loss that cannot be stored is refused here and not when the run is written, after the data set was opened.
        stored_form(self.loss)
        self._check_records()
        possible = possible_sources(self.loss)
        require(
            self.source in possible,
            f"--references {self.references.source} cannot be used with {loss_name(self.loss)}, which compares photos "
            f"with {' or '.join(possible)}; use --references {possible[0]}",
        )
        # A memory is the only source whose size must suit the batch.
        require(
            self.source != "memory" or self.references.memory_size >= self.batches.photos,
            f"--memory_size {self.references.memory_size} does not hold a batch of {self.batches.photos}; use the size of "
            "several batches",
        )
        require(
            self.source == "proxies" or self.batches.per_class >= 2,
            f"--per_class {self.batches.per_class} leaves anchors without a positive; use at least 2, or --references "
            "proxies with a loss that compares photos with proxies",
        )
        self._check_frozen()

    def _take_features(self) -> None:
        """Put given features in the place of the backbone; ValueError for settings that need photos."""
        default = Architecture().backbone
        require(
            self.model.backbone in (default, FEATURES),
            f"--backbone {self.model.backbone} sees photos, but --data_name features holds the features of another "
            "program; leave it out",
        )
        require(not self.batches.views, f"--views {self.batches.views} needs photos, which given features are not")
        # A frozen record can only be changed like this.
        object.__setattr__(self, "model", replace(self.model, backbone=FEATURES, stride="none"))
        object.__setattr__(self, "objective", replace(self.objective, freeze="backbone"))
        object.__setattr__(self, "weights", "none")

    def _check_frozen(self) -> None:
        """Raise ValueError if the features of a frozen backbone cannot be stored as the settings ask."""
        views, augment = self.batches.views, self.batches.augment
        if self.objective.freeze == "none":
            require(
                not views,
                f"--views {views} is for --freeze backbone; leave it out, because every epoch has new views",
            )
            return
        require(
            not (self.model.learn_power and "G" in self.model.descriptors),
            "--learn_power changes how the features of --freeze backbone are pooled, so they cannot be stored; use "
            "--no_learn_power, or descriptors without G",
        )
        require(
            not views or isinstance(augment, str),
            "--views stores the views of a named augmentation, not those of a function; name one, or use --views 0",
        )
        require(
            augment != "two_views" or views >= 2,
            f"--augment two_views takes two different views of each photo; use --views 2 or more, not {views}",
        )

    def _check_records(self) -> None:
        # Without this check a text in the place of a record would be noticed only after the data set has been opened.
        for entry in fields(self):
            kind = type(entry.default)
            value = getattr(self, entry.name)
            if entry.name not in ("loss", "miner", "weights"):
                require(
                    isinstance(value, kind),
                    f"Experiment({entry.name}={value!r}) must be of type {kind.__name__}, such as {kind.__name__}()",
                )

    @classmethod
    def upgrade(cls, data: dict[str, Any], version: int, where: str) -> dict[str, Any]:
        """Return the nested form of settings that were stored under their option names (form 1)."""
        unknown = sorted(name for name in data if find_setting(cls, name) is None)
        if unknown:
            known = ", ".join(sorted(settings_of(cls)))
            raise ValueError(f"{where} has an unknown key {unknown[0][:80]!r}; known are {known}")
        return nested_settings(cls, data)

    @property
    def source(self) -> Source:
        """What photos are compared with, "auto" replaced by the source that the loss was designed for."""
        return possible_sources(self.loss)[0] if self.references.source == "auto" else self.references.source

    @property
    def default_name(self) -> str:
        """A folder name that distinguishes the runs of one project by data set, model, loss, fold and seed."""
        # What has its default value is left out of the name.
        source = [] if self.source == possible_sources(self.loss)[0] else [self.source]
        miner = [] if self.miner is None else [type(self.miner).__name__.lower()]
        loss, *values = map(_short, folder_words(self.loss))
        model = [self.model.backbone.replace("/", "-"), self.model.descriptors, self.model.dim]
        # Several files of features would have the same name.
        data = f"{self.data.name}-{Path(self.data.source).stem}" if self.data.holds_features else self.data.name
        parts = [data, self.data.crop, *model, loss, *source, *miner, *values]
        fold = [f"fold{self.evaluation.fold}of{self.evaluation.folds}"] if self.evaluation.folds else []
        return "_".join(map(str, [*parts, *fold, f"seed{self.run.seed}"]))


def _short(value: object) -> str:
    """Return a setting of a loss as a part of a folder name, without characters that a file system might refuse."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return "-".join(map(_short, value))
    return f"{value:g}" if isinstance(value, int | float) else "".join(c for c in str(value) if c.isalnum() or c == "-")
