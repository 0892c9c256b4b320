"""The commands, derived by tyro: here `pairlens prepare | train | evaluate | query | profile | demo`."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import tyro

from pairlens.comparing import compare_command
from pairlens.core.distributed import rank, wait_for_all, world
from pairlens.data.loader import working_size
from pairlens.data.prepare import Preparation
from pairlens.data.prepare import prepare as prepare_data
from pairlens.demo import show_demo
from pairlens.experiments.build import architecture
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.recipes import find_recipe
from pairlens.experiments.run import evaluate_run, resume
from pairlens.experiments.run import train as train_run
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.splits import open_catalog, split
from pairlens.looking import audit, explain, inspect, losses, recipes, report
from pairlens.model.backbone import Stride
from pairlens.model.cost import profile as profile_model
from pairlens.model.embedder import Architecture
from pairlens.neighbors.approximate import IndexName
from pairlens.options import as_experiment, ranks_registry, settings_record
from pairlens.retrieval.gallery import Gallery
from pairlens.retrieval.match_pictures import write_pictures
from pairlens.showing import Display, open_console, report_table, say
from pairlens.torchrun import INTERRUPTED, guard


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


def asked_recipe(arguments: Sequence[str]) -> Experiment:
    """Return the experiment that `--recipe NAME` among the arguments names, or the defaults.

    The recipe decides what the other options default to, so it is read before them.
    """
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        if option == "--recipe":
            return find_recipe(value if equals else following).experiment
    return Experiment()


def _named(arguments: Sequence[str]) -> frozenset[str]:
    """Return the names of the options among some arguments.

    >>> sorted(_named(["train", "--on-nan=stop", "--resume", "runs/mine"]))
    ['on_nan', 'resume']
    """
    options = (word for word in arguments if word.startswith("--"))
    return frozenset(option[2:].partition("=")[0].replace("-", "_") for option in options)


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
            with place.alone():
                place.write_experiment(experiment)
        wait_for_all()
    _announce(experiment)
    _consume(lambda display: resume(place, display.watch), experiment, place)


def _announce(experiment: Experiment) -> None:
    parts = split(open_catalog(experiment), experiment)
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


def evaluate(
    run: tyro.conf.Positional[Path],
    recalls: tuple[int, ...] | None = None,
    data_path: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    index: IndexName = "exact",
) -> None:
    """Embed the test photos of a run with its kept model again, write its gallery anew, and report.

    Args:
        run: the folder of a run.
        recalls: the K of Recall@K and Precision@K, such as 1,10,100; by default the run's own.
        data_path: folder of the prepared data sets, if they have moved since.
        device: where to embed; auto takes a GPU if there is one.
        index: how to search; ivf and hnsw are for a million photos and more, and what they miss is measured and printed.
    """
    place = RunFolder(run)
    place.experiment()
    outcome = place.read_outcome()
    with Display(open_console(), 0) as display:
        report = evaluate_run(run, recalls, data_path=data_path, device=device, progress=display.watch, index=index)
    open_console().print(report_table([("trained", report)], f"{run}: {outcome.selection}"))
    for line in (report.approximation, *report.metrics):
        if line is not None:
            say(str(line))


def query(
    run: tyro.conf.Positional[Path],
    query_img_name: str | None = None,
    retrieval_num: int = 8,
    query_class: str | None = None,
    data_path: Path | None = None,
    out: Path = Path("results"),
    index: IndexName = "exact",
) -> None:
    """Look up the photos of a run's gallery that are nearest to a photo, and write them as pictures.

    Args:
        run: the folder of a run.
        query_img_name: any picture file, or the key of a photo in the data set; by default the first test photo.
        retrieval_num: how many photos to retrieve.
        query_class: the class of the query, if it is known and the file is not a photo of the data set.
        data_path: folder of the prepared data sets, if they have moved since.
        out: where to write the pictures, in a folder named after the query.
        index: how to search; ivf and hnsw are approximate, and what they miss is measured and printed.
    """
    gallery = Gallery.open(run, data_path, index)
    if query_class is not None and query_img_name is None:
        raise ValueError("--query_class is the class of a picture; give that as --query_img_name")
    photo = gallery.first_query() if query_img_name is None else gallery.query(query_img_name, query_class)
    matches = gallery.search(photo, retrieval_num)
    files = write_pictures(photo, matches, out / photo.name)
    approximation = gallery.approximation(retrieval_num)
    if approximation is not None:
        say(str(approximation))
    say(f"query  {photo.name}  ({photo.class_name or 'class unknown'})")
    if photo.class_name is not None and not gallery.holds(photo.class_name):
        say("note   the photos that are searched hold none of this class, so none can be right")
    for match in matches:
        verdict = {True: "right", False: "wrong", None: "class of the query unknown"}[match.right]
        say(f"{match.rank:5}  {match.distance:.4f}  {verdict}  {match.class_name}  {match.path}")
    say(f"pictures: {files[-1]} and {len(files) - 1} others beside it")


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


def demo(out: Path = Path("demo"), seed: int = 0) -> None:
    """Train on the embedded data set with circle and with triplet loss, compare, and draw what is retrieved.

    Args:
        out: where the runs and the picture sheet go, in a new folder.
        seed: of everything random.
    """
    show_demo(out, seed, open_console())


def commands(base: Experiment, named: frozenset[str] = frozenset()) -> dict[str, Callable[..., None]]:
    """Return every command by its name, `train` with the defaults of an experiment."""
    return {
        "prepare": prepare,
        "train": train_command(base, named),
        "evaluate": evaluate,
        "compare": compare_command(),
        "query": query,
        "losses": losses,
        "explain": explain,
        "audit": audit,
        "inspect": inspect,
        "report": report,
        "recipes": recipes,
        "profile": profile,
        "demo": demo,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; wrong input ends with one sentence on stderr and exit status 2."""
    words = sys.argv[1:] if arguments is None else list(arguments)

    def command() -> None:
        if world() > 1 and words[:1] not in (["train"], ["evaluate"]):
            raise ValueError("torchrun is for pairlens train and evaluate; start other commands without it")
        tyro.extras.subcommand_cli_from_dict(
            commands(asked_recipe(words), _named(words)),
            args=words,
            prog="pairlens",
            config=CONFIG,
            registry=ranks_registry(),
            use_underscores=True,
            console_outputs=rank() == 0,
        )

    guard(command)


CONFIG = (tyro.conf.CascadeSubcommandArgs, tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes)
