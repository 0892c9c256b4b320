"""A criterion in a `DistributedDataParallel` loop of one's own, against one process with the whole batch."""

import pytest
import torch

from pairlens.losses import Triplet
from pairlens.training.criterion import Criterion
from support import criterion_worker
from support.criterion_worker import CASES, LABELS, WEIGHTS, WeightedLoss, WeightedPairs
from support.ranks import run_ranks

RANKS = 2
SHARES = (5, 6)
GATHERED = [case for case in CASES if case not in ("not gathered", "learned, mined")]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("criterion")
    run_ranks(criterion_worker.train_all, (RANKS, str(folder)), RANKS)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(RANKS)]


def cosine(first, second):
    return float(torch.nn.functional.cosine_similarity(first.flatten(), second.flatten(), dim=0))


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("case", GATHERED)
def test_the_gradient_of_two_ranks_is_that_of_the_whole_batch(ranks, case, share):
    expected = criterion_worker.train(case)
    found = ranks[0][f"{case} {share}"]
    for first, second in zip(expected["gradients"], found["gradients"], strict=True):
        assert cosine(first, second) >= 0.999999
        assert torch.allclose(first, second, rtol=1e-9, atol=1e-12)
    assert torch.allclose(expected["losses"], found["losses"])
    for name in expected:
        assert torch.allclose(expected[name].double(), found[name].double()), name


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("case", [case for case in CASES if case != "not gathered"])
def test_all_ranks_hold_the_same_proxies_memory_and_weights(ranks, case, share):
    first, second = (found[f"{case} {share}"] for found in ranks)
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_without_gathering_the_gradient_is_another(ranks):
    expected = criterion_worker.train("not gathered")
    found = ranks[0]["not gathered 5"]
    assert cosine(expected["gradients"][0], found["gradients"][0]) < 0.99
    assert not torch.allclose(found["losses"], ranks[1]["not gathered 5"]["losses"])


def test_processes_without_a_group_are_an_error_in_one_sentence(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    embeddings = torch.eye(4)
    labels = torch.tensor([0, 0, 1, 1])
    with pytest.raises(ValueError, match=r"^this is one of 2 processes .* pl\.gather_with_gradient .* gather=False$"):
        Criterion(Triplet())(embeddings, labels)
    assert Criterion(Triplet(), gather=False)(embeddings, labels) > 0
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert Criterion(Triplet())(embeddings, labels) > 0


def test_a_loss_gets_the_values_that_it_needs():
    embeddings = torch.randn(len(LABELS), 4, dtype=torch.float64)
    criterion = Criterion(WeightedLoss())
    value = criterion(embeddings, LABELS, {"weight": WEIGHTS, "unused": LABELS})
    assert value == WeightedLoss().of_embeddings(embeddings, LABELS, weight=WEIGHTS)
    assert criterion(embeddings, LABELS, {"weight": 2 * WEIGHTS}) == pytest.approx(4 * float(value))


@pytest.mark.parametrize("loss", [WeightedLoss(), WeightedPairs()])
def test_a_value_that_is_missing_or_of_another_length_is_an_error_in_one_sentence(loss):
    criterion = Criterion(loss)
    with pytest.raises(ValueError, match="needs 'weight' of each of the 10 photos, which is missing; call"):
        criterion(torch.eye(10), LABELS)
    with pytest.raises(ValueError, match=r"which has the shape \(3,\); call criterion\(embeddings, labels, extra="):
        criterion(torch.eye(10), LABELS, {"weight": WEIGHTS[:3]})
