import csv
import json
import shutil
import struct
import time
from pathlib import Path

import pytest
from PIL import Image

from pairlens.core.records import from_plain, to_plain
from pairlens.experiments import trackers, tracking
from pairlens.experiments.experiment import Experiment, RunConfig
from pairlens.experiments.run import resume, train
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.tracking import TrackedRuns, outcome_figures, plain_settings
from support.experiments import changed

NAMES = ("tensorboard", "mlflow", "wandb")
INSTALLED = tuple(name for name in NAMES if trackers.is_installed(name))
ENVIRONMENT = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_MODE", "WANDB_PROJECT")


def draw(run):
    """A second picture, in the place of the map."""
    file = run / "map.png"
    Image.new("RGB", (20, 10), "green").save(file)
    return [file]


@pytest.fixture(scope="module")
def tracked(tiny, tmp_path_factory):
    """A run of two epochs that all trackers follow; it is interrupted after the first epoch and resumed."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "bars")
    with pytest.MonkeyPatch.context() as patch:
        for name in ENVIRONMENT:
            patch.delenv(name, raising=False)
        events = train(changed(tiny, log=INSTALLED), folder, draw=draw)
        # The rows of epoch 0 and epoch 1; the generator is closed where Ctrl-C would end it.
        rows = (event for event in events if type(event).__name__ == "EpochRow")
        assert [next(rows).epoch for _ in range(2)] == [0, 1]
        events.close()
        assert {(run.epoch, run.ended) for run in TrackedRuns.read(folder.path).runs} == {(1, False)}
        list(resume(folder, draw=draw))
    return folder


def table(folder):
    """The rows of statistics.csv as numbers by column, without empty cells."""
    with folder.statistics.open(encoding="utf-8", newline="") as file:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]


def needs(name):
    return pytest.mark.skipif(name not in INSTALLED, reason=f"{name} is not installed")


def test_the_state_says_that_everything_was_sent(tracked):
    runs = TrackedRuns.read(tracked.path).runs
    assert {run.tracker for run in runs} == set(INSTALLED)
    assert all(run.ended and run.epoch == 2 for run in runs)
    assert from_plain(TrackedRuns, to_plain(TrackedRuns(runs))) == TrackedRuns(runs)


@needs("tensorboard")
def test_tensorboard_has_every_column_the_settings_and_the_pictures(tracked):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    read = EventAccumulator(str(tracked.path / "tensorboard"))
    read.Reload()
    rows = table(tracked)
    assert len(rows) == 2
    for name in rows[0].keys() - {"epoch"}:
        points = [(event.step, event.value) for event in read.Scalars(name)]
        assert points == [(row["epoch"], pytest.approx(row[name], rel=1e-6)) for row in rows if name in row], name
    figures = outcome_figures(tracked.read_outcome())
    assert all(read.Scalars(name)[-1].value == pytest.approx(value) for name, value in figures.items())
    assert read.Images("curves")[-1].encoded_image_string == tracked.curves.read_bytes()
    assert (read.Images("map")[-1].width, read.Images("map")[-1].height) == (20, 10)
    stored = read.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    hparams = HParamsPluginData.FromString(stored).session_start_info.hparams
    assert hparams["loss.gamma"].number_value == 80
    assert hparams["backbone"].string_value == "test_resnet"
    assert "_hparams_/session_end_info" in read.summary_metadata


@needs("mlflow")
def test_mlflow_has_one_run_with_every_column_the_settings_and_the_pictures(tracked):
    from mlflow import MlflowClient

    client = MlflowClient((tracked.path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("pairlens")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "bars")
    rows = table(tracked)
    for name in rows[0].keys() - {"epoch"}:
        points = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name.replace("@", "_at_"))]
        assert points == [(row["epoch"], pytest.approx(row[name])) for row in rows if name in row], name
    figures = outcome_figures(tracked.read_outcome())
    assert run.data.metrics["kept/test_MAP_at_R"] == pytest.approx(figures["kept/test_MAP@R"])
    settings = plain_settings(tracked.experiment())
    assert run.data.params == {name: str(value) for name, value in settings.items()}
    assert {file.path for file in client.list_artifacts(run.info.run_id, "pictures")} == {
        "pictures/curves.png",
        "pictures/map.png",
    }


def wandb_records(folder):
    """The records of all offline files of a run, the oldest file first."""
    from wandb.proto.wandb_internal_pb2 import Record

    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda file: file.stat().st_mtime_ns):
        yield from map(Record.FromString, logged_texts(file.read_bytes()))


def logged_texts(log):
    """The records in a log of LevelDB, the format of an offline file, whose reader W&B has in Go only.

    After a header of 7 bytes come blocks of 32 KiB with parts of records; a part has its checksum (4 bytes), its length (2)
    and its kind (1): a whole record, or the first, a middle or the last part of one.
    """
    place, record = 7, b""
    while place + 7 <= len(log):
        rest = 32768 - place % 32768
        if rest < 7:
            place += rest
            continue
        length, kind = struct.unpack_from("<HB", log, place + 4)
        record += log[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


@needs("wandb")
def test_wandb_has_every_column_the_settings_and_the_pictures_offline(tracked):
    records = list(wandb_records(tracked.path))
    assert len({record.run.run_id for record in records if record.HasField("run")}) == 1
    logged = [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    rows = table(tracked)
    # The pictures are records in the last row, whose keys are joined by slashes here.
    sent = [{name: row[name] for name in row if name[0] != "_" and "/" not in name} for row in logged]
    assert sent == [pytest.approx(row) for row in rows]
    pictures = {name.removesuffix("/_type") for row in logged for name in row if name.endswith("/_type")}
    assert pictures == {"curves", "map"}
    config = {
        item.key: json.loads(item.value_json)
        for record in records
        if record.HasField("run")
        for item in record.run.config.update
    }
    assert config["loss.gamma"] == 80
    assert config["backbone"] == "test_resnet"
    summary = {
        item.key or "/".join(item.nested_key): json.loads(item.value_json)
        for record in records
        if record.HasField("summary")
        for item in record.summary.update
    }
    assert summary["kept/test_MAP@R"] == pytest.approx(outcome_figures(tracked.read_outcome())["kept/test_MAP@R"])
    assert not list((tracked.path / "wandb").glob("run-*"))


def stamps(folder):
    return {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.name != ".lock"}


def test_a_finished_run_is_not_sent_again(tracked):
    before = stamps(tracked.path)
    # On a busy machine the process of W&B may still be writing what it was sent.
    while time.sleep(0.5) or stamps(tracked.path) != before:
        before = stamps(tracked.path)
    list(resume(tracked, draw=draw))
    assert stamps(tracked.path) == before


def test_a_missing_library_is_named_before_anything_is_written(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="--log mlflow needs the package mlflow-skinny; install it: pip install"):
        next(train(changed(tiny, log=("mlflow",)), RunFolder(tmp_path / "run")))
    assert not (tmp_path / "run").exists()


def test_a_folder_named_like_a_library_is_not_taken_for_it(tmp_path, monkeypatch):
    (tmp_path / "no_such_tracker").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not trackers.is_installed("no_such_tracker")


class Failing:
    """A tracker whose server does not answer for the first epoch."""

    def __init__(self, fails):
        self.fails, self.rows = fails, []

    def start(self, settings, identity):
        return identity or "one"

    def epoch(self, row):
        if self.fails:
            self.fails -= 1
            raise ConnectionError("no answer")
        self.rows.append(row["epoch"])

    def end(self, outcome, pictures):
        self.ended = (outcome, pictures)


def test_a_failing_tracker_is_a_warning_and_gets_its_epochs_later(tracked, tmp_path, monkeypatch):
    failing = Failing(1)
    monkeypatch.setattr(tracking, "open_tracker", lambda *_: failing)
    folder = RunFolder(tmp_path)
    folder.write_outcome(tracked.read_outcome())
    experiment = changed(tracked.experiment(), log=("mlflow",))
    rows = tracked.read_outcome().rows
    with tracking.run_log(experiment, folder) as log:
        with pytest.warns(UserWarning, match=r"mlflow failed \(ConnectionError: no answer\)"):
            log.send(rows[:2])
        assert failing.rows == []
        log.send(rows)
        assert failing.rows == [1, 2]
    # The block ended without `end`, as when training is interrupted.
    assert failing.ended == (None, {})
    assert TrackedRuns.read(tmp_path).of("mlflow").epoch == 2


def test_a_tracker_that_cannot_start_is_one_sentence_and_the_others_are_closed(tracked, tmp_path, monkeypatch):
    class KeyMissingError(Exception):
        pass

    def refuse(settings, identity):
        raise KeyMissingError("no key")

    good, refusing = Failing(0), Failing(0)
    refusing.start = refuse
    monkeypatch.setattr(tracking, "open_tracker", lambda name, *_: good if name == "mlflow" else refusing)
    experiment = changed(tracked.experiment(), log=("mlflow", "wandb"))
    with (
        pytest.raises(ValueError, match=r"--log wandb cannot start \(KeyMissingError: no key\); correct that"),
        tracking.run_log(experiment, RunFolder(tmp_path)),
    ):
        pass
    assert good.ended == (None, {})


def test_an_unknown_run_gets_all_epochs_again(tracked, tmp_path, monkeypatch):
    forgetful = Failing(0)
    forgetful.start = lambda settings, identity: identity + "x"
    monkeypatch.setattr(tracking, "open_tracker", lambda *_: forgetful)
    experiment = changed(tracked.experiment(), log=("mlflow",))
    for _ in range(2):
        with tracking.run_log(experiment, RunFolder(tmp_path)) as log:
            log.send(tracked.read_outcome().rows)
    assert forgetful.rows == [1, 2, 1, 2]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_written_through_a_link(tmp_path, name):
    run, outside = tmp_path / "run", tmp_path / "outside"
    outside.mkdir()
    inside = run / trackers.FOLDERS[name]
    inside.mkdir(parents=True)
    (inside / "inner").symlink_to(outside)
    with pytest.raises(ValueError, match="is a link that leads out of"):
        trackers.open_tracker(name, run, "run")


@needs("mlflow")
def test_a_moved_run_does_not_write_into_its_old_place(tracked, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(tracked.path / "mlruns", moved / "mlruns")
    identity = TrackedRuns.read(tracked.path).of("mlflow").identity
    with pytest.raises(ValueError, match="was written in another place"):
        trackers.open_tracker("mlflow", moved, "moved").start({}, identity)


@needs("mlflow")
def test_the_environment_names_another_place_for_mlflow(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    server = (tmp_path / "server").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "birds")
    tracker = trackers.open_tracker("mlflow", tmp_path / "run", "first")
    identity = tracker.start({"dim": 16}, "")
    tracker.epoch({"epoch": 1, "test_recall@1": 50.0})
    tracker.end(None, {})
    run = MlflowClient(server).get_run(identity)
    assert (run.data.metrics, run.data.params) == ({"test_recall_at_1": 50.0}, {"dim": "16"})
    assert run.info.status == "KILLED"
    assert MlflowClient(server).get_experiment_by_name("birds").experiment_id == run.info.experiment_id
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "content", ['{"runs": [{"tracker": "mlflow", "identity": "../x"}]}', '{"runs": [{"tracker": "x"}]}', "{", "[]"]
)
def test_a_damaged_state_is_refused(tmp_path, content):
    (tmp_path / "trackers.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"trackers.json is damaged .*; remove it"):
        TrackedRuns.read(Path(tmp_path))


def test_the_setting_is_checked_and_stored_only_where_it_is_used():
    assert RunConfig(log="wandb").log == ("wandb",)
    assert RunConfig(log=["mlflow", "mlflow"]).log == ("mlflow",)
    with pytest.raises(ValueError, match="--log 'neptune' is not one of tensorboard, mlflow, wandb"):
        RunConfig(log=("neptune",))
    assert "log" not in to_plain(RunConfig())
    assert from_plain(RunConfig, to_plain(RunConfig(log=("wandb",)))).log == ("wandb",)
    assert "log" not in plain_settings(Experiment())
