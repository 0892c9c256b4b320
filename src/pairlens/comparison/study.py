"""A study: losses compared on benchmarks, each a data set with the settings that all losses share."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pairlens.core.import_rules import NamedIn
from pairlens.core.records import require
from pairlens.core.settings import with_settings
from pairlens.core.suggestion import suggest
from pairlens.core.untrusted import is_plain_text
from pairlens.evaluation.metric_definitions import MetricChoice, further_metrics, is_standard, standard_metrics
from pairlens.evaluation.metrics import suggest_metric
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.metric_spec import import_metrics, is_from_outside
from pairlens.experiments.post_processed import PostProcessing
from pairlens.losses.loss_text import third_party_names, trainable_from_text
from pairlens.losses.tuning_space import Range

SEEDS = 5
MAX_COUNT = 10_000
METRIC = "MAP@R"
# Of which finished runs the model and the embedded photos stay on disk.
KeptModels: TypeAlias = Literal["all", "first_seed"]
AS_IT_IS = PostProcessing()


@dataclass(frozen=True)
class Arm:
    """One of the losses that are compared.

    Attributes:
        name: the name of the loss in tables and figures.
        loss: the loss as text: `circle:gamma=64`, or `module:callable(name=value)` for a function of (embeddings,
            labels).
        origin: the file that names the loss; None if a person does.
    """

    name: str
    loss: str
    origin: NamedIn | None = field(default=None, repr=False, compare=False, metadata={"plain": False})

    @classmethod
    def of(cls, text: str) -> "Arm":
        """Read `LOSS` or `LOSS as NAME`.

        >>> Arm.of("circle:gamma=64 as circle 64")
        Arm(name='circle 64', loss='circle:gamma=64')
        """
        loss, _, name = (part.strip() for part in text.partition(" as "))
        return cls(name or loss, loss)

    @property
    def space_names(self) -> tuple[str, str]:
        """The names under which a study may give tuning ranges for this loss: its own, and its text without settings."""
        return self.name, re.sub(r"(^[A-Za-z_-]+):.*=.*|\(.*", r"\1", self.loss)

    def make(self) -> Any:
        """Return the loss; raises ValueError if the text names none, or code that the file with the text may not import."""
        if self.origin is not None:
            # All terms of a sum are checked before the first one is imported.
            for name in third_party_names(self.loss):
                self.origin.check(name)
        return trainable_from_text(self.loss, self.name)


@dataclass(frozen=True)
class Benchmark:
    """A data set, and the settings with which all losses are trained on it.

    Attributes:
        name: the name of the benchmark in tables and figures.
        settings: every setting but loss and seed.
        seeds: number of seeds; with the same seed every loss starts from the same weights and sees the same batches and
            crops.
        tuned_in: name of another benchmark, whose tuned settings are used here as well; by default a benchmark is tuned
            for itself.
        first_seed: the first of the seeds, which are consecutive numbers.
        origin: the file that names the further metrics; None if a person does.
    """

    name: str
    settings: Experiment
    seeds: int = SEEDS
    tuned_in: str = ""
    first_seed: int = 0
    origin: NamedIn | None = field(default=None, repr=False, compare=False, metadata={"plain": False})

    def metrics(self) -> tuple[MetricChoice, ...]:
        """Return the further metrics, those of other projects imported; raises ValueError if the file may not do that."""
        chosen = self.settings.evaluation.metrics
        for name in chosen:
            if self.origin is not None and isinstance(name, str) and is_from_outside(name):
                self.origin.check(name)
        return import_metrics(chosen)

    @property
    def may_draw(self) -> bool:
        """Whether minicars may be drawn for it: where a person says, or a file says inside the current folder."""
        inside = Path.cwd() / self.settings.data.path
        return self.origin is None or inside.resolve().is_relative_to(Path.cwd().resolve())

    @property
    def seed_numbers(self) -> range:
        """The seeds, where `seeds` is their number."""
        return range(self.first_seed, self.first_seed + self.seeds)


@dataclass(frozen=True)
class Study:
    """Losses × benchmarks × seeds.

    Attributes:
        arms: the losses.
        fields: the benchmarks on which they are compared; stored studies have this key.
        tune: number of settings of each loss that are tried first, on training classes only; 0 uses the settings as
            they are given.
        folds: number of folds into which the training classes are divided for tuning.
        halving: whether a setting that is not in the better half of those that were tried so far is given up after a fold.
        keep: of which finished runs the model and the embedded photos stay: all, or first_seed, those of the first seed
            that is finished of each loss on each benchmark, which the report shows; the results of every run stay.
        metric: the metric by which losses are tuned and ranked.
        spaces: tuning ranges of losses, by the name of the loss or the text of it without settings; they take the place of
            the ranges that the loss brings itself.
        processing: what is done with the embeddings of every run, and of the backbone as it comes, for a second
            measurement beside the usual one; nothing by default.
    """

    arms: tuple[Arm, ...]
    fields: tuple[Benchmark, ...]
    tune: int = 0
    folds: int = 4
    metric: str = METRIC
    spaces: dict[str, dict[str, Range]] = field(default_factory=dict)
    processing: PostProcessing = field(default=AS_IT_IS, metadata={"omit_default": True})
    halving: bool = field(default=False, metadata={"omit_default": True})
    keep: KeptModels = field(default="all", metadata={"omit_default": True})

    def __post_init__(self) -> None:
        require(len(self.arms) > 1, "a comparison needs two losses or more; give them with --losses")
        require(bool(self.fields), "a comparison needs a data set; give one with --data_name")
        _check_names("losses", [arm.name for arm in self.arms])
        _check_names("benchmarks", [benchmark.name for benchmark in self.fields])
        require(0 <= self.tune <= MAX_COUNT, f"--tune must be 0 to {MAX_COUNT:,}, not {self.tune}")
        require(not self.tune or self.folds >= 2, f"--folds must be at least 2 to tune, not {self.folds}")
        for benchmark in self.fields:
            self._check_benchmark(benchmark)
        known = {name for arm in self.arms for name in arm.space_names}
        unknown = sorted(set(self.spaces) - known)
        require(
            not unknown,
            f"the tuning ranges of {unknown[:1]} belong to no loss of the study; there are: {sorted(known)}",
        )
        require(
            not self.processing.name or is_standard(self.metric),
            f"--metric {self.metric} is not measured after post-processing, which has the standard metrics only; rank by "
            f"{METRIC} or R@1, or leave out --post and --reduce",
        )

    @property
    def names_code(self) -> bool:
        """Whether a loss or a metric is of another project, so that a study from a file needs trust."""
        metrics = [name for one in self.fields for name in one.settings.evaluation.metrics]
        return any(third_party_names(arm.loss) for arm in self.arms) or any(map(is_from_outside, metrics))

    def space(self, arm: Arm) -> dict[str, Range]:
        """Return the tuning ranges that the study gives for a loss; none if it gives none."""
        return next((self.spaces[name] for name in arm.space_names if name in self.spaces), {})

    def _check_benchmark(self, benchmark: Benchmark) -> None:
        require(
            1 <= benchmark.seeds <= MAX_COUNT,
            f"{benchmark.name} has {benchmark.seeds} seeds; give --seeds 1 to {MAX_COUNT:,}",
        )
        # A study may come from a stored file, whose metrics are not imported; `check` does so before the first run.
        if not any(map(is_from_outside, benchmark.settings.evaluation.metrics)):
            check_ranking_metric(self.metric, benchmark.settings, benchmark.settings.evaluation.metrics)
        # A chain of benchmarks, each tuned in the next, is not followed.
        tuned = [other.name for other in self.fields if other is not benchmark and not other.tuned_in]
        require(
            not benchmark.tuned_in or benchmark.tuned_in in tuned,
            f"{benchmark.name} uses the settings tuned in {benchmark.tuned_in!r}, which is not a tuned benchmark of this "
            f"study; {suggest(benchmark.tuned_in or '', tuned)}",
        )


def check_ranking_metric(name: str, settings: Experiment, metrics: Sequence[MetricChoice]) -> None:
    """Raise ValueError if losses cannot be ranked by a metric.

    Args:
        name: of the metric.
        settings: of the benchmark.
        metrics: its further metrics, of which those from outside are imported.
    """
    recalls = settings.evaluation.recalls
    definitions = {d.name: d for d in (*standard_metrics(recalls), *further_metrics(metrics, recalls))}
    require(name in definitions, f"--metric {name} is not measured; {suggest_metric(name, list(definitions))}")
    require(
        definitions[name].higher_is_better,
        f"--metric {name} is better when it is lower, but losses are ranked by a metric that is better when it is higher; "
        f"measure it with --metrics, and rank by another --metric, such as {METRIC}",
    )


def _check_names(what: str, names: Sequence[str]) -> None:
    """Raise ValueError if two names would have the same folder."""
    unshown = next((name for name in names if not is_plain_text(name)), None)
    require(
        unshown is None,
        f"the {what} have the name {unshown!r}, with a line break, another control character or bytes that are not UTF-8; "
        "choose another name",
    )
    # "a b" and "A-b" are different names with the same folder.
    slugs = Counter(map(slug, names))
    repeated = [name for name in names if slugs[slug(name)] > 1]
    if repeated:
        raise ValueError(
            f"two {what} are called {repeated[0]}; give them different names, as in 'circle as my circle' for a loss"
        )


def experiment_of(arm: Arm, benchmark: Benchmark, seed: int) -> Experiment:
    """Return the experiment of one run; raises ValueError if the loss does not fit the settings of the benchmark.

    This is the only way from a study to a training, so what a file may not import is refused here at the latest.
    """
    benchmark.metrics()
    return with_settings(benchmark.settings, {"loss": arm.make(), "seed": seed})


def slug(name: str) -> str:
    """Return a name as the name of a folder, which never leads out of the folder that contains it.

    >>> slug("Omniglot, loss alone"), slug("..")
    ('omniglot-loss-alone', 'unnamed')
    """
    # Without leading and trailing dots, a name cannot be "..", nor a hidden folder.
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.") or "unnamed"
