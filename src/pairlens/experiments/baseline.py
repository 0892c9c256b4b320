"""The baseline of a run: the backbone as it comes, measured on the same test photos as the trained model."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pairlens.core.distributed import world_size
from pairlens.core.similarity import unit
from pairlens.data.catalog import Catalog
from pairlens.evaluation.embeddings import Embeddings
from pairlens.evaluation.evaluate import Report
from pairlens.evaluation.metric_definitions import MetricChoice, further_metrics, standard_metrics
from pairlens.evaluation.per_query import ClassSums
from pairlens.evaluation.retrieval_set import RetrievalSet
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.frozen_backbone import FrozenBackbone
from pairlens.experiments.splits import Splits
from pairlens.experiments.stored_sums import read_sums, write_sums
from pairlens.model.backbone import Backbone
from pairlens.model.check_sum import check_sum
from pairlens.model.given_features import GivenFeatures
from pairlens.model.plain_backbone import PlainBackbone
from pairlens.training.random_state import random_state, seed_everything, set_random_state

GIVEN = "given features"


@dataclass(frozen=True)
class Baseline:
    """The backbone as it comes, measured on the test photos of a run; see `PlainBackbone`.

    Attributes:
        name: "pretrained backbone", with the name of the file if its weights come from one, "random backbone", or "given
            features".
        report: retrieval on the test photos.
        photos: digest of the prepared data set.
        weights: check sum of the backbone's weights.
        image_size: height and width of the photos.
    """

    name: str
    report: Report
    photos: str
    weights: str
    image_size: int


@dataclass(frozen=True, eq=False)
class MeasuredBaseline:
    """A baseline with its values summed over each test class, which paired intervals need.

    Attributes:
        record: the baseline as it is stored in the outcome.
        by_class: the sums of its metrics over the queries of each class.
    """

    record: Baseline
    by_class: ClassSums

    def save(self, file: Path) -> None:
        """Write the record and the sums into one safetensors file, completely or not at all."""
        write_sums(file, "baseline", self.record, self.by_class)

    @classmethod
    def load(cls, file: Path) -> "MeasuredBaseline":
        """Read a file that `save` wrote; raises ValueError if it is missing or damaged."""
        try:
            return cls(*read_sums(file, "baseline", Baseline))
        except ValueError as error:
            raise ValueError(
                f"{file} is not a readable baseline ({error}); remove it and run pairlens evaluate on its folder"
            ) from error


def baseline_is_readable(file: Path) -> bool:
    """Return whether a file holds a baseline that is not damaged."""
    try:
        MeasuredBaseline.load(file)
    except ValueError:
        return False
    return True


def baseline_name(weights: str) -> str:
    """Return what the baseline is called in tables.

    >>> baseline_name("imagenet"), baseline_name("none"), baseline_name("weights/birds.pth")
    ('pretrained backbone', 'random backbone', 'pretrained backbone (birds.pth)')
    """
    names = {"imagenet": "pretrained backbone", "none": "random backbone"}
    return names.get(weights) or f"pretrained backbone ({Path(weights).name})"


def measure_baseline(
    backbone: Backbone | GivenFeatures,
    experiment: Experiment,
    splits: Splits,
    metrics: Sequence[MetricChoice] = (),
    watch: Callable[[Iterable, int], Iterable] | None = None,
    frozen: FrozenBackbone | None = None,
) -> MeasuredBaseline | None:
    """Return the baseline of a backbone that is not trained yet; None if its embeddings are not finite.

    No random number of the run is used, and the backbone itself does not change. The test photos are embedded once more,
    by all ranks together, unless the stored features of a frozen backbone are those that it pools.
    """
    test = embed_plain(backbone, experiment, (splits.test, splits.gallery), watch, frozen)
    # A random backbone in evaluation mode may overflow; a baseline must not stop the run.
    if not torch.isfinite(test.queries.vectors).all() or not torch.isfinite(test.items.vectors).all():
        return None
    values = test.measure(experiment.evaluation.recalls, metrics, sharded=world_size() > 1)
    report = replace(test.summarize(values), seen_classes=splits.seen_classes)
    weights = check_sum(backbone.network.state_dict())
    name = GIVEN if splits.test.channels else baseline_name(experiment.weights)
    return MeasuredBaseline(
        Baseline(name, report, splits.test.digest, weights, experiment.model.image_size), values.class_sums()
    )


def plain_backbone(backbone: Backbone, experiment: Experiment) -> PlainBackbone:
    """Return a backbone as it comes, on the same device; no random number of the run is used."""
    state = random_state()
    try:
        # A new network draws initial weights, which are then replaced.
        plain = PlainBackbone(backbone, experiment.model.backbone, experiment.model.image_size)
    finally:
        set_random_state(state)
    device = next(backbone.parameters()).device
    return plain.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def embed_plain(
    backbone: Backbone | GivenFeatures,
    experiment: Experiment,
    photos: tuple[Catalog, Catalog | None],
    watch: Callable[[Iterable, int], Iterable] | None = None,
    frozen: FrozenBackbone | None = None,
) -> RetrievalSet:
    """Embed queries and gallery with the backbone as it comes; stored features are read if they are those that it pools.

    Given features are taken as they are, scaled to unit length.
    """
    if isinstance(backbone, GivenFeatures):
        return RetrievalSet(*(_given(part) for part in photos if part is not None))
    plain = plain_backbone(backbone, experiment)
    stored = None if frozen is None else frozen.embed_plain(plain, *photos)
    if stored is not None:
        return stored
    batches = experiment.batches
    return RetrievalSet.embed(plain, *photos, batch_size=batches.size, workers=batches.workers, watch=watch)


def _given(photos: Catalog) -> Embeddings:
    return Embeddings(unit(photos.vectors), photos.labels, photos.paths, photos.class_names, photos.digest)


def find_baseline(
    files: Sequence[Path],
    backbone: Backbone | GivenFeatures,
    experiment: Experiment,
    splits: Splits,
    metrics: Sequence[MetricChoice] = (),
) -> MeasuredBaseline | None:
    """Return the first stored baseline that was measured with the same weights, photos, image size and metrics."""
    weights = check_sum(backbone.network.state_dict())
    recalls = experiment.evaluation.recalls
    names = [definition.name for definition in (*standard_metrics(recalls), *further_metrics(metrics, recalls))]
    for file in files:
        try:
            measured = MeasuredBaseline.load(file)
        except ValueError:
            # Missing, because that run has not begun yet, or damaged: then it is measured again.
            continue
        record = measured.record
        same = (record.weights, record.photos, record.image_size) == (
            weights,
            splits.test.digest,
            experiment.model.image_size,
        )
        if same and [metric.name for metric in record.report.metrics] == names:
            return measured
    return None


def initial_backbone(experiment: Experiment) -> Backbone:
    """Return the backbone that a run started from; raises ValueError if its weights are not available.

    Random weights are those of the seed of the run, because nothing else is drawn before them.
    """
    state = random_state()
    try:
        seed_everything(experiment.run.seed)
        return Backbone(experiment.model.backbone, experiment.weights, "none", experiment.model.image_size)
    finally:
        set_random_state(state)
