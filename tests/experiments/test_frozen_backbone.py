import math

import numpy as np
import pytest
import torch

import pairlens as pl
from conftest import write_bars
from pairlens.core.images import decode
from pairlens.data.catalog import Catalog
from pairlens.data.loader import TrainingBatches
from pairlens.evaluation.embeddings import Embeddings
from pairlens.experiments import feature_cache, feature_pass, recorder
from pairlens.experiments.build import make_learner, training_batches
from pairlens.experiments.evaluate_run import evaluate_run
from pairlens.experiments.experiment import Experiment
from pairlens.experiments.frozen_backbone import FrozenBackbone, _draw_views, digest_of_weights
from pairlens.experiments.outcome import EpochRow
from pairlens.experiments.run import resume_run
from pairlens.experiments.run_folder import RunFolder
from pairlens.experiments.splits import open_splits
from pairlens.losses import Circle, ProxyAnchor, SoftTriple
from pairlens.model.embedder import Embedder
from pairlens.training.checkpoint import has_checkpoint
from support.experiments import changed


def as_stored(photo):
    """An augmentation that changes nothing."""
    return photo


@pytest.fixture(scope="module")
def frozen(tiny, tmp_path_factory) -> Experiment:
    """Photos that are stored as large as the network sees them, so that nothing resizes them."""
    folder = tmp_path_factory.mktemp("frozen")
    write_bars(folder / "bars" / "uncropped.arrow", size=32)
    write_bars(folder / "shop" / "uncropped.arrow", ("train", "query", "gallery"), size=32)
    return changed(tiny, data_path=folder, freeze="backbone", freeze_bn="statistics", descriptors="SMG", dim=24)


def as_fine_tuned(experiment):
    return changed(experiment, freeze="none", warm_up=1000, augment=as_stored)


def frozen_of(experiment):
    train = open_splits(experiment).train
    return FrozenBackbone(experiment, make_learner(experiment, train.classes).model.eval(), train)


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": Circle()},
        {"loss": ProxyAnchor(), "auxiliary": 0.0},
        {"loss": SoftTriple(), "data_name": "shop", "weight_decay": 1e-3},
    ],
    ids=["circle", "proxies, no head", "centres, query and gallery"],
)
def test_training_on_stored_features_equals_training_behind_a_frozen_backbone(frozen, tmp_path, settings):
    experiment = changed(frozen, **settings)
    fast = pl.run(experiment, tmp_path / "frozen")
    slow = pl.run(as_fine_tuned(experiment), tmp_path / "warm_up")
    for one, other in zip(fast.outcome.rows, slow.outcome.rows, strict=True):
        assert one.epoch == 0 or one.train_loss == pytest.approx(other.train_loss, rel=1e-4)
        assert one.report["R@1"] == pytest.approx(other.report["R@1"], abs=1e-9)
        assert one.mean_s_p == pytest.approx(other.mean_s_p, abs=1e-5)
    weights, others = fast.model().state_dict(), slow.model().state_dict()
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, others[name], rtol=1e-3, atol=2e-5)
    assert fast.outcome.baseline.report["MAP@R"] == pytest.approx(slow.outcome.baseline.report["MAP@R"], abs=1e-9)


def test_a_saved_model_embeds_photos_as_the_run_embedded_them(frozen, tmp_path):
    done = pl.run(frozen, tmp_path / "run")
    test = open_splits(frozen).test
    stored = Embeddings.load(RunFolder(done.folder).gallery).vectors
    photos = decode([bytes(test.jpeg(i)) for i in range(len(test))], 32)
    torch.testing.assert_close(Embedder.load(done.folder).embed(photos), stored, rtol=0, atol=1e-5)


def test_an_evaluation_reads_the_features_and_gives_the_same_report(frozen, tmp_path, monkeypatch):
    done = pl.run(frozen, tmp_path / "run")
    monkeypatch.setattr(feature_pass, "pool_all", lambda *_: pytest.fail("the backbone ran again"))
    assert evaluate_run(done.folder).metrics == done.report.metrics


