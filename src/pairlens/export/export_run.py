"""Exporting the model of a run, or a backbone as it comes, with its model card."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pairlens.core.files import write_text
from pairlens.core.images import decode, rows_of
from pairlens.core.inputs import as_whole_number
from pairlens.data.catalog import Catalog
from pairlens.data.minicars.render import CLASSES, photograph
from pairlens.evaluation.embeddings import Embeddings
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.outcome import Outcome
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.splits import open_catalog
from pairlens.export.model_card import UNKNOWN, model_card, weights_licence
from pairlens.export.onnx_graph import ExportableModel
from pairlens.export.onnx_model import describe, export_onnx
from pairlens.export.parity import Parity
from pairlens.model.backbone import Backbone
from pairlens.model.embedder import Embedder
from pairlens.model.onnx_file import Precision
from pairlens.model.photo_input import PhotoInput
from pairlens.model.plain_backbone import PlainBackbone

SUFFIX = ".onnx"


@dataclass(frozen=True)
class ExportedModel:
    """What was written: the ONNX file, its model card, and the comparison with the model in PyTorch."""

    file: Path
    card: Path
    parity: Parity


@dataclass(frozen=True)
class ComparedPhotos:
    """Photos to compare two models on, as arguments of `check_parity`.

    Attributes:
        pixels: as the network sees them.
        stored: as they are stored.
        gallery: vectors to search; None for those of the photos.
        rows: where the photos are in the gallery.
    """

    pixels: np.ndarray
    stored: np.ndarray
    gallery: np.ndarray | None = None
    rows: np.ndarray | None = None


def export_run(
    run: Path,
    file: Path | None = None,
    *,
    precision: Precision = "float32",
    photos: int = 256,
    data_path: Path | None = None,
    data_licence: str = UNKNOWN,
) -> ExportedModel:
    """Export the model of a run, compared on photos of its gallery.

    Args:
        run: the folder of the run.
        file: the ONNX file; by default `model.onnx` in the folder of the run.
        precision: the numbers that the backbone computes with.
        photos: number of photos of the gallery to compare on, spread evenly over it.
        data_path: folder of the prepared data sets, if they have moved since the run.
        data_licence: licence of the training photos, for the model card.

    Raises:
        ValueError: if this is no finished run, or the exported model differs from the model; then no file is written.
        FileNotFoundError: if the data set is missing.
    """
    run_folder = RunFolder(run)
    experiment = run_folder.experiment(data_path)
    outcome = run_folder.read_outcome()
    model = Embedder.load(run)
    compared = _photos_of_gallery(model, run_folder, open_catalog(experiment), photos)
    licences = weights_licence(experiment.model.backbone, experiment.weights), data_licence
    target = file or run / f"model{SUFFIX}"
    return _export(model, target, precision, compared, licences, (experiment, outcome))


def export_backbone(
    name: str,
    file: Path | None = None,
    *,
    weights: str = "imagenet",
    image_size: int = 224,
    precision: Precision = "float32",
    photos: int = 64,
) -> ExportedModel:
    """Export a backbone as it comes, compared on drawn photos.

    Args:
        name: resnet50, resnext50, efficientnet_lite0 or any timm model name.
        file: the ONNX file; by default the name of the backbone in the current folder.
        weights: imagenet, none, or a file of backbone weights.
        image_size: height and width of the photos.
        precision: the numbers that the backbone computes with.
        photos: number of photos to compare on.

    Raises:
        ValueError: if the backbone is unknown, or the exported model differs from it; then no file is written.
    """
    model = PlainBackbone(Backbone(name, weights, "none", image_size), name, image_size)
    shape = model.architecture
    view = PhotoInput(shape.image_size, shape.stored_size, shape.stored_quality)
    count = as_whole_number(photos, "photos", least=1)
    stored = [view.stored_form(photograph(i % CLASSES, i // CLASSES)) for i in range(count)]
    compared = ComparedPhotos(_pixels(stored, shape.image_size), _pixels(stored, shape.stored_size))
    licences = weights_licence(name, weights), UNKNOWN
    return _export(model, file or Path(name + SUFFIX), precision, compared, licences, None)


def _photos_of_gallery(model: Embedder, run_folder: RunFolder, whole: Catalog, photos: int) -> ComparedPhotos:
    """Return evenly spread photos of the gallery of a run, with the vectors of the whole gallery."""
    catalog = whole.select("gallery" if "query" in whole.splits else "test")
    count = min(as_whole_number(photos, "photos", least=1), len(catalog))
    rows = np.linspace(0, len(catalog) - 1, count).astype(np.int64)
    jpegs = [bytes(catalog.jpeg(int(row))) for row in rows]
    gallery = Embeddings.load(run_folder.gallery)
    if gallery.paths != catalog.paths or gallery.vectors.shape[1] != model.architecture.dim:
        raise ValueError(
            f"the gallery of {run_folder.path} is of other photos or of another model; embed it again with pairlens "
            "evaluate RUN"
        )
    return ComparedPhotos(
        _pixels(jpegs, model.architecture.image_size), _pixels(jpegs, whole.size), gallery.vectors.numpy(), rows
    )


def _pixels(jpegs: list[bytes], size: int) -> np.ndarray:
    """Return stored JPEGs as (photo, size, size, 3)."""
    return np.ascontiguousarray(rows_of(decode(jpegs, size)))


def _export(
    model: ExportableModel,
    file: Path,
    precision: Precision,
    compared: ComparedPhotos,
    licences: tuple[str, str],
    trained: tuple[Experiment, Outcome] | None,
) -> ExportedModel:
    if file.suffix != SUFFIX:
        raise ValueError(f"{file} must end in {SUFFIX}")
    parity = export_onnx(
        model,
        file,
        compared.pixels,
        precision=precision,
        gallery=compared.gallery,
        rows=compared.rows,
        stored=compared.stored,
        licences=licences,
    )
    card = file.with_suffix(".md")
    experiment, outcome = trained or (None, None)
    write_text(card, model_card(file.name, describe(model, precision, licences), parity, experiment, outcome))
    return ExportedModel(file, card, parity)
