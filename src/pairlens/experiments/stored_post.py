"""Test photos measured after post-processing, stored for each test class: of a run, and of its backbone as it comes."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from pairlens.core.settings import with_settings
from pairlens.evaluation.evaluate import Report
from pairlens.evaluation.metric_definitions import is_standard
from pairlens.evaluation.per_query import ClassSums
from pairlens.experiments.baseline import Baseline, embed_plain, initial_backbone
from pairlens.experiments.build import choose_device
from pairlens.experiments.frozen_backbone import FrozenBackbone
from pairlens.experiments.post_processed import PostProcessing, measure_processed, post_process_run
from pairlens.experiments.run_folder import OpenRun, RunFolder
from pairlens.experiments.run_sums import origin_of_embeddings
from pairlens.experiments.stored_sums import read_sums, write_sums
from pairlens.model.backbone import Backbone
from pairlens.model.check_sum import check_sum
from pairlens.model.embedder import Embedder
from pairlens.model.given_features import GivenFeatures


@dataclass(frozen=True)
class PostRecord:
    """What was measured after post-processing.

    Attributes:
        processing: what was done.
        weights: check sum of the weights that made the embeddings.
        photos: digest of the prepared data set.
        report: the standard metrics.
        image_size: height and width of the photos; None in older files.
    """

    processing: PostProcessing
    weights: str
    photos: str
    report: Report
    image_size: int | None = None


@dataclass(frozen=True, eq=False)
class MeasuredPost:
    """A record with its values summed over each test class, which paired intervals need.

    Attributes:
        record: what was measured.
        by_class: the sums of its metrics over the queries of each class.
    """

    record: PostRecord
    by_class: ClassSums

    def save(self, file: Path) -> None:
        """Write the record and the sums into one safetensors file, completely or not at all."""
        write_sums(file, "post", self.record, self.by_class)

    @classmethod
    def find(cls, file: Path, processing: PostProcessing, weights: str, photos: str) -> "MeasuredPost | None":
        """Read a file that `save` wrote; None if it is missing, damaged, or of another processing, model or data set."""
        try:
            found = cls(*read_sums(file, "post", PostRecord))
        except ValueError:
            # It can be measured again at any time.
            return None
        record = found.record
        wanted = (processing, weights, photos)
        return found if (record.processing, record.weights, record.photos) == wanted else None


def post_of_run(run_folder: RunFolder, processing: PostProcessing) -> MeasuredPost | None:
    """Return a finished run after post-processing, if that is stored.

    Raises:
        ValueError: if the run is of an earlier version, and its gallery is missing or damaged.
    """
    return MeasuredPost.find(run_folder.post, processing, *origin_of_embeddings(run_folder))


def measure_post_of_run(
    run_folder: RunFolder, processing: PostProcessing, data_path: Path, device: Literal["auto", "cpu", "cuda"]
) -> None:
    """Measure a finished run after post-processing and store it in its folder.

    Args:
        run_folder: of the run.
        processing: what is done.
        data_path: folder of the prepared data sets, which may have moved since the run was trained.
        device: where photos are embedded.

    Raises:
        ValueError: as `post_process_run`.
    """
    done = post_process_run(run_folder.path, processing, data_path=data_path, device=device)
    record = PostRecord(processing, *origin_of_embeddings(run_folder), done.report)
    measured = MeasuredPost(record, done.values.class_sums())
    measured.save(run_folder.post)


def post_of_baseline(file: Path, baseline: Baseline, processing: PostProcessing) -> MeasuredPost | None:
    """Return the backbone as it comes after post-processing, if that is stored in a file."""
    found = MeasuredPost.find(file, processing, baseline.weights, baseline.photos)
    if found is None or [metric.name for metric in found.record.report.metrics] != _standard_names(baseline.report):
        return None
    return found if found.record.image_size in (None, baseline.image_size) else None


def _standard_names(report: Report) -> list[str]:
    return [metric.name for metric in report.metrics if is_standard(metric.name)]


def measure_post_of_baseline(
    run_folder: RunFolder,
    processing: PostProcessing,
    file: Path,
    data_path: Path,
    device: Literal["auto", "cpu", "cuda"],
) -> None:
    """Measure the backbone of a finished run as it comes after post-processing, and store it.

    Unless the run has stored features, the training photos are embedded once more.

    Args:
        run_folder: of the run.
        processing: what is done.
        file: where it is stored.
        data_path: folder of the prepared data sets, which may have moved since the run was trained.
        device: where photos are embedded.

    Raises:
        ValueError: if the weights that the run started from are gone, or as `measure_processed`.
        FileNotFoundError: if the data set is not there.
    """
    opened = run_folder.open(data_path)
    opened = replace(opened, experiment=with_settings(opened.experiment, {"device": device}))
    experiment, splits = opened.experiment, opened.splits
    backbone, frozen = _backbone(opened)

    def training_vectors() -> Tensor:
        return embed_plain(backbone, experiment, (splits.train, None), frozen=frozen).queries.vectors

    test = embed_plain(backbone, experiment, (splits.test, splits.gallery), frozen=frozen)
    values = measure_processed(test, processing, experiment.evaluation.recalls, training_vectors)
    report = replace(test.summarize(values), seen_classes=splits.seen_classes)
    weights = check_sum(backbone.network.state_dict())
    record = PostRecord(processing, weights, splits.test.digest, report, experiment.model.image_size)
    measured = MeasuredPost(record, values.class_sums())
    measured.save(file)


def _backbone(opened: OpenRun) -> tuple[Backbone | GivenFeatures, FrozenBackbone | None]:
    """Return the backbone that a run started from, and its stored features if it is frozen."""
    experiment = opened.experiment
    device = choose_device(experiment.run.device)
    if experiment.objective.freeze == "none":
        return initial_backbone(experiment).to(device), None
    model = Embedder.load(opened.run_folder.path, str(device))
    # A run with a module from outside has no baseline.
    backbone: Backbone | GivenFeatures = model.backbone  # pyright: ignore[reportAssignmentType]
    return backbone, FrozenBackbone(experiment, model, opened.splits.train)
