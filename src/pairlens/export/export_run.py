"""Exporting the model of a run, or a backbone as it comes, with its model card."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pairlens.core.files import write_text
from pairlens.core.images import decode, rows_of
from pairlens.core.inputs import as_whole_number
from pairlens.core.records import require
from pairlens.data.catalog import Catalog
from pairlens.data.minicars.render import CLASSES, photograph
from pairlens.evaluation.embeddings import Embeddings
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.outcome import Outcome
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.splits import open_catalog
from pairlens.export.model_card import UNKNOWN, model_card, weights_licence
from pairlens.export.onnx_model import export_onnx
from pairlens.export.parity import ComparedPhotos, Parity
from pairlens.model.backbone import Backbone
from pairlens.model.embedder import Embedder
from pairlens.model.onnx_file import read_onnx
from pairlens.model.photo_input import PhotoInput
from pairlens.model.plain_backbone import PlainBackbone

SUFFIX = ".onnx"


@dataclass(frozen=True)
class ExportedModel:
    """What was written: the ONNX file, its model card, and the comparison with the model in PyTorch."""

    file: Path
    card: Path
    parity: Parity


def export_run(
    run: Path,
    file: Path | None = None,
    *,
    precision: Literal["float32", "float16"] = "float32",
    photos: int = 256,
    data_path: Path | None = None,
    data_licence: str = UNKNOWN,
    calibrate: int = 0,
) -> ExportedModel:
    """Export the model of a run, compared on photos of its gallery.

    Args:
        run: the folder of the run.
        file: the ONNX file; by default `model.onnx` in the folder of the run.
        precision: the numbers that the backbone computes with.
        photos: number of photos of the gallery to compare on, spread evenly over it.
        data_path: folder of the prepared data sets, if they have moved since the run.
        data_licence: licence of the training photos, for the model card.
        calibrate: number of training photos whose activations give the ranges of an int8 model; 0 for none of int8.

    Raises:
        ValueError: if this is no finished run, or the exported model differs from the model; then no file is written.
        FileNotFoundError: if the data set is missing.
    """
    if calibrate and precision == "float16":
        raise ValueError("--calibrate makes an int8 model; leave out --precision float16, or --calibrate")
    calibrate = as_whole_number(calibrate, "calibrate", least=0)
    run_folder = RunFolder(run)
    experiment = run_folder.experiment(data_path)
    outcome = run_folder.read_outcome()
    require(
        not experiment.data.holds_features,
        f"{run} was trained on given features and sees no photos, and an exported model takes photos; the weights of its "
        "linear layers are in model.safetensors",
    )
    model = Embedder.load(run)
    whole = open_catalog(experiment)
    compared = _photos_of_gallery(model, run_folder, whole, photos)
    calibration = _spread(whole.select("train"), calibrate, experiment.model.image_size) if calibrate else None
    licences = weights_licence(experiment.model.backbone, experiment.weights), data_licence
    target = _onnx_name(file or run / f"model{SUFFIX}")
    parity = export_onnx(
        model,
        target,
        compared,
        precision="int8" if calibrate else precision,
        licences=licences,
        calibration=calibration,
    )
    return _with_card(target, parity, experiment, outcome)


def export_backbone(
    name: str,
    file: Path | None = None,
    *,
    weights: str = "imagenet",
    image_size: int = 224,
    precision: Literal["float32", "float16"] = "float32",
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
    target = _onnx_name(file or Path(name + SUFFIX))
    model = PlainBackbone(Backbone(name, weights, "none", image_size), name, image_size)
    shape = model.architecture
    view = PhotoInput(shape.image_size, shape.stored_size, shape.stored_quality)
    count = as_whole_number(photos, "photos", least=1)
    stored = [view.stored_form(photograph(i % CLASSES, i // CLASSES)) for i in range(count)]
    compared = ComparedPhotos(_pixels(stored, shape.image_size), _pixels(stored, shape.stored_size))
    licences = weights_licence(name, weights), UNKNOWN
    parity = export_onnx(model, target, compared, precision=precision, licences=licences)
    return _with_card(target, parity)


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


def _spread(catalog: Catalog, photos: int, size: int) -> np.ndarray:
    """Return the pixels of evenly spread photos of a catalog."""
    rows = np.linspace(0, len(catalog) - 1, min(photos, len(catalog))).astype(np.int64)
    return _pixels([bytes(catalog.jpeg(int(row))) for row in rows], size)


def _pixels(jpegs: list[bytes], size: int) -> np.ndarray:
    """Return stored JPEGs as (photo, size, size, 3)."""
    return np.ascontiguousarray(rows_of(decode(jpegs, size)))


def _onnx_name(file: Path) -> Path:
    if file.suffix != SUFFIX:
        raise ValueError(f"{file} must end in {SUFFIX}")
    return file


def _with_card(
    file: Path, parity: Parity, experiment: Experiment | None = None, outcome: Outcome | None = None
) -> ExportedModel:
    """Write the model card beside an exported file."""
    card = file.with_suffix(".md")
    write_text(card, model_card(file.name, read_onnx(file).description, parity, experiment, outcome))
    return ExportedModel(file, card, parity)
