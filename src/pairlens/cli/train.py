"""The commands `pairlens prepare | train | profile`."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from pairlens.cli.collection_training import lack_of_gain, with_photos_of
from pairlens.cli.console import Display, show_table
from pairlens.cli.interruption import say_how_to_go_on
from pairlens.cli.loss_words import take_loss
from pairlens.cli.options import as_experiment, settings_record
from pairlens.cli.start_lines import start_lines
from pairlens.cli.tables import report_table
from pairlens.cli.terminal import open_console, say
from pairlens.cli.tracked_pictures import draw_tracked_pictures
from pairlens.core.distributed import rank
from pairlens.core.records import require
from pairlens.core.settings import flat_settings, with_settings
from pairlens.data.prepare import Preparation
from pairlens.data.prepare import prepare as prepare_data
from pairlens.evaluation.metric_definitions import MetricChoice
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.fitted_settings import fit_backbone
from pairlens.experiments.recipes import find_recipe
from pairlens.experiments.run import Started, resume
from pairlens.experiments.run import train as train_run
from pairlens.experiments.run_folder import RunFolder
from pairlens.model.backbone import Stride
from pairlens.model.cost import profile as profile_model
from pairlens.model.embedder import Architecture
from pairlens.training.checkpoint import has_checkpoint

# Settings that may change between two parts of a run: they do not affect its results so far, and other photos in another
# data path are noticed.
CHANGEABLE = ("on_nan", "checkpoint_minutes", "data_path", "log")
# Metrics from outside must be given again, because what a stored run names is not imported.
GIVEN_AGAIN = "metrics"
_OTHERS = "--resume continues with the settings of {}; give no others beside it"


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


def find_train_command(words: Sequence[str]) -> tuple[Callable[..., None], list[str]]:
    """Return the command `train` with the defaults that its words ask for, and the words that are left for its options."""
    options, loss = take_loss(words)
    base = recipe_experiment(words)
    return train_command(base if loss is None else replace(base, loss=loss), option_names(words), loss), options


def train_command(base: Experiment, named: frozenset[str] = frozenset(), loss: Any = None) -> Callable[..., None]:
    """Return the command `train` whose defaults are those of an experiment.

    Args:
        base: the defaults.
        named: the options that were given; --resume needs them, because an option that is given may equal its default.
        loss: the loss of `base`, if it was typed as a text; beside --resume it is the loss of the run.
    """

    def train(
        settings: Any,
        name: str | None = None,
        runs: Path = Path("runs"),
        resume: Path | None = None,
        recipe: str | None = None,
        trust: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    ) -> None:
        """Train an embedding model with a pairwise loss, and evaluate it after every epoch.

        Instead of the name of a loss, a text can be given: circle:gamma=64, a sum such as circle+0.5*triplet:margin=0.2, or
        a loss of your own as "my_code.losses:MyLoss(margin=0.2)".

        Args:
            settings: the loss, the data, the model and the training.
            name: folder of the run in `runs`; by default it is derived from the settings.
            runs: folder of all runs.
            resume: the folder of a run to continue from its last checkpoint, with its own settings; only --on_nan,
                --checkpoint_minutes, --data_path and --log can be given beside it, and --metrics, which must be if some are
                module:name.
            recipe: the settings of a published experiment as defaults of all other options; `pairlens recipes` prints
                them.
            trust: beside --resume, a module such as my_code.losses that may be imported to find the loss of the run; this
                runs its code.
        """
        if resume is not None:
            _check_alone(named, resume)
        experiment = as_experiment(settings)
        if resume is not None:
            _check_resumed(experiment, base, resume)
            changed = {key: value for key, value in _changeable(experiment).items() if key in named}
            metrics = experiment.evaluation.metrics if GIVEN_AGAIN in named else None
            continue_run(RunFolder(resume), changed, metrics, loss, trust)
            return
        require(not trust, "--trust is for --resume; a loss that is typed here is imported without it")
        _start_new(experiment, named, runs, name)

    # tyro derives the options from this annotation, which depends on the defaults.
    train.__annotations__["settings"] = settings_record("Settings", base)
    return train


def _start_new(experiment: Experiment, named: frozenset[str], runs: Path, name: str | None) -> None:
    """Train an experiment in a new folder, on the photos of a collection if its source is one."""
    source = "" if experiment.data.holds_features else experiment.data.source
    if source:
        experiment = with_photos_of(source, with_settings(experiment, {"source": ""}), named)
    run_folder = _start_fitted(experiment, named, runs, name)
    if source and not rank():
        worse = lack_of_gain(run_folder)
        move = f"move the collection to it: pairlens collection migrate {source} {run_folder.path}"
        say(f"{worse}; train on more photos, or with another --learning_rate" if worse else move)


def _start_fitted(experiment: Experiment, named: frozenset[str], runs: Path, name: str | None) -> RunFolder:
    """Train an experiment with a backbone whose weights are at hand; returns the folder of the run."""
    # A recipe names its backbone, also where that is the default.
    experiment, line = fit_backbone(experiment, named | ({"backbone"} if "recipe" in named else set()))
    if line:
        say(f"backbone {line}")
    run_folder = RunFolder(runs / (name or experiment.default_name))
    start(experiment, run_folder, named)
    return run_folder


def start(experiment: Experiment, run_folder: RunFolder, given: frozenset[str] = frozenset()) -> None:
    """Train an experiment in a new folder and show its progress.

    Args:
        experiment: the settings.
        run_folder: the folder.
        given: the options that the user gave, which are not fitted to the data set.
    """
    _show_events(
        lambda display: train_run(experiment, run_folder, display.watch, given, draw=draw_tracked_pictures),
        experiment,
        run_folder,
    )


def _check_alone(named: frozenset[str], resume: Path) -> None:
    """Raise ValueError if an option was given that makes a new run."""
    require(not {"name", "recipe", "runs", "source"} & named, _OTHERS.format(resume))


def _check_resumed(experiment: Experiment, base: Experiment, resume: Path) -> None:
    """Raise ValueError if an option was given that a run cannot change when it is resumed."""
    unchanged = _changeable(base) | {GIVEN_AGAIN: base.evaluation.metrics}
    require(with_settings(experiment, unchanged) == base, _OTHERS.format(resume))


def _changeable(experiment: Experiment) -> dict[str, Any]:
    """Return the values of the settings that may change between two parts of a run."""
    return {name: value for name, value in flat_settings(experiment).items() if name in CHANGEABLE}


def continue_run(
    run_folder: RunFolder,
    changed: Mapping[str, Any] | None = None,
    metrics: Sequence[MetricChoice] | None = None,
    loss: Any = None,
    trust: Collection[str] = (),
) -> None:
    """Train the remaining epochs of an interrupted run and show its progress.

    Args:
        run_folder: the run.
        changed: new values of settings that may change.
        metrics: all further metrics of the run, if they were given again.
        loss: the loss of the run, if the caller has its code.
        trust: modules that may be imported to find the loss.
    """
    # Opened with the loss first, so that nothing is written if the run cannot go on.
    experiment = run_folder.experiment(loss=loss, trust=trust)
    changed = changed or {}
    experiment = with_settings(experiment, changed)
    _show_events(
        lambda display: resume(
            run_folder, display.watch, loss, metrics, trust=trust, settings=changed, draw=draw_tracked_pictures
        ),
        experiment,
        run_folder,
    )


def _show_events(events: Callable[[Display], Any], experiment: Experiment, run_folder: RunFolder) -> None:
    how_to_go_on = partial(interrupted_run, run_folder)
    with say_how_to_go_on(how_to_go_on), Display(open_console(), experiment.run.epochs) as display:
        for event in events(display):
            if isinstance(event, Started):
                for line in start_lines(event):
                    display.print_line(line)
            else:
                display.show(event)
    # Every rank trains, but one prints.
    if rank():
        return
    outcome = run_folder.read_outcome()
    rows = [*outcome.baselines, ("trained", outcome.report)]
    show_table(open_console(), report_table(rows, f"{run_folder.path}: {outcome.selection}"))
    if not experiment.data.holds_features:
        say(f"look up a photo: pairlens query {run_folder.path} --query_img_name FILE")
    say(f"all results on one page: pairlens report {run_folder.path}")


def interrupted_run(run_folder: RunFolder) -> str:
    """Return the sentence that ends an interrupted training, which is no error: a run is made to be interrupted."""
    if not run_folder.config.is_file():
        return f"interrupted before {run_folder.path} was written. Give the same command again"
    saved = "the last checkpoint is saved" if has_checkpoint(run_folder.path) else "there was no checkpoint yet"
    return f"interrupted; {saved}. Continue with: pairlens train --resume {run_folder.path}"


def profile(
    backbone: Annotated[str, tyro.conf.arg(aliases=("--backbone_type",))] = "resnet50",
    descriptors: Annotated[str, tyro.conf.arg(aliases=("--gd_config",))] = "SG",
    dim: Annotated[int, tyro.conf.arg(aliases=("--feature_dim",))] = 1536,
    classes: int = 98,
    stride: Stride = "port",
    image_size: int = 224,
) -> None:
    """Print the parameters and multiply-adds of a model.

    Args:
        backbone: resnet50, resnext50, efficientnet_lite0 to lite2 or any timm model name.
        descriptors: global descriptors, one to three of S (mean), M (maximum), G (generalised mean).
        dim: dimension of the embedding.
        classes: number of training classes, the outputs of the auxiliary head.
        stride: which down-sampling of the backbone is removed.
        image_size: height and width of the photos.
    """
    model = Architecture(backbone, descriptors, dim, classes, stride, image_size)
    say(f"{backbone} {descriptors} {dim}-d, {classes} classes, stride {stride}: {profile_model(model)}")
