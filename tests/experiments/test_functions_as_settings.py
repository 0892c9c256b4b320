"""An experiment with an optimizer, a schedule, an augmentation and a sampler of one's own."""

import json
from dataclasses import replace

import pytest
import torch
from torch.optim.lr_scheduler import ExponentialLR, OneCycleLR

import pairlens as pl
from pairlens.comparison.reproduce import differing, train_command
from pairlens.core.named_function import NamedFunction
from pairlens.experiments.run import resume, run, train
from pairlens.experiments.run_folder import RunFolder
from pairlens.training.fit import Step
from support.experiments import changed


def brighter(photo):
    return (photo // 2 + int(torch.randint(100, ()))).to(torch.uint8)


def four_classes(labels):
    return pl.PKSampler(labels, classes=2, per_class=4, rank=0, world=1)


def one_cycle(optimizer):
    return OneCycleLR(optimizer, 1e-3, total_steps=100)


FUNCTIONS = {
    "optimizer": torch.optim.RAdam,
    "schedule": pl.PerStep(one_cycle),
    "augment": brighter,
    "sampler": four_classes,
}


@pytest.fixture(scope="module")
def own(tiny):
    return changed(tiny, backbone="test_resnet", num_epochs=1, log_analysis=False, **FUNCTIONS)


@pytest.fixture(scope="module")
def finished(own, tmp_path_factory):
    return run(own, tmp_path_factory.mktemp("own") / "run")


def test_functions_are_used_and_stored_by_their_names(own, finished):
    stored = json.loads((finished.folder / "config.json").read_text(encoding="utf-8"))
    assert stored["optimizer"]["name"] == {"type": "NamedFunction", "name": "torch.optim.radam:RAdam"}
    assert stored["batches"]["augment"]["name"].endswith("test_functions_as_settings:brighter")
    opened = RunFolder(finished.folder).experiment()
    assert str(opened.batches.sampler).endswith(":four_classes")
    assert opened.optimizer.name == NamedFunction("torch.optim.radam:RAdam")
    assert train_command(own, finished.folder) is None


def test_an_interrupted_run_resumes_with_its_functions_and_not_without(own, finished, tmp_path):
    folder = RunFolder(tmp_path / "run")
    events = train(own, folder)
    for event in events:
        if isinstance(event, Step):
            break
    events.close()
    with pytest.raises(ValueError, match=r"^the function torch\.optim\.radam:RAdam of this run is not stored with it"):
        list(resume(folder))
    resumed = pl.resume_run(folder.path, functions=FUNCTIONS)
    assert resumed.report == finished.report
    first, second = (torch.cat([p.flatten() for p in done.model().parameters()]) for done in (resumed, finished))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "lamb"}, "--optimizer 'lamb' is not one of adam, adamw, sgd, rmsprop, nadam, radam"),
        ({"schedule": "linear"}, "--schedule 'linear' is not one of step, cosine, constant"),
        ({"augment": "randaugment"}, "--augment 'randaugment' is not one of standard"),
        ({"sampler": "pk"}, "--sampler 'pk' must be a function"),
        ({"warm_up_epochs": -1}, "--warm_up_epochs -1 must not be negative"),
        ({"warm_up_epochs": 1, "schedule": one_cycle}, "--warm_up_epochs 1 cannot be combined with a schedule"),
        ({"references": "memory", "memory_size": 20, "augment": "two_views"}, "does not hold a batch of 24"),
    ],
)
def test_a_wrong_setting_is_an_error_in_one_sentence_before_anything_is_written(tiny, settings, message):
    with pytest.raises(ValueError, match=message):
        changed(tiny, **settings)


@pytest.mark.parametrize("optimizer", [torch.optim.LBFGS, torch.optim.SparseAdam])
def test_an_optimizer_that_cannot_be_used_is_refused_before_the_folder_is_made(tiny, optimizer, tmp_path):
    def without_decay(groups):
        return optimizer([parameter for group in groups for parameter in group["params"]])

    with pytest.raises(ValueError, match=r"^the optimizer \w+ cannot take a step here"):
        run(changed(tiny, backbone="test_resnet", optimizer=without_decay), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_default_settings_are_those_of_version_0_1(tiny):
    assert not {"schedule", "warm_up_epochs", "augment", "sampler", "optimizer"} & differing(tiny).keys()


def test_a_record_can_be_compared_and_replaced(own):
    assert own == replace(own)
    assert hash(own.optimizer) == hash(replace(own.optimizer))
    assert own.optimizer.schedule_unit == "step"
    assert pl.OptimizerConfig(schedule=lambda optimizer: ExponentialLR(optimizer, 0.9)).schedule_unit == "epoch"


def test_two_views_train(tiny, tmp_path):
    sizes = []
    run(
        changed(tiny, backbone="test_resnet", num_epochs=1, augment="two_views", schedule="cosine", warm_up_epochs=1),
        tmp_path / "run",
        lambda event: sizes.append(event.photos) if isinstance(event, Step) else None,
    )
    assert set(sizes) == {24}
