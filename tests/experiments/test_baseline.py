import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pairlens.comparison.run_study import run_study
from pairlens.comparison.statistics import measure
from pairlens.comparison.study import Arm, Benchmark, Study
from pairlens.data.loader import TestBatches
from pairlens.evaluation.evaluate import evaluate
from pairlens.experiments import recorder
from pairlens.experiments import run as running
from pairlens.experiments.baseline import Baseline, MeasuredBaseline, initial_backbone
from pairlens.experiments.evaluate_run import add_baseline
from pairlens.experiments.outcome import EpochRow
from pairlens.experiments.recorder import RunRecorder
from pairlens.experiments.run import run
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.splits import open_splits
from pairlens.model.backbone import Backbone
from pairlens.model.plain_backbone import PlainBackbone
from support.commands import run as command
from support.experiments import changed


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    return run(changed(tiny, stride="port"), tmp_path_factory.mktemp("runs") / "bars")


@pytest.fixture
def measurements(monkeypatch):
    """The name of the data set of every baseline that is measured while the test runs."""
    names = []
    real = recorder.measure_baseline

    def counted(backbone, experiment, *others):
        names.append(experiment.data.name)
        return real(backbone, experiment, *others)

    monkeypatch.setattr(recorder, "measure_baseline", counted)
    return names


def write_weights(file):
    """Write backbone weights of the tiny experiment, which are not those of its seed."""
    with torch.random.fork_rng():
        torch.manual_seed(99)
        save_file(Backbone("test_resnet", "none", "none", 32).network.state_dict(), file)
    return str(file)


def test_it_is_the_backbone_that_the_run_started_from(finished):
    baseline = finished.outcome.baseline
    torch.manual_seed(finished.experiment.run.seed)
    plain = PlainBackbone(Backbone("test_resnet", "none", "none", 32), "test_resnet", 32)
    photos = open_splits(finished.experiment).test
    vectors = torch.cat([plain.embed_batch(batch.photos) for batch in TestBatches(photos, 32, 24, 0)])
    assert (baseline.name, baseline.image_size) == ("random backbone", 32)
    assert baseline.report == evaluate(vectors, photos.labels)
    assert baseline.report != finished.outcome.untrained


def test_a_run_with_it_equals_a_run_without_it(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(RunRecorder, "measure_baseline", lambda *_: None)
    without = run(finished.experiment, tmp_path / "without")
    assert without.outcome.baseline is None
    rows, others = ([replace(row, seconds=0.0) for row in r.outcome.rows] for r in (finished, without))
    assert rows == others
    # The checkpoint holds the weights, the statistics of BatchNorm, the optimizer and every random state.
    checkpoint, other = (load_file(r.folder / "checkpoint.safetensors") for r in (finished, without))
    assert checkpoint.keys() == other.keys()
    assert all(torch.equal(checkpoint[name], other[name]) for name in checkpoint)


def test_weights_of_a_file_are_named_by_it(tiny, tmp_path):
    weights = write_weights(tmp_path / "w.safetensors")
    outcome = run(changed(tiny, num_epochs=0, weights=weights), tmp_path / "run").outcome
    assert [name for name, _ in outcome.baselines] == ["pretrained backbone (w.safetensors)", "before training"]
    assert outcome.baselines[0][1] == outcome.baseline.report
    assert outcome.baselines[1][1] == outcome.untrained


def test_the_better_baseline_is_that_of_the_metric(finished):
    outcome = finished.outcome
    metrics = [replace(m, value=1.0 if m.name == "R@1" else 0.0) for m in outcome.untrained.metrics]
    report = replace(outcome.untrained, metrics=tuple(metrics))
    mixed = replace(outcome, baseline=replace(outcome.baseline, report=report))
    assert mixed.better_baseline("R@1") == ("random backbone", report)
    assert mixed.better_baseline("MAP@R") == ("before training", outcome.untrained)


def test_a_baseline_of_other_metrics_is_refused(finished):
    baseline = finished.outcome.baseline
    fewer = replace(baseline, report=replace(baseline.report, metrics=baseline.report.metrics[1:]))
    with pytest.raises(ValueError, match="its baseline, have different metrics"):
        replace(finished.outcome, baseline=fewer)


def test_the_stored_sums_of_the_classes_give_the_report(finished):
    measured = MeasuredBaseline.load(RunFolder(finished.folder).baseline)
    assert measured.record == finished.outcome.baseline
    for metric in measured.record.report.metrics:
        sums, counts = measured.by_class.sums[metric.name], measured.by_class.counts
        assert sums.sum() / counts.sum() == pytest.approx(metric.value, abs=1e-12)
    assert len(counts) == measured.record.report.classes


@pytest.mark.parametrize("change", ["cut", "sums", "counts", "record"])
def test_a_damaged_file_is_refused_in_one_sentence(finished, tmp_path, change):
    stored = RunFolder(finished.folder).baseline
    file = tmp_path / stored.name
    tensors = load_file(stored)
    texts = {"baseline": json.dumps({"type": "Baseline"}) if change == "record" else _record_text(stored)}
    if change in tensors:
        tensors[change] = -tensors[change][..., :2].contiguous()
    save_file(tensors, file, texts)
    if change == "cut":
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"baseline\.safetensors is not a readable baseline .* run pairlens evaluate"):
        MeasuredBaseline.load(file)