def test_the_backbone_runs_once_per_photo_and_run_after_run_reads_it(frozen, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    write_bars(folder / "bars" / "uncropped.arrow", size=32)
    experiment = changed(frozen, data_path=folder, num_epochs=3)
    seen = []
    pool_all = feature_pass.pool_all
    monkeypatch.setattr(
        feature_pass, "pool_all", lambda model, photos: seen.append(len(photos)) or pool_all(model, photos)
    )
    pl.run(experiment, tmp_path / "first")
    assert sum(seen) == 48
    pl.run(changed(experiment, loss="triplet", descriptors="G", learning_rate=1e-2), tmp_path / "second")
    assert sum(seen) == 48
    # Other weights are another backbone.
    pl.run(changed(experiment, seed=1), tmp_path / "third")
    assert sum(seen) == 96


def test_views_are_augmented_differ_and_do_not_depend_on_the_seed_of_the_run(frozen):
    experiment = changed(frozen, views=3)
    one = frozen_of(experiment)
    views = one.views()
    assert views.shape == (3, 24, 3, one.model.backbone.channels)
    plain = one.pooled(one.train)
    assert all(not torch.allclose(views[i], other) for i in range(3) for other in (plain, views[i - 1]))
    # More views continue those that are stored.
    more = FrozenBackbone(changed(experiment, views=4), one.model, one.train).views()
    assert torch.equal(more[:3], views)


def test_a_view_is_what_training_would_see(frozen):
    experiment = changed(frozen, views=1)
    one = frozen_of(experiment)
    views = one.views()
    in_order = feature_pass._InOrder(24)
    (batch,) = TrainingBatches(one.train, in_order, 32, "standard", 0, seed=0).epoch(0)
    with torch.inference_mode():
        features = one.model.feature_map(batch.photos)
    torch.testing.assert_close(views[0, :, 1], features.amax(dim=(2, 3)), rtol=1e-4, atol=1e-5)


def test_views_in_several_shards_are_those_of_one_shard_and_an_interrupted_pass_goes_on(frozen, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_pass, "BATCH", 8)
    for name in ("whole", "parts"):
        write_bars(tmp_path / name / "bars" / "uncropped.arrow", size=32)

    def views(name):
        return frozen_of(changed(frozen, data_path=tmp_path / name, views=2)).views()

    whole = views("whole")
    for module in (feature_cache, feature_pass):
        monkeypatch.setattr(module, "SHARD_PHOTOS", 8)
    pool_all, passed = feature_pass.pool_all, []

    def pool_four_batches(model, photos):
        if len(passed) == 4:
            raise InterruptedError
        passed.append(photos)
        return pool_all(model, photos)

    # Each view has three batches, each of which is a shard.
    monkeypatch.setattr(feature_pass, "pool_all", pool_four_batches)
    with pytest.raises(InterruptedError):
        views("parts")
    passed.clear()
    assert torch.equal(views("parts"), whole)
    assert len(passed) == 2


def test_a_batch_takes_views_by_seed_epoch_and_step(frozen):
    experiment = changed(frozen, views=2, augment="two_views")
    one = frozen_of(experiment)
    batches = one.batches(training_batches(experiment, one.train))
    first, second = (list(batches.epoch(1)) for _ in range(2))
    assert all(torch.equal(a.photos, b.photos) for a, b in zip(first, second, strict=True))
    assert [b.indices.tolist() for b in batches.epoch(1, start=1)] == [b.indices.tolist() for b in first[1:]]
    batch = first[0]
    assert batch.photos.shape[0] == 24
    assert torch.equal(batch.indices[::2], batch.indices[1::2])
    # The two views of a photo are its two stored ones, in either order.
    views = one.views()
    for features, photo in zip(batch.photos.split(2), batch.indices[::2].tolist(), strict=True):
        both = views[:, photo]
        assert torch.equal(features, both) or torch.equal(features, both.flip(0))


def test_drawn_views_are_different_ones_of_each_photo():
    drawn = _draw_views(np.random.default_rng(0), 500, 4, 2).view(500, 2)
    assert (drawn[:, 0] != drawn[:, 1]).all()
    assert drawn[:, 0].bincount().tolist() == pytest.approx([125] * 4, abs=40)


def test_a_run_that_was_stopped_continues_to_the_same_model(frozen, tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "FROZEN_SECONDS", 0.0)
    experiment = changed(frozen, num_epochs=3, views=2)
    whole = pl.run(experiment, tmp_path / "whole")

    def stop(event):
        if isinstance(event, EpochRow) and event.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pl.run(experiment, tmp_path / "stopped", stop)
    done = resume_run(tmp_path / "stopped")
    assert digest_of_weights(done.model().state_dict()) == digest_of_weights(whole.model().state_dict())
    assert [row.report for row in done.outcome.rows] == [row.report for row in whole.outcome.rows]


def test_files_are_written_once_in_a_while_and_at_the_end(frozen, tmp_path):
    states = []
    pl.run(frozen, tmp_path / "run", lambda event: states.append(has_checkpoint(tmp_path / "run")))
    assert states[-1]
    assert not any(states[:-1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learn_power": True}, "--learn_power changes how the features"),
        ({"freeze_bn": "none"}, "--freeze_bn statistics"),
        ({"freeze_stages": 2}, "freezes every stage, so --freeze_stages 2 adds nothing"),
        ({"views": 2, "augment": as_stored}, "not those of a function"),
        ({"views": 1, "augment": "two_views"}, "use --views 2 or more"),
        ({"freeze": "none", "views": 2}, "--views 2 is for --freeze backbone"),
    ],
)
def test_settings_that_contradict_stored_features_are_refused(frozen, settings, message):
    with pytest.raises(ValueError, match=message):
        changed(frozen, **settings)


def test_several_ranks_and_too_many_views_are_refused(frozen, monkeypatch):
    needed = 48 * 3 * 4 * frozen_of(frozen).model.backbone.channels
    monkeypatch.setattr("pairlens.experiments.feature_cache.MAX_BYTES", needed - 1)
    with pytest.raises(ValueError, match="use fewer --views"):
        frozen_of(frozen)
    monkeypatch.setattr("pairlens.experiments.frozen_backbone.world_size", lambda: 2)
    with pytest.raises(ValueError, match="start it without torchrun"):
        frozen_of(frozen)


def test_an_evaluation_every_second_epoch_gives_the_same_model(frozen, tmp_path):
    experiment = changed(frozen, num_epochs=3)
    every = pl.run(experiment, tmp_path / "every")
    second = pl.run(changed(experiment, evaluate_every=2), tmp_path / "second")
    assert [row.epoch for row in second.outcome.rows] == [0, 2, 3]
    assert second.outcome.rows[2].report == every.outcome.rows[3].report
    assert not math.isnan(second.outcome.rows[1].train_loss)


def test_a_study_trains_on_stored_features(frozen, tmp_path):
    study = pl.Study(
        (pl.Arm("triplet", "triplet"), pl.Arm("circle", "circle")),
        (pl.Benchmark("bars", changed(frozen, num_epochs=1), 1),),
    )
    result = pl.compare(study, tmp_path / "study")
    assert Catalog.open(frozen.data.file).file.with_suffix(".features").is_dir()
    assert result is not None
