"""The model card of an exported model: a Markdown page beside the file, for those who get the file alone."""

from pathlib import Path

from pairlens.core.untrusted import read_text
from pairlens.evaluation.evaluate import counted_classes
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.outcome import Outcome
from pairlens.export.parity import Parity
from pairlens.losses.loss_text import loss_text
from pairlens.model.onnx_file import OnnxDescription

# A text file and not a module, because it imports libraries that Pairlens does not need.
_PLAIN_PROGRAM = Path(__file__).with_name("embed_photo.txt")
UNKNOWN = "unknown"
# As the package that brings the weights states. Of other weights only their user knows.
_LICENCES_OF_WEIGHTS = {("efficientnet_lite0", "imagenet"): "Apache-2.0"}


def weights_licence(backbone: str, weights: str) -> str:
    """Return the licence of the weights that a backbone starts from; "unknown" where Pairlens does not know it.

    >>> weights_licence("efficientnet_lite0", "imagenet"), weights_licence("resnet50", "none")
    ('Apache-2.0', 'none: trained from random weights')
    """
    if weights == "none":
        return "none: trained from random weights"
    return _LICENCES_OF_WEIGHTS.get((backbone, weights), UNKNOWN)


def plain_program() -> str:
    """Return a program that embeds a photo with an exported model, without PyTorch and without Pairlens."""
    return read_text(_PLAIN_PROGRAM)


def model_card(
    name: str,
    description: OnnxDescription,
    parity: Parity,
    experiment: Experiment | None = None,
    outcome: Outcome | None = None,
) -> str:
    """Return the model card as Markdown.

    Args:
        name: name of the ONNX file.
        description: its metadata.
        parity: how its vectors compare with those of the model in PyTorch.
        experiment: the settings of the run that trained it; None for a backbone as it comes.
        outcome: the figures of that run.
    """
    sections = [
        f"# {name}",
        (
            "An embedding model for image retrieval, exported by Pairlens: uint8 photos `(photo, height, width, 3)` in, "
            f"unit vectors `(photo, {description.dim})` out. Photos that show the same have a cosine close to 1."
        ),
        _table(_facts(description)),
        "## Training",
        _training(experiment),
        *_figures(outcome),
        "## Parity with the model in PyTorch",
        "\n".join(f"- {line}" for line in parity.lines()),
        "## How to use it",
        (
            f"With Pairlens: `OnnxEmbedder.load({name!r}).embed(photos)` of `pairlens.model.onnx_embedder`. Without "
            f"Pairlens and PyTorch, as `python embed_photo.py {name} photo.jpg`:"
        ),
        f"```python\n{plain_program()}```",
        (
            f"Photos of any size may be given to the file, which resizes them to {description.image_size} px itself. The "
            "vectors are those of training only if the photos go through the small JPEG first, as above; otherwise compare "
            "them only with vectors that were made in the same way."
        ),
    ]
    return "\n\n".join(sections) + "\n"


def _facts(description: OnnxDescription) -> dict[str, str]:
    return {
        "backbone": f"{description.backbone}, descriptors {description.descriptors or 'its own pooling'}",
        "fingerprint": f"`{description.fingerprint}`",
        "precision": description.precision,
        "photos": f"{description.image_size} px, from JPEGs of {description.stored_size} px and quality "
        f"{description.stored_quality}",
        "licence of the pretrained weights": description.weights_licence,
        "licence of the training photos": description.data_licence,
        "written by": f"Pairlens {description.version}",
    }


def _table(rows: dict[str, str]) -> str:
    # A bar would end a cell.
    cells = (f"| {key} | {value.replace('|', '/')} |" for key, value in rows.items())
    return "\n".join(["| | |", "|---|---|", *cells])


def _training(experiment: Experiment | None) -> str:
    if experiment is None:
        return "None: the backbone as its authors published it, pooled as they pool it."
    data = experiment.data
    return "\n".join(
        [
            f"- data: {data.name}, {data.crop}",
            f"- loss: `{loss_text(experiment.loss)}`",
            f"- backbone weights at the start: {Path(experiment.weights).name}",
            f"- epochs: {experiment.run.epochs}, seed {experiment.run.seed}",
        ]
    )


def _figures(outcome: Outcome | None) -> list[str]:
    """Return the section of the figures: each metric with its interval, trained and untrained."""
    if outcome is None:
        return []
    report = outcome.report
    title = f"On {counted_classes(report.classes, report.seen_classes)}, {outcome.selection}; 95 % intervals."
    named = [*outcome.baselines, ("this model", report)]
    header = f"| metric, % | {' | '.join(name for name, _ in named)} |"
    rows = [
        f"| {metric.name} | {' | '.join(one.metric(metric.name).with_interval for _, one in named)} |"
        for metric in report.metrics
    ]
    return ["## Figures", title, "\n".join([header, "|---" * (len(named) + 1) + "|", *rows])]