def _record_text(file):
    header = file.read_bytes()
    length = int.from_bytes(header[:8], "little")
    return json.loads(header[8 : 8 + length])["__metadata__"]["baseline"]


def test_a_resumed_run_does_not_measure_it_again(finished, tmp_path, measurements):
    run_folder = RunFolder(tmp_path / "stopped")
    events = running.train(finished.experiment, run_folder)
    for event in events:
        if isinstance(event, EpochRow) and event.epoch == 1:
            break
    events.close()
    list(running.resume(run_folder))
    assert measurements == ["bars"]
    assert run_folder.read_outcome().baseline == finished.outcome.baseline


def test_a_run_stopped_before_its_first_checkpoint_keeps_its_measurement(finished, tmp_path, measurements):
    run_folder = RunFolder(tmp_path / "early")
    run_folder.create(finished.experiment)
    shutil.copy(RunFolder(finished.folder).baseline, run_folder.baseline)
    list(running.resume(run_folder))
    assert measurements == []
    assert run_folder.read_outcome().baseline == finished.outcome.baseline


def test_folds_have_none(tiny, tmp_path, measurements):
    assert run(changed(tiny, num_epochs=0, folds=2, batch_size=6), tmp_path / "fold").outcome.baseline is None
    assert measurements == []


def test_embeddings_that_are_not_finite_leave_it_out(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(PlainBackbone, "embed_batch", lambda self, photos: torch.full((len(photos), 96), torch.nan))
    finished = run(changed(tiny, num_epochs=0), tmp_path / "run")
    assert finished.outcome.baseline is None
    assert not RunFolder(finished.folder).baseline.exists()


@pytest.mark.parametrize(("weights", "times"), [("none", 2), ("file", 1)])
def test_the_runs_of_a_comparison_share_it(tiny, tmp_path, measurements, weights, times):
    source = write_weights(tmp_path / "w.safetensors") if weights == "file" else weights
    arms = tuple(map(Arm.of, ("triplet", "circle")))
    study = Study(arms, (Benchmark("bars", changed(tiny, num_epochs=0, weights=source), 2),))
    list(run_study(study, tmp_path / "compared"))
    assert len(measurements) == times
    (result,) = measure(tmp_path / "compared").fields
    assert result.baseline_name == ("random backbone" if weights == "none" else "pretrained backbone (w.safetensors)")
    for loss in result.losses:
        reports = [RunFolder(tmp_path / "compared" / name).read_outcome().baseline.report for name in loss.runs]
        assert result.baseline.values == tuple(report["MAP@R"] for report in reports)
        assert (reports[0] == reports[1]) == (weights == "file")


def test_another_image_size_or_other_ranks_are_not_shared(tiny, tmp_path, measurements):
    first = run(changed(tiny, num_epochs=0), tmp_path / "first")
    for number, other in enumerate(({"image_size": 40}, {"recalls": (1, 3)}, {"seed": 1}, {"data_name": "shop"})):
        others = [RunFolder(first.folder)]
        list(running.train(changed(first.experiment, **other), RunFolder(tmp_path / str(number)), others=others))
    assert measurements == ["bars"] * 4 + ["shop"]


def test_queries_with_a_gallery_are_searched_in_it(tiny, tmp_path):
    baseline = run(changed(tiny, num_epochs=0, data_name="shop"), tmp_path / "shop").outcome.baseline
    assert (baseline.report.queries, baseline.report.gallery) == (24, 24)


def test_a_run_without_it_gets_it_later(finished, tmp_path):
    old = RunFolder(shutil.copytree(finished.folder, tmp_path / "old"))
    old.baseline.unlink()
    plain = json.loads(old.outcome.read_text(encoding="utf-8"))
    del plain["baseline"]
    old.outcome.write_text(json.dumps(plain), encoding="utf-8")
    assert old.read_outcome().baseline is None
    state = torch.get_rng_state()
    assert add_baseline(old.path) == finished.outcome == old.read_outcome()
    assert torch.equal(torch.get_rng_state(), state)
    assert MeasuredBaseline.load(old.baseline).record == finished.outcome.baseline
    # A run is resumed to the same outcome.
    list(running.resume(old))
    assert old.read_outcome() == finished.outcome


@pytest.mark.parametrize("content", [None, b"", b"no tensors"])
def test_a_damaged_file_of_it_is_measured_again(finished, tmp_path, content, capsys):
    damaged = RunFolder(shutil.copytree(finished.folder, tmp_path / "damaged"))
    damaged.baseline.unlink()
    if content is not None:
        damaged.baseline.write_bytes(content)
    assert command("evaluate", damaged.path) == 0
    assert MeasuredBaseline.load(damaged.baseline).record == finished.outcome.baseline
    assert damaged.read_outcome() == finished.outcome


def test_weights_that_are_gone_are_named(tiny):
    with pytest.raises(ValueError, match="neither imagenet, none, nor a file"):
        initial_backbone(changed(tiny, weights="gone.safetensors"))


def test_a_stored_outcome_lacks_it_and_is_read():
    folder = Path(__file__).parent.parent / "data_version_0_1" / "run"
    outcome = RunFolder(folder).read_outcome()
    assert outcome.baseline is None
    assert [name for name, _ in outcome.baselines] == ["before training"]
    assert not isinstance(outcome.better_baseline("R@1"), Baseline)
