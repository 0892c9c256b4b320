"""The command `pairlens export`."""

from pathlib import Path
from typing import Literal

import tyro

from pairlens.cli.terminal import say


def export(  # noqa: PLR0913 (one per option)
    run: tyro.conf.Positional[Path],
    out: Path | None = None,
    precision: Literal["float32", "float16"] = "float32",
    photos: int = 256,
    data_path: Path | None = None,
    weights: str = "imagenet",
    image_size: int = 224,
    data_licence: str = "unknown",
    calibrate: int = 0,
) -> None:
    """Write the model of a run as one ONNX file that runs without PyTorch, with a model card.

    Its vectors are compared with those of the model on photos of the gallery, and a file that differs is not written.

    Args:
        run: the folder of a run; or the name of a backbone, such as efficientnet_lite0, which is exported as it comes.
        out: the ONNX file; by default model.onnx in the folder of the run, or the name of the backbone.
        precision: float16 halves the file; its vectors differ a little, and it counts as another model.
        photos: how many photos to compare on.
        data_path: folder of the prepared data sets, if they have moved since the run.
        weights: of a backbone: imagenet, none, or a file of weights.
        image_size: of a backbone: height and width of its photos.
        data_licence: licence of the training photos, for the model card.
        calibrate: write an int8 model instead, with ranges from this many training photos, such as 200. It finds other
            photos than the model of the run; the comparison says how often.
    """
    # Imported here, because a help text does not need the exporter.
    from pairlens.export.export_run import export_backbone, export_run

    # A name without a folder of that name is a backbone.
    if run.exists() or len(run.parts) != 1:
        exported = export_run(
            run,
            out,
            precision=precision,
            photos=photos,
            data_path=data_path,
            data_licence=data_licence,
            calibrate=calibrate,
        )
    elif calibrate:
        raise ValueError("int8 is for the model of a run, whose training photos calibrate it; give the folder of a run")
    else:
        exported = export_backbone(
            run.name, out, weights=weights, image_size=image_size, precision=precision, photos=photos
        )
    for line in exported.parity.lines():
        say(line)
    say(f"model: {exported.file}")
    say(f"card:  {exported.card}")
