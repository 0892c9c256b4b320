"""The commands `pairlens prepare | train | profile`."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pairlens.cli.console import Display, open_console, say, show_table
from pairlens.cli.launch import INTERRUPTED
from pairlens.cli.options import as_experiment, settings_record
from pairlens.cli.tables import report_table
from pairlens.core.distributed import barrier, rank
from pairlens.data.loader import working_size
from pairlens.data.prepare import Preparation
from pairlens.data.prepare import prepare as prepare_data
from pairlens.experiments.build import architecture
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.recipes import find_recipe
from pairlens.experiments.run import resume
from pairlens.experiments.run import train as train_run
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.splits import open_splits
from pairlens.model.backbone import Stride
from pairlens.model.cost import profile as profile_model
from pairlens.model.embedder import Architecture


def prepare(options: Preparation) -> None:
    """Read a raw data set and write it as one file of reduced photos, ready for training."""
    catalog = prepare_data(options, show=say)
    say(f"{catalog.file}: {len(catalog)} photos of {catalog.classes} classes")


def recipe_experiment(words: Sequence[str]) -> Experiment:
    """Return the experiment that `--recipe NAME` among the words names, or the defaults.

    The recipe determines the defaults of the other options, so it is read before them.
    """
    for number, word in enumerate(words, 1):
        option, equals, value = word.partition("=")
        if option == "--recipe":
            return find_recipe(value if equals else [*words, ""][number]).experiment
    return Experiment()


def option_names(words: Sequence[str]) -> frozenset[str]:
    """Return the names of the options among the words, spelled with underscores.

    >>> sorted(option_names(["--on-nan=stop", "--resume", "runs/mine"]))
    ['on_nan', 'resume']
    """
    options = (word for word in words if word.startswith("--"))
    return frozenset(option[2:].partition("=")[0].replace("-", "_") for option in options)


def train_command(base: Experiment, named: frozenset[str] = frozenset()) -> Callable[..., None]:
    """Return the command `train` whose defaults are those of an experiment.

    Args:
        base: the defaults.
        named: the options that were given; --resume needs them, because an option that is given may equal its default.
    """

    def train(
        settings: Experiment,
        name: str | None = None,
        runs: Path = Path("runs"),
        resume: Path | None = None,
        recipe: str | None = None,
    ) -> None:
        """Train an embedding model with a pairwise loss, and evaluate it after every epoch.

        Args:
            settings: the loss, the data, the model and the training.
            name: folder of the run in `runs`; by default it is derived from the settings.
            runs: folder of all runs.
            resume: the folder of a run to continue from its last checkpoint, with its own settings; only --on_nan and
                --checkpoint_minutes can be given beside it.
            recipe: the settings of a published experiment as defaults of all other options; `pairlens recipes` prints
                them.
        """
        experiment = as_experiment(settings)
        if resume is not None:
            differs = replace(experiment, **_changeable(base)) != base
            if differs or {"name", "recipe", "runs"} & named:
                raise ValueError(f"--resume continues with the settings of {resume}; give no others beside it")
            changed = {key: value for key, value in _changeable(experiment).items() if key in named}
            continue_run(RunFolder(resume), changed)
            return
        start(experiment, RunFolder(runs / (name or experiment.default_name)))

    # tyro derives the options from this annotation, which depends on the defaults.
    train.__annotations__["settings"] = settings_record("Settings", base)
    return train


def start(experiment: Experiment, run_folder: RunFolder) -> None:
    """Train an experiment in a new folder and show its progress."""
    _announce(experiment)
    _show_events(lambda display: train_run(experiment, run_folder, display.watch), experiment, run_folder)


def _changeable(experiment: Experiment) -> dict[str, Any]:
    """Return the settings that may change between two parts of a run, because they do not affect its results so far."""
    return {"on_nan": experiment.on_nan, "checkpoint_minutes": experiment.checkpoint_minutes}


def continue_run(run_folder: RunFolder, changed: Mapping[str, Any] | None = None) -> None:
    """Train the remaining epochs of an interrupted run and show its progress.

    Args:
        run_folder: the run.
        changed: new values of settings that may change.
    """
    experiment = run_folder.experiment()
    if changed:
        experiment = replace(experiment, **changed)
        if rank() == 0:
            with run_folder.lock():
                run_folder.write_experiment(experiment)
        # No rank reads the settings before the first one has written them.
        barrier()
    _announce(experiment)
    _show_events(lambda display: resume(run_folder, display.watch), experiment, run_folder)


def _announce(experiment: Experiment) -> None:
    splits = open_splits(experiment)
    costs = profile_model(architecture(experiment, splits.train.classes))
    gallery = "" if splits.gallery is None else f", gallery of {len(splits.gallery)}"
    held_out = "" if splits.validation is None else f", {splits.validation.classes} classes held out for validation"
    say(f"model   {experiment.backbone_type} {experiment.gd_config} {experiment.feature_dim}-d: {costs}")
    say(
        f"data    {splits.train.file}: training on {len(splits.train)} photos of {splits.train.classes} classes{held_out}"
    )
    say(f"        testing on {len(splits.test)} photos of {splits.test.classes} unseen classes{gallery}")
    say(f"loss    {experiment.loss} on {_references(experiment)}")
    if working_size(experiment.image_size) > splits.train.size:
        say(
            f"note    --image_size {experiment.image_size} enlarges photos stored at {splits.train.size} px; prepare them "
            f"with --size {working_size(experiment.image_size)}"
        )
    if experiment.weights == "none" and experiment.freeze_bn != "none":
        say(
            f"note    --weights none with --freeze_bn {experiment.freeze_bn}: BatchNorm keeps its initial statistics; "
            "from scratch --freeze_bn none learns better"
        )


def _references(experiment: Experiment) -> str:
    names = {"batch": "the batch", "memory": f"a memory of {experiment.memory_size}", "proxies": "proxies"}
    miner = "" if experiment.miner is None else f", pairs chosen by {experiment.miner}"
    return names[experiment.source] + miner


def _show_events(events: Callable[[Display], Any], experiment: Experiment, run_folder: RunFolder) -> None:
    try:
        with Display(open_console(), experiment.num_epochs) as display:
            for event in events(display):
                display.show(event)
    except KeyboardInterrupt:
        # A run is made to be interrupted, so this is no error; the sentence says how to continue.
        say(f"interrupted; the last checkpoint is saved. Continue with: pairlens train --resume {run_folder.path}")
        sys.exit(INTERRUPTED)
    # Every rank trains, but one prints.
    if rank():
        return
    outcome = run_folder.read_outcome()
    rows = [("before training", outcome.untrained), ("trained", outcome.report)]
    show_table(open_console(), report_table(rows, f"{run_folder.path}: {outcome.selection}"))
    say(f"look up a photo: pairlens query {run_folder.path} --query_img_name FILE")
    say(f"all results on one page: pairlens report {run_folder.path}")


def profile(
    backbone_type: str = "resnet50",
    gd_config: str = "SG",
    feature_dim: int = 1536,
    classes: int = 98,
    stride: Stride = "port",
    image_size: int = 224,
) -> None:
    """Print the parameters and multiply-adds of a model.

    Args:
        backbone_type: resnet50, resnext50, efficientnet_lite0 or any timm model name.
        gd_config: global descriptors, one to three of S (mean), M (maximum), G (generalised mean).
        feature_dim: dimension of the embedding.
        classes: number of training classes, the outputs of the auxiliary head.
        stride: which down-sampling of the backbone is removed.
        image_size: height and width of the photos.
    """
    model = Architecture(backbone_type, gd_config, feature_dim, classes, stride, image_size)
    say(f"{backbone_type} {gd_config} {feature_dim}-d, {classes} classes, stride {stride}: {profile_model(model)}")
