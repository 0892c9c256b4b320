"""The commands `pairlens prepare | train | profile`."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pairlens.cli.console import Display, open_console, say
from pairlens.cli.launch import INTERRUPTED
from pairlens.cli.options import as_experiment, settings_record
from pairlens.cli.tables import report_table
from pairlens.core.distributed import barrier, rank
from pairlens.data.loader import working_size
from pairlens.data.prepare import Preparation
from pairlens.data.prepare import prepare as prepare_data
from pairlens.experiments.build import architecture
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run import resume
from pairlens.experiments.run import train as train_run
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.splits import open_splits
from pairlens.model.backbone import Stride
from pairlens.model.cost import profile as profile_model
from pairlens.model.embedder import Architecture


def prepare(options: Preparation) -> None:
    """Read a raw data set once and write it as one file of small photos, ready for training."""
    catalog = prepare_data(options, show=say)
    say(f"{catalog.file}: {len(catalog)} photos of {catalog.classes} classes")


def train_command(base: Experiment, named: frozenset[str] = frozenset()) -> Callable[..., None]:
    """Return the command `train` whose defaults are those of an experiment.

    Args:
        base: the defaults.
        named: the options that were given, which beside --resume count also where they are the defaults.
    """

    def train(
        settings: Experiment,
        name: str | None = None,
        runs: Path = Path("runs"),
        resume: Path | None = None,
        recipe: str | None = None,
    ) -> None:
        """Train an embedding model under a pairwise loss, and evaluate it after every epoch.

        Args:
            settings: what to train, on what, and how.
            name: folder of the run under `runs`; by default made of the settings.
            runs: folder of all runs.
            resume: the folder of a run to go on with, from its last checkpoint; its own settings hold, only --on_nan skip
                and --checkpoint_minutes can be given beside it.
            recipe: the settings of a paper, from which every other option departs; `pairlens recipes` prints them.
        """
        experiment = as_experiment(settings)
        if resume is not None:
            others = {"name", "recipe", "runs"} & named or replace(experiment, **_changeable(base)) != base
            if others:
                raise ValueError(f"--resume goes on with the settings of {resume}; give no others beside it")
            given = {key: value for key, value in _changeable(experiment).items() if key in named}
            go_on(RunFolder(resume), given)
            return
        start(experiment, RunFolder(runs / (name or experiment.default_name)))

    # What tyro reads the options from.
    train.__annotations__["settings"] = settings_record("Settings", base)
    return train


def start(experiment: Experiment, place: RunFolder) -> None:
    """Train an experiment in a new folder, showing what happens."""
    _announce(experiment)
    _consume(lambda display: train_run(experiment, place, display.watch), experiment, place)


def _changeable(experiment: Experiment) -> dict[str, Any]:
    """Return the settings of which a run with others, from its start, would have come to the same until now."""
    return {"on_nan": experiment.on_nan, "checkpoint_minutes": experiment.checkpoint_minutes}


def go_on(place: RunFolder, given: Mapping[str, Any] | None = None) -> None:
    """Train the rest of an interrupted run, showing what happens; `given` are settings that are changed."""
    experiment = place.experiment()
    if given:
        experiment = replace(experiment, **given)
        if rank() == 0:
            with place.lock():
                place.write_experiment(experiment)
        barrier()
    _announce(experiment)
    _consume(lambda display: resume(place, display.watch), experiment, place)


def _announce(experiment: Experiment) -> None:
    parts = open_splits(experiment)
    costs = profile_model(architecture(experiment, parts.train.classes))
    gallery = "" if parts.gallery is None else f", gallery of {len(parts.gallery)}"
    held_out = "" if parts.validation is None else f", {parts.validation.classes} classes held out for validation"
    say(f"model   {experiment.backbone_type} {experiment.gd_config} {experiment.feature_dim}-d: {costs}")
    say(f"data    {parts.train.file}: training on {len(parts.train)} photos of {parts.train.classes} classes{held_out}")
    say(f"        testing on {len(parts.test)} photos of {parts.test.classes} unseen classes{gallery}")
    say(f"loss    {experiment.loss} on {_references(experiment)}")
    if working_size(experiment.image_size) > parts.train.size:
        say(
            f"note    --image_size {experiment.image_size} enlarges photos stored at {parts.train.size} px; prepare them "
            f"with --size {working_size(experiment.image_size)}"
        )
    if experiment.weights == "none" and experiment.freeze_bn != "none":
        say(
            f"note    --weights none with --freeze_bn {experiment.freeze_bn}: BatchNorm keeps the statistics it was born "
            "with; from scratch --freeze_bn none learns better"
        )


def _references(experiment: Experiment) -> str:
    names = {"batch": "the batch", "memory": f"a memory of {experiment.memory_size}", "proxies": "proxies"}
    miner = "" if experiment.miner is None else f", pairs chosen by {experiment.miner}"
    return names[experiment.source] + miner


def _consume(events: Callable[[Display], Any], experiment: Experiment, place: RunFolder) -> None:
    try:
        with Display(open_console(), experiment.num_epochs) as display:
            for event in events(display):
                display.show(event)
    except KeyboardInterrupt:
        say(f"interrupted; {place.path} keeps its last checkpoint. Go on with: pairlens train --resume {place.path}")
        sys.exit(INTERRUPTED)
    if rank():
        return
    outcome = place.read_outcome()
    rows = [("untrained", outcome.untrained), ("trained", outcome.report)]
    open_console().print(report_table(rows, f"{place.path}: {outcome.selection}"))
    say(f"look up a photo with: pairlens query {place.path} --query_img_name FILE")


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
        gd_config: global descriptors, one to three of S, M, G.
        feature_dim: dimension of the embedding.
        classes: training classes, which the auxiliary head has outputs for.
        stride: the down-sampling taken out.
        image_size: height and width of the photos.
    """
    shape = Architecture(backbone_type, gd_config, feature_dim, classes, stride, image_size)
    say(f"{backbone_type} {gd_config} {feature_dim}-d, {classes} classes, stride {stride}: {profile_model(shape)}")
