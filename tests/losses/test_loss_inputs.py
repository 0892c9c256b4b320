"""Losses and miners that are called directly take every plain form of similarities and pairs, also without any pair."""

from typing import get_args

import numpy as np
import pytest
import torch

from pairlens.core.pairs import Pairs
from pairlens.losses.all_losses import Loss
from pairlens.losses.miners import Miner
from pairlens.losses.protocols import centers_of, is_embedding_loss, is_learned_loss, possible_sources
from pairlens.training.criterion import Criterion, NoPairsWarning
from pairlens.training.references import CrossBatchMemory
from support.loss_cases import DIM, criterion, each_case

MINERS = get_args(Miner)
each_miner = pytest.mark.parametrize("kind", MINERS)
each_loss = pytest.mark.parametrize("kind", get_args(Loss))


def example(loss, anchors=4):
    """Return similarities and pairs that a loss of similarities takes: of a batch, or with two proxies."""
    labels = torch.tensor([0, 0, 1, 1])[:anchors]
    if "batch" in possible_sources(loss):
        return torch.eye(4)[:anchors, :anchors], Pairs.within(labels)
    proxies = torch.arange(2).repeat_interleave(centers_of(loss))
    return torch.linspace(0, 1, anchors * len(proxies)).view(anchors, -1), Pairs.between(labels, proxies)


def called(loss, similarity, pairs):
    if is_embedding_loss(loss):
        return loss.of_embeddings(similarity, pairs)
    return loss(similarity, pairs, torch.ones(len(similarity))) if is_learned_loss(loss) else loss(similarity, pairs)


@each_loss
def test_similarities_may_be_arrays_lists_and_of_any_precision(kind):
    loss = kind()
    similarity, pairs = (torch.eye(4), [0, 0, 1, 1]) if is_embedding_loss(loss) else example(loss)
    expected = called(loss, similarity, pairs)
    array = similarity.numpy()
    for form in (array, array.astype(">f8"), array.tolist(), list(similarity), similarity.double()):
        assert called(loss, form, pairs).item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)


@each_loss
def test_what_is_no_similarities_or_no_pairs_is_one_sentence(kind):
    loss = kind()
    if is_embedding_loss(loss):
        wrong = [
            (torch.eye(4) > 0, [0, 0, 1, 1]),
            (torch.eye(4), [0.0, 0, 1, 1]),
            (torch.eye(4), [0, 0, 1]),
            (None, []),
        ]
    else:
        similarity, pairs = example(loss)
        wrong = [(s, pairs) for s in (similarity > 0, similarity * 1j, None, "text", similarity[0], similarity[:3], 3)]
        wrong += [(similarity, p) for p in (None, torch.tensor([0, 0, 1, 1]), pairs.positive, (pairs.positive,) * 2)]
    for arguments in wrong:
        length = torch.ones(4)
        with pytest.raises(ValueError, match=r"^\w.{20,300}$"):
            loss(*arguments, length) if is_learned_loss(loss) else called(loss, *arguments)


@pytest.mark.parametrize(
    "kind", [kind for kind in get_args(Loss) if hasattr(kind, "average") and not is_embedding_loss(kind())]
)
def test_a_mean_over_pairs_takes_the_same_forms_and_refuses_the_same(kind):
    loss = kind(average="pair")
    similarity, pairs = example(loss)
    expected = loss(similarity, pairs)
    for form in (similarity.numpy(), similarity.tolist(), similarity.double()):
        assert loss(form, pairs).item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
    for wrong in ((similarity[:3], pairs), (None, pairs), (similarity > 0, pairs), (similarity, None)):
        with pytest.raises(ValueError, match=r"^\w.{20,300}$"):
            loss(*wrong)


@each_loss
@pytest.mark.parametrize("references", ["none", "as many as there are"])
def test_a_loss_of_no_photos_is_0_with_a_graph(kind, references):
    loss = kind()
    if is_embedding_loss(loss):
        given, pairs = torch.zeros(0, DIM, requires_grad=True), torch.zeros(0, dtype=torch.long)
    else:
        similarity, _ = example(loss)
        count = 0 if references == "none" or "batch" in possible_sources(loss) else similarity.shape[1]
        nothing = torch.zeros(0, count, dtype=torch.bool)
        given, pairs = torch.zeros(0, count, requires_grad=True), Pairs(nothing, nothing)
    value = called(loss, given, pairs)
    assert value.item() == 0
    value.backward()
    assert given.grad.shape == given.shape


