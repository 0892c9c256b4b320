"""Several ranks against one process: the ranks train all cases once, while this process trains the same cases."""

import pytest
import torch

from pairlens.core.distributed import shard
from pairlens.training.data_parallel import wrap_ddp
from support import ddp_worker
from support.ranks import start_ranks

RANKS = 2
# With the few bits of bfloat16, BatchNorm of noise depends on rounding, so only the ranks have to agree with each other.
ROUNDED = "bfloat16"


@pytest.fixture(scope="module")
def one_process():
    return {name: ddp_worker.train(case) for name, case in ddp_worker.CASES.items()}


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    return folder, start_ranks(ddp_worker.train_all, (RANKS, str(folder)), RANKS)


@pytest.fixture(scope="module")
def ranks(started, one_process):
    folder, processes = started
    while not processes.join():
        pass
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(RANKS)]


@pytest.mark.parametrize("name", ddp_worker.CASES)
def test_all_ranks_have_bit_identical_results(ranks, name):
    for first, second in zip(ranks[0][name].items(), ranks[1][name].items(), strict=True):
        assert first[0] == second[0]
        assert torch.equal(first[1].nan_to_num(7), second[1].nan_to_num(7)), first[0]


@pytest.mark.parametrize("name", [name for name in ddp_worker.CASES if name != ROUNDED])
def test_ranks_learn_what_one_process_learns_from_the_whole_batch(one_process, ranks, name):
    for key, expected in one_process[name].items():
        found = ranks[0][name][key]
        if name == "chunks" and key == "record":
            # The cosine of the gradients is measured on the last micro batch, which differs between ranks and one process.
            found, expected = (record[:, [0, 1, 2, 4]] for record in (found, expected))
        assert torch.allclose(found, expected, rtol=0, atol=1e-5 if key == "record" else 1e-7, equal_nan=True), key


def test_every_case_changes_the_weights(one_process):
    for name, case in ddp_worker.CASES.items():
        before = ddp_worker.learner_of(case).model.state_dict()
        moved = max(
            float((one_process[name][key] - tensor).abs().max())
            for key, tensor in before.items()
            if key.endswith("weight")
        )
        assert moved > 1e-5, name


def test_a_photo_that_is_not_finite_on_one_rank_makes_all_ranks_skip_the_step(ranks):
    assert ranks[0]["skipped"]["record"][:, 4].tolist() == [1, 1]


def test_a_memory_holds_the_batches_of_all_ranks_in_their_order(ranks):
    for found in ranks:
        newest = found["memory"]["criterion.references.vectors"][:8].float()
        assert torch.equal(newest, found["memory"]["embeddings"][-8:])
        assert torch.equal(found["memory"]["criterion.references.labels"][:8], ddp_worker.LABELS)


def test_gathered_rows_are_in_the_order_of_the_ranks(ranks):
    for found in ranks:
        assert found["ranks"]["rows"].tolist() == [[0, 0], [1, 1], [1, 1]]
        assert found["ranks"]["total"] == 4
        assert bytes(found["ranks"]["text"].tolist()).decode() == "é0"
        assert not len(found["ranks"]["nothing"])


@pytest.mark.parametrize("count", [0, 1, 7, 8])
def test_shards_are_even_and_complete(count):
    shares = [list(range(count))[shard(count, rank, 3)] for rank in range(3)]
    assert [row for rows in shares for row in rows] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_uses_the_model_without_a_wrapper():
    learner = ddp_worker.learner_of(ddp_worker.CASES["batch"])
    network = wrap_ddp(learner.model.eval(), learner.criterion)
    photos = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    assert torch.equal(network(photos)[0], learner.model(photos)[0])
