"""The three historical commands with their original names, options and defaults.

The options and the defaults are those of leftthomas/CGD and of its fork for circle loss. `train.py` also accepts every
newer option of `pairlens train`.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, assert_never

import tyro

from pairlens.cli import options
from pairlens.cli.arguments import read_arguments
from pairlens.cli.launch import guard
from pairlens.cli.runs import query
from pairlens.cli.terminal import say
from pairlens.cli.train import prepare as prepare_one
from pairlens.cli.train import start
from pairlens.core.freed_memory import keep_freed_memory
from pairlens.core.suggestion import suggest
from pairlens.data.prepare import Preparation
from pairlens.data.readers import raw_data_sets
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.run_folder import RunFolder
from pairlens.losses import Circle, Loss, SoftTriple, Triplet
from pairlens.retrieval.gallery import Gallery

# The defaults of the original commands.
DATA_PATH = Path("/home/data")
QUERY = "/home/data/car/uncropped/008055.jpg"
DATA_BASE = "car_uncropped_resnet50_SG_1536_0.1_0.5_0.1_128_data_base.pth"
RUNS = Path("runs")

LossName = Literal["triplet", "circle", "softtriple"]

if TYPE_CHECKING:
    Settings = Any
else:
    Settings = options.settings_record(
        "Settings",
        Experiment(),
        {"loss": (tyro.conf.Suppress[Triplet], Triplet()), "data_path": (Path, DATA_PATH)},
    )


@dataclass(frozen=True)
class Training:
    """Train CGD.

    Attributes:
        settings: every option of `pairlens train`.
        loss_name: the pairwise loss.
        margin: margin of triplet or circle loss.
        gamma: scale of circle loss.
    """

    settings: Settings
    loss_name: LossName = "triplet"
    margin: float = 0.1
    gamma: float = 10

    @property
    def loss(self) -> Loss:
        """The loss with the historical options; SoftTriple had no options, so it has the settings of its paper."""
        match self.loss_name:
            case "triplet":
                return Triplet(margin=self.margin)
            case "circle":
                return Circle(margin=self.margin, gamma=self.gamma)
            case "softtriple":
                return SoftTriple()
            case _:
                assert_never(self.loss_name)

    @property
    def experiment(self) -> Experiment:
        """The experiment that these options describe."""
        return options.as_experiment(self.settings, self.loss)

    @property
    def run_name(self) -> str:
        """The historical name; it also holds gamma or the word softtriple, so that no two losses have the same name."""
        e = self.experiment
        # Triplet has neither, because the original names, which had only its margin, must stay as they were.
        loss = {"triplet": [self.margin], "circle": [self.margin, self.gamma], "softtriple": ["softtriple"]}
        data, model, objective, seed_number = e.data, e.model, e.objective, e.run.seed
        parts = [data.name, data.crop, model.backbone, model.descriptors, model.dim, objective.smoothing]
        # The original commands had no seed, so the default one is not in the name.
        seed = [f"seed{seed_number}"] if seed_number else []
        return "_".join(map(str, [*parts, objective.temperature, *loss[self.loss_name], e.batches.size, *seed]))


def train(arguments: Sequence[str] | None = None) -> None:
    """`python train.py`: train CGD and save it in runs/<historical name>."""

    def command() -> None:
        training = parse_training(arguments)
        start(training.experiment, RunFolder(RUNS / training.run_name))

    _run(command)


def _run(command: Callable[[], object]) -> None:
    # As `pairlens` does before each of its commands.
    keep_freed_memory()
    guard(command)


def parse_training(arguments: Sequence[str] | None) -> Training:
    """Return the options of an argument list."""
    return read_arguments(Training, _words(arguments), "train.py")


def _words(arguments: Sequence[str] | None) -> Sequence[str]:
    return sys.argv[1:] if arguments is None else arguments


def prepare(arguments: Sequence[str] | None = None) -> None:
    """`python data_utils.py`: prepare every data set in data_path; car and cub both uncropped and cropped."""
    _run(lambda: read_arguments(_prepare_all, _words(arguments), "data_utils.py")())


def _prepare_all(data_path: Path = DATA_PATH) -> None:
    """Process datasets.

    Args:
        data_path: datasets path; contains the unpacked folders car, cub, sop, isc.
    """
    names = raw_data_sets(data_path)
    if not names:
        raise ValueError(
            f"there is no data set in {data_path}; unpack one so that the folder has car/cars_annos.mat, cub/images.txt, "
            "sop/Ebay_train.txt or isc/Eval/list_eval_partition.txt, or give --data_path"
        )
    for name in names:
        prepare_one(Preparation(name, data_path=data_path))
        if name in ("car", "cub"):
            prepare_one(Preparation(name, data_path=data_path, crop_type="cropped"))


def look_up(arguments: Sequence[str] | None = None) -> None:
    """`python test.py`: search for a photo in the gallery of a run and write the results as pictures."""
    _run(lambda: read_arguments(_look_up, _words(arguments), "test.py")())


def _look_up(query_img_name: str = QUERY, data_base: str = DATA_BASE, retrieval_num: int = 8) -> None:
    """Test CGD.

    Args:
        query_img_name: query image name: any picture file, or the name of a photo of the data set.
        data_base: queried database: a run folder, or its historical name; if the default does not exist, the newest run.
        retrieval_num: retrieval number.
    """
    run = find_run(data_base)
    name: str | None = query_img_name
    if query_img_name == QUERY and not _holds(run, QUERY):
        say(f"{QUERY} does not exist; searching for the first test photo instead")
        name = None
    query(run, query_img_name=name, retrieval_num=retrieval_num)


def find_run(data_base: str) -> Path:
    """Return the run folder with a name; for the default name, the newest run if that does not exist.

    Raises:
        ValueError: with the names of the existing runs.
    """
    name = data_base.removesuffix("_data_base.pth")
    # A path is accepted as well as a bare name, which means a folder in runs/.
    for candidate in (Path(name), RUNS / name):
        if candidate.is_dir():
            return candidate
    # Only a finished run has an outcome; the newest is the last.
    runs = sorted(RUNS.glob("*/outcome.json"), key=lambda file: file.stat().st_mtime)
    if data_base == DATA_BASE and runs:
        say(f"--data_base {DATA_BASE} does not exist; using the newest run, {runs[-1].parent}")
        return runs[-1].parent
    names = [file.parent.name for file in runs]
    remedy = suggest(name, names) if names else "train one with train.py"
    raise ValueError(f"there is no data base {data_base} in {RUNS}/; {remedy}")


def _holds(run: Path, name: str) -> bool:
    try:
        Gallery.open(run).query(name)
    except ValueError:
        return False
    return True