@each_case
def test_a_criterion_of_an_empty_batch_is_0_with_a_graph(loss, source):
    made = criterion(loss, source)
    before = {name: value.clone() for name, value in made.named_buffers()}
    for dtype in (torch.float32, torch.bfloat16):
        embeddings = torch.zeros(0, DIM, dtype=dtype, requires_grad=True)
        with pytest.warns(NoPairsWarning, match="batch of 0"):
            value = made(embeddings, [])
        assert (value.item(), value.dtype) == (0, torch.float32)
        value.backward()
        assert embeddings.grad.shape == (0, DIM)
    assert all(parameter.grad.abs().sum() == 0 for parameter in made.parameters())
    # A memory has not seen a batch.
    assert all(torch.equal(value, before[name]) for name, value in made.named_buffers())


@each_miner
def test_a_miner_takes_the_same_forms_and_no_photos(kind):
    miner, pairs = kind(), Pairs.within(torch.tensor([0, 0, 1, 1]))
    similarity = torch.tensor([[1, 0.8, 0.7, 0.1], [0.8, 1, 0.75, 0.2], [0.7, 0.75, 1, 0.6], [0.1, 0.2, 0.6, 1]])
    torch.manual_seed(0)
    expected = miner(similarity, pairs)
    for form in (similarity.numpy(), similarity.tolist(), similarity.double()):
        torch.manual_seed(0)
        found = miner(form, pairs)
        assert torch.equal(found.positive, expected.positive)
    nothing = torch.zeros(0, 0, dtype=torch.bool)
    assert miner(torch.zeros(0, 0), Pairs(nothing, nothing)).positive.shape == (0, 0)
    for wrong in (None, similarity > 0, similarity[:3], similarity * 1j):
        with pytest.raises(ValueError, match=r"^\w.{20,300}$"):
            miner(wrong, pairs)
    with pytest.raises(ValueError, match=r"takes similarities and pl\.Pairs, not Tensor"):
        miner(similarity, torch.tensor([0, 0, 1, 1]))


def test_masks_may_be_arrays_and_lists_of_truth_values():
    mask = np.eye(2, dtype=bool)
    for form in (mask, mask.tolist(), torch.from_numpy(mask), list(torch.from_numpy(mask))):
        pairs = Pairs(form, [[False, True], [True, False]])
        assert pairs.positive.dtype == pairs.negative.dtype == torch.bool
        assert pairs.positive.tolist() == mask.tolist()
    for wrong in (mask.astype(int), mask[0], None, "text", [[True], [True, False]], mask * 1.0):
        with pytest.raises(ValueError, match=r"the positive mask of Pairs must be a boolean"):
            Pairs(wrong, mask)


def test_further_values_may_be_arrays_and_lists():
    class Weighted:
        references = ("batch",)
        needs = ("weight",)

        def __call__(self, similarity, pairs, weight):
            return (similarity.sum(dim=1) * weight).sum()

    expected = Criterion(Weighted())(torch.eye(4), [0, 0, 1, 1], {"weight": torch.tensor([1.0, 2, 3, 4])})
    for weight in ([1.0, 2, 3, 4], np.array([1.0, 2, 3, 4]), [torch.tensor(i + 1.0) for i in range(4)]):
        assert Criterion(Weighted())(torch.eye(4), [0, 0, 1, 1], {"weight": weight}) == expected
    for weight in ("text", None, [[1], [1, 2]], [1.0, 2.0]):
        with pytest.raises(ValueError, match="weight"):
            Criterion(Weighted())(torch.eye(4), [0, 0, 1, 1], {"weight": weight})


def test_a_batch_that_is_refused_is_not_written_into_a_memory():
    memory = CrossBatchMemory(8, 4)
    made = Criterion(get_args(Loss)[0](), memory)
    for embeddings in (torch.eye(4) * torch.nan, torch.eye(4) * 1e20):
        with pytest.raises(FloatingPointError, match="embedding 0 of the batch is not finite"):
            made(embeddings, [0, 0, 1, 1])
    assert memory.seen == memory.filled == 0
