"""Several ranks against one process. The processes are started once, and train all cases while this one does the same."""

import pytest
import torch
from torch import multiprocessing

from pairlens.core.distributed import shard
from pairlens.training.data_parallel import wrap_ddp
from support import ddp_worker

RANKS = 2
# With so few bits the last one decides what BatchNorm makes of noise; there the ranks only have to agree.
ROUGH = "bfloat16"


@pytest.fixture(scope="module")
def alone():
    return {name: ddp_worker.train(case) for name, case in ddp_worker.CASES.items()}


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    return folder, multiprocessing.spawn(ddp_worker.train_all, (RANKS, str(folder)), nprocs=RANKS, join=False)


@pytest.fixture(scope="module")
def together(started, alone):
    folder, processes = started
    while not processes.join():
        pass
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(RANKS)]


@pytest.mark.parametrize("name", ddp_worker.CASES)
def test_every_rank_comes_to_the_same_bits(together, name):
    for first, second in zip(together[0][name].items(), together[1][name].items(), strict=True):
        assert first[0] == second[0]
        assert torch.equal(first[1].nan_to_num(7), second[1].nan_to_num(7)), first[0]


@pytest.mark.parametrize("name", [name for name in ddp_worker.CASES if name != ROUGH])
def test_ranks_learn_what_one_process_learns_from_the_joined_batch(alone, together, name):
    for key, expected in alone[name].items():
        found = together[0][name][key]
        if name == "chunks" and key == "record":
            # The cosine of the gradients is taken at the last chunk, which is that of each rank.
            found, expected = (record[:, [0, 1, 2, 4]] for record in (found, expected))
        assert torch.allclose(found, expected, rtol=0, atol=1e-5 if key == "record" else 1e-7, equal_nan=True), key


def test_the_cases_learn_something(alone):
    for name, case in ddp_worker.CASES.items():
        before = ddp_worker.learner_of(case).model.state_dict()
        moved = max(
            float((alone[name][key] - tensor).abs().max()) for key, tensor in before.items() if key.endswith("weight")
        )
        assert moved > 1e-5, name


def test_a_broken_photo_of_one_rank_leaves_the_step_out_on_all(together):
    assert together[0]["skipped"]["record"][:, 4].tolist() == [1, 1]


def test_a_memory_holds_the_batches_of_all_ranks_in_their_order(together):
    for found in together:
        newest = found["memory"]["criterion.references.vectors"][:8].float()
        assert torch.equal(newest, found["memory"]["embeddings"][-8:])
        assert torch.equal(found["memory"]["criterion.references.labels"][:8], ddp_worker.LABELS)


def test_what_is_exchanged_comes_in_the_order_of_the_ranks(together):
    for found in together:
        assert found["ranks"]["rows"].tolist() == [[0, 0], [1, 1], [1, 1]]
        assert found["ranks"]["total"] == 4
        assert bytes(found["ranks"]["text"].tolist()).decode() == "é0"
        assert not len(found["ranks"]["nothing"])


@pytest.mark.parametrize("count", [0, 1, 7, 8])
def test_shares_are_even_and_none_is_left_out(count):
    shares = [list(range(count))[shard(count, rank, 3)] for rank in range(3)]
    assert [row for rows in shares for row in rows] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_alone_a_model_is_used_as_it_is():
    learner = ddp_worker.learner_of(ddp_worker.CASES["batch"])
    network = wrap_ddp(learner.model.eval(), learner.criterion)
    photos = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    assert torch.equal(network(photos)[0], learner.model(photos)[0])
