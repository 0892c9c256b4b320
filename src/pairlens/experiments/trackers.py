"""Trackers of experiments: TensorBoard, MLflow and Weights & Biases, each written through its own library.

A tracker receives what the run folder holds: the settings, the row of `statistics.csv` of every epoch, the figures of the
outcome, and pictures. Its files lie in the run folder, and nothing leaves the machine unless the environment of that
library says so (MLFLOW_TRACKING_URI, WANDB_MODE=online).
"""

import importlib.util
import os
import re
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, get_args
from urllib.parse import urlparse
from urllib.request import url2pathname

from pairlens.core.files import check_not_linked
from pairlens.core.records import require
from pairlens.core.untrusted import read_bytes, regular_file

TrackerName: TypeAlias = Literal["tensorboard", "mlflow", "wandb"]
# The folder of a tracker in the run folder, and the package that pip installs.
FOLDERS: dict[TrackerName, str] = {"tensorboard": "tensorboard", "mlflow": "mlruns", "wandb": "wandb"}
PACKAGES: dict[TrackerName, str] = {"tensorboard": "tensorboard", "mlflow": "mlflow-skinny", "wandb": "wandb"}
PROJECT = "pairlens"
# The figure of an outcome that is the number of its epoch.
KEPT_EPOCH = "kept/epoch"
# MLflow refuses longer parameters, and more of them in one call.
MLFLOW_LENGTH, MLFLOW_COUNT = 6000, 100


class Tracker(Protocol):
    """Where the records of a run are sent."""

    def start(self, settings: Mapping[str, Any], identity: str) -> str:
        """Begin, or continue what an earlier part of the run has begun.

        Args:
            settings: numbers, truth values and texts by name.
            identity: what `start` returned at the beginning of the run; empty if this is the beginning.

        Returns:
            The identity of what is written now. It differs from the given one if that does not exist any more.
        """
        ...

    def epoch(self, row: Mapping[str, float]) -> None:
        """Send the row of an epoch, with its number under the key `epoch`."""
        ...

    def end(self, outcome: Mapping[str, float] | None, pictures: Mapping[str, Path]) -> None:
        """Send the figures of the outcome and PNG files by name; an outcome of None ends an interrupted part of the run."""
        ...


