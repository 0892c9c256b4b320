import pytest
import torch

from pairlens.losses import Circle, Margin, SoftTriple
from pairlens.training.checkpoint import (
    CHECKPOINT_FILE,
    PREVIOUS_CHECKPOINT_FILE,
    _match_memory_layout,
    has_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from pairlens.training.criterion import Criterion
from pairlens.training.fit import fit
from pairlens.training.learner import Objective
from pairlens.training.references import CrossBatchMemory
from support.training_setup import Photos, learner

OBJECTIVE = Objective(freeze_bn="none")


def state(made):
    return {**made.model.state_dict(), **made.criterion.state_dict()}


@pytest.mark.parametrize("objective", [OBJECTIVE, Objective(freeze_bn="none", freeze_stages=2)])
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, objective):
    straight = learner(SoftTriple(centers=2))
    list(fit(straight, Photos(), objective, 4))
    stopped = learner(SoftTriple(centers=2))
    list(fit(stopped, Photos(), objective, 2))
    save_checkpoint(stopped, tmp_path)
    next_numbers = torch.rand(3)
    resumed = learner(SoftTriple(centers=2))
    load_checkpoint(resumed, tmp_path)
    assert torch.equal(torch.rand(3), next_numbers)
    assert resumed.epoch == 2
    list(fit(resumed, Photos(), objective, 4))
    for name, tensor in state(straight).items():
        assert torch.equal(tensor, state(resumed)[name]), name
    assert resumed.optimizer.param_groups[-1]["lr"] == straight.optimizer.param_groups[-1]["lr"]


def test_only_a_complete_file_has_the_name_of_a_checkpoint(tmp_path):
    save_checkpoint(learner(), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [CHECKPOINT_FILE]


def test_a_missing_damaged_or_foreign_checkpoint_gives_a_clear_error(tmp_path):
    with pytest.raises(ValueError, match="no finished epoch"):
        load_checkpoint(learner(), tmp_path)
    save_checkpoint(learner(), tmp_path)
    with pytest.raises(ValueError, match="another experiment"):
        load_checkpoint(learner(SoftTriple(centers=2)), tmp_path)
    file = tmp_path / CHECKPOINT_FILE
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(ValueError, match="damaged"):
        load_checkpoint(learner(), tmp_path)


def with_memory():
    made = learner()
    torch.manual_seed(0)
    made.criterion = Criterion(Circle(), CrossBatchMemory(size=40, dim=8, warm_up=2))
    return made


def test_a_resumed_memory_equals_an_uninterrupted_one(tmp_path):
    straight = with_memory()
    list(fit(straight, Photos(), OBJECTIVE, 4))
    stopped = with_memory()
    list(fit(stopped, Photos(), OBJECTIVE, 1))
    save_checkpoint(stopped, tmp_path)
    resumed = with_memory()
    load_checkpoint(resumed, tmp_path)
    assert (resumed.criterion.references.seen, resumed.criterion.references.filled) == (3, 24)
    list(fit(resumed, Photos(), OBJECTIVE, 4))
    assert resumed.criterion.references.next_slot == straight.criterion.references.next_slot == 96 % 40
    assert torch.equal(resumed.criterion.references.vectors, straight.criterion.references.vectors)
    for name, tensor in straight.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize("loss", [SoftTriple(centers=2), Margin()])
def test_a_checkpoint_without_the_parameters_of_the_loss_gives_an_error(tmp_path, loss):
    made = learner(loss)
    made.criterion.state_dict = dict
    save_checkpoint(made, tmp_path)
    with pytest.raises(ValueError, match=r"another experiment.*(Missing key|Error\(s\) in loading|is missing)"):
        load_checkpoint(learner(loss), tmp_path)


def test_loaded_moments_have_the_memory_layout_of_their_parameter(tmp_path):
    made = learner()
    made.model.to(memory_format=torch.channels_last)
    list(fit(made, Photos(), Objective(freeze_bn="none"), 1))
    save_checkpoint(made, tmp_path)
    again = learner()
    again.model.to(memory_format=torch.channels_last)
    load_checkpoint(again, tmp_path)
    averages = [(p, s["exp_avg"]) for p, s in again.optimizer.state.items() if p.ndim == 4]
    assert averages
    assert all(average.stride() == parameter.stride() for parameter, average in averages)


def test_loaded_moments_stay_on_their_device():
    """An optimizer that is not fused has its step number on the CPU, though its parameter of the same shape is on a GPU."""
    power = torch.nn.Parameter(torch.zeros((), device="meta"))
    optimizer = torch.optim.RMSprop([power], foreach=True)
    optimizer.state[power] = {"step": torch.tensor(3.0), "square_avg": torch.zeros((), device="meta")}
    _match_memory_layout(optimizer)
    assert {name: value.device.type for name, value in optimizer.state[power].items()} == {
        "step": "cpu",
        "square_avg": "meta",
    }
    assert optimizer.state[power]["step"] == 3


def saved_twice(folder):
    for number in (1, 2):
        made = learner()
        made.epoch = number
        save_checkpoint(made, folder, {"number": number})


def test_two_checkpoints_are_kept(tmp_path):
    assert not has_checkpoint(tmp_path)
    saved_twice(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [CHECKPOINT_FILE, PREVIOUS_CHECKPOINT_FILE]
    assert load_checkpoint(learner(), tmp_path) == {"number": 2}


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_the_checkpoint_before_a_damaged_one_is_loaded_with_a_warning(tmp_path, damage):
    saved_twice(tmp_path)
    file = tmp_path / CHECKPOINT_FILE
    file.write_bytes(file.read_bytes()[:5000]) if damage == "cut" else file.unlink()
    made = learner()
    assert has_checkpoint(tmp_path)
    with pytest.warns(UserWarning, match=f"{CHECKPOINT_FILE} is damaged .* resumed from .*{PREVIOUS_CHECKPOINT_FILE}"):
        assert load_checkpoint(made, tmp_path) == {"number": 1}
    assert made.epoch == 1


def test_a_failed_write_leaves_both_checkpoints(tmp_path, monkeypatch):
    saved_twice(tmp_path)

    def full(*_arguments, **_named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(learner(), tmp_path, {"number": 3})
    assert load_checkpoint(learner(), tmp_path) == {"number": 2}
    (tmp_path / CHECKPOINT_FILE).unlink()
    with pytest.warns(UserWarning, match="resumed from"):
        assert load_checkpoint(learner(), tmp_path) == {"number": 1}


def test_the_previous_checkpoint_stays_where_there_are_no_hard_links(tmp_path, monkeypatch):
    def no_link(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.link", no_link)
    saved_twice(tmp_path)
    (tmp_path / CHECKPOINT_FILE).unlink()
    with pytest.warns(UserWarning, match="resumed from"):
        assert load_checkpoint(learner(), tmp_path) == {"number": 1}