class TensorBoardTracker:
    """Writes event files, which `tensorboard --logdir RUN/tensorboard` shows.

    Args:
        folder: of the event files.
        name: of the run; TensorBoard names runs by their folders, so it is not used.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder

    def start(self, settings: Mapping[str, Any], identity: str) -> str:
        """Open a new event file; TensorBoard reads all files of the folder as one run."""
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        # A folder that was removed is written again from the start.
        continued = identity if self.folder.is_dir() else ""
        self.writer = SummaryWriter(str(self.folder))
        # `SummaryWriter.add_hparams` would make a second run, in a folder of its own, so the parts are written here. The
        # first part, which lists columns, is left out: TensorBoard then takes every scalar of the run as a column.
        _, start, self.finished = hparams(dict(settings), {})
        if not continued:
            self._file.add_summary(start)
        self.writer.flush()
        return continued or uuid.uuid4().hex[:12]

    @property
    def _file(self) -> Any:
        return self.writer.file_writer

    def epoch(self, row: Mapping[str, float]) -> None:
        """Write one scalar per column, at the step that is the number of the epoch."""
        for name, value in row.items():
            if name != "epoch":
                self.writer.add_scalar(name, value, int(row["epoch"]))
        self.writer.flush()

    def end(self, outcome: Mapping[str, float] | None, pictures: Mapping[str, Path]) -> None:
        """Write the figures and the pictures at the step of the kept epoch, and mark the hyper-parameters as finished."""
        step = _kept_epoch(outcome)
        for name, value in (outcome or {}).items():
            self.writer.add_scalar(name, value, step)
        for name, file in pictures.items():
            self._file.add_summary(_picture_summary(name, file), step)
        if outcome is not None:
            self._file.add_summary(self.finished)
        self.writer.close()


def _kept_epoch(outcome: Mapping[str, float] | None) -> int:
    return int((outcome or {}).get(KEPT_EPOCH, 0))


def _picture_summary(name: str, file: Path) -> Any:
    """Return a PNG file as a summary of TensorBoard, byte for byte."""
    from PIL import Image

    # The module makes its classes when it is imported, which a type checker does not see.
    from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

    with Image.open(regular_file(file)) as picture:
        width, height = picture.size
    # 3 is the number of colours; TensorBoard's page reads the picture itself from its bytes.
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=read_bytes(file))
    return Summary(value=[Summary.Value(tag=name, image=image)])


class MLflowTracker:
    """Writes a run of MLflow: into files in the run folder, or to the server that MLFLOW_TRACKING_URI names.

    Args:
        folder: of the files.
        name: of the run.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name

    def start(self, settings: Mapping[str, Any], identity: str) -> str:
        """Begin a run in the experiment MLFLOW_EXPERIMENT_NAME (default pairlens), or continue one."""
        # MLflow reports its use to its makers when it is imported, unless this is set.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # Its files are complete and need no database; since version 3 they must be allowed explicitly.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow import MlflowClient
        from mlflow.entities import Param

        address = os.environ.get("MLFLOW_TRACKING_URI")
        # The client has no state beside these addresses; `mlflow.start_run` would change what the user's own calls mean.
        self.client = MlflowClient(address or self.folder.resolve().as_uri())
        run = self._continued(identity) or self._begun()
        if not address:
            _check_artifacts_inside(run.info.artifact_uri, self.folder)
        self.run_id: str = run.info.run_id
        # Parameters cannot be changed, so a part of a run that continues does not write them again.
        if self.run_id != identity:
            params = [Param(_mlflow_name(name), str(value)[:MLFLOW_LENGTH]) for name, value in settings.items()]
            for first in range(0, len(params), MLFLOW_COUNT):
                self.client.log_batch(self.run_id, params=params[first : first + MLFLOW_COUNT])
        return self.run_id

    def _continued(self, identity: str) -> Any:
        from mlflow.exceptions import MlflowException

        if identity:
            with suppress(MlflowException):
                self.client.update_run(identity, status="RUNNING")
                return self.client.get_run(identity)
        return None

    def _begun(self) -> Any:
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self.client.get_experiment_by_name(experiment)
        number = found.experiment_id if found is not None else self.client.create_experiment(experiment)
        return self.client.create_run(number, run_name=self.name)

    def epoch(self, row: Mapping[str, float]) -> None:
        """Write one metric per column, at the step that is the number of the epoch."""
        self._send({name: value for name, value in row.items() if name != "epoch"}, int(row["epoch"]))

    def _send(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        # MLflow counts time in milliseconds.
        now = int(1000 * time.time())
        metrics = [Metric(_mlflow_name(name), float(value), now, step) for name, value in values.items()]
        self.client.log_batch(self.run_id, metrics=metrics)

    def end(self, outcome: Mapping[str, float] | None, pictures: Mapping[str, Path]) -> None:
        """Write the figures as metrics and the pictures as artifacts, and end the run as finished or killed."""
        self._send(outcome or {}, _kept_epoch(outcome))
        for file in pictures.values():
            self.client.log_artifact(self.run_id, str(file), "pictures")
        self.client.set_terminated(self.run_id, "KILLED" if outcome is None else "FINISHED")


def _mlflow_name(name: str) -> str:
    """Return a name with the characters that MLflow allows.

    >>> _mlflow_name("test_recall@1")
    'test_recall_at_1'
    """
    return re.sub(r"[^\w.\- /:]", "_", name.replace("@", "_at_"))


def _check_artifacts_inside(address: str, folder: Path) -> None:
    """Raise ValueError if the files of MLflow name another place, which they do after the run folder has been moved."""
    path = Path(url2pathname(urlparse(address).path)).resolve()
    require(
        path.is_relative_to(folder.resolve()),
        f"{folder} was written in another place, because MLflow stores whole paths; remove it, and every epoch is logged "
        "again, or resume with other trackers, as in --log tensorboard",
    )


class WandbTracker:
    """Writes a run of Weights & Biases: offline, unless WANDB_MODE says otherwise.

    Args:
        folder: named wandb, because W&B gives it this name itself.
        name: of the run.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name

    def start(self, settings: Mapping[str, Any], identity: str) -> str:
        """Begin a run in the project WANDB_PROJECT (default pairlens); a part that continues has the same id."""
        # W&B reports its own errors to its makers, also offline, unless this is set before it is imported.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        mode: Any = os.environ.get("WANDB_MODE", "offline")
        # A folder that was removed is written again from the start; online the server has the run.
        is_known = bool(identity) and (self.folder.is_dir() or mode == "online")
        identity = identity if is_known else uuid.uuid4().hex[:12]
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=self.name,
            id=identity,
            # Offline there is nothing to look up; `wandb sync` joins the parts by their id.
            resume="allow" if mode == "online" else None,
            dir=str(self.folder.parent),
            mode=mode,
            config=dict(settings),
            # A run of the user's own may be open in this process.
            reinit="create_new",
            settings=wandb.Settings(
                # The progress display must not be captured, and W&B must not write into it.
                console="off",
                silent=mode == "offline",
                # Links would make the folder one that Pairlens refuses to continue in.
                symlink=False,
                # Only what Pairlens sends is recorded, not the state of the folder that the command was started in.
                save_code=False,
                disable_git=True,
            ),
        )
        return identity

    def epoch(self, row: Mapping[str, float]) -> None:
        """Log all columns at the step that is the number of the epoch."""
        self.run.log(dict(row), step=int(row["epoch"]))

    def end(self, outcome: Mapping[str, float] | None, pictures: Mapping[str, Path]) -> None:
        """Put the figures into the summary, log the pictures, and finish."""
        import wandb

        self.run.summary.update(dict(outcome or {}))
        if pictures:
            self.run.log({name: wandb.Image(str(file)) for name, file in pictures.items()})
        # An exit code that is not 0 marks a run that has not finished.
        self.run.finish(exit_code=1 if outcome is None else 0)


def is_installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it."""
    found = importlib.util.find_spec(package)
    # A folder of that name in the current folder, such as that of a tracker, is found too, but has no origin.
    return found is not None and found.origin is not None


def check_installed(names: tuple[TrackerName, ...]) -> None:
    """Raise ValueError that names the package to install, if the library of a tracker is missing."""
    for name in names:
        package = PACKAGES[name]
        require(
            is_installed(name),
            f"--log {name} needs the package {package}; install it: pip install {package}, or all trackers: pip install "
            "'pairlens[trackers]'",
        )


def open_tracker(name: TrackerName, run: Path, title: str) -> Tracker:
    """Return a tracker that writes into its folder in a run folder; raises ValueError if that holds a link.

    Args:
        name: of the tracker.
        run: the run folder.
        title: the name of the run.
    """
    assert name in get_args(TrackerName), name
    folder = run / FOLDERS[name]
    # The libraries write wherever a link leads, so a folder of somebody else with links is refused.
    check_not_linked(folder, below=run)
    # W&B begins a new folder at every start, and links its log into it; what lies there already is not written again.
    for inner in folder.glob("*") if name == "wandb" else folder.rglob("*"):
        check_not_linked(inner, below=folder)
    match name:
        case "tensorboard":
            return TensorBoardTracker(folder, title)
        case "mlflow":
            return MLflowTracker(folder, title)
        case "wandb":
            return WandbTracker(folder, title)
