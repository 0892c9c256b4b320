"""Losses of other projects: wrapped functions, records that a run stores by name, and what cannot be stored."""

import sys
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import pairlens as pl
from pairlens.analysis.audit import audit
from pairlens.analysis.explain import explain
from pairlens.core.pairs import Pairs
from pairlens.core.records import from_plain, to_plain
from pairlens.losses import Circle, ProxyAnchor, SimilarityContrastive
from pairlens.losses.loss_import import open_stored
from pairlens.losses.protocols import needs_criterion, obstacle_of, takes_pairs
from pairlens.losses.third_party import StoredLoss, Wrapped, WrappedPairs, is_own_loss, stored_form, wrap, wrap_pairs
from support import foreign_losses
from support.foreign_losses import Changing, Hinge, OfPairs, Spread, WithEmptyMind, WithTensor, mean_negative

LABELS = torch.arange(12) % 4
POINTS = torch.nn.functional.normalize(torch.randn(12, 6, generator=torch.Generator().manual_seed(0)), dim=1)
STORED = {"type": "StoredLoss", "name": "support.foreign_losses:Hinge", "fields": {"margin": 0.25, "names": ["a", "b"]}}


def circle_again(similarity, pairs):
    return Circle()(similarity, pairs)


@pytest.mark.parametrize("source", [lambda: pl.InBatch(), lambda: pl.CrossBatchMemory(24, 6), lambda: pl.Proxies(4, 6)])
def test_a_wrapped_function_of_pairs_works_with_every_source(source):
    values = []
    for loss in (Circle(), wrap_pairs(circle_again)):
        torch.manual_seed(0)
        values.append(pl.Criterion(loss, source())(POINTS, LABELS))
    assert torch.equal(*values)


def test_a_wrapped_function_of_pairs_is_selected_from_by_a_miner():
    seen = []

    def remember(similarity, pairs):
        seen.append(pairs)
        return similarity.sum()

    pl.Criterion(wrap_pairs(remember), miner=pl.losses.miners.Hardest())(POINTS, LABELS)
    assert int(seen[0].negative.sum(dim=1).max()) == 1


def test_a_wrapped_function_of_pairs_gets_float32_where_a_network_runs_in_less():
    kinds = []
    loss = wrap_pairs(lambda similarity, pairs: kinds.append(similarity.dtype) or similarity.sum())
    with torch.autocast("cpu", torch.bfloat16):
        pl.Criterion(loss)(POINTS.bfloat16(), LABELS)
    assert kinds == [torch.float32]


def test_the_parameters_of_a_wrapped_module_of_pairs_are_those_of_the_criterion():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, similarity, pairs):
            return (self.scale * similarity[pairs.negative]).mean()

    criterion = pl.Criterion(wrap_pairs(Scaled()))
    criterion(POINTS, LABELS).backward()
    assert criterion.state_dict().keys() == {"wrapped.scale"}
    assert criterion.loss.name == "Scaled"
    assert next(criterion.parameters()).grad is not None


def test_a_wrapped_function_of_pairs_is_audited_and_explained_as_the_loss_that_it_is():
    assert audit(wrap_pairs(circle_again)).diagnosis.name == audit(Circle()).diagnosis.name
    ours, theirs = explain([Circle(), wrap_pairs(circle_again)], points=5).losses
    assert ours.plane.value == pytest.approx(theirs.plane.value)
    assert theirs.name == "circle_again"


def test_the_wrong_wrapping_is_refused():
    with pytest.raises(ValueError, match=r"mean_negative takes similarity and pairs; wrap it with pl\.wrap_pairs"):
        wrap(mean_negative)
    with pytest.raises(ValueError, match=r"of_embeddings takes embeddings and labels; wrap it with pl\.wrap"):
        wrap_pairs(foreign_losses.of_embeddings)
    with pytest.raises(ValueError, match=r"wrap it with pl\.wrap"):
        wrap_pairs(foreign_losses.Module())


def test_what_takes_pairs_goes_through_a_criterion():
    assert needs_criterion(mean_negative)
    assert needs_criterion(OfPairs())
    assert needs_criterion(Spread())
    assert not needs_criterion(foreign_losses.of_embeddings)
    assert not needs_criterion(foreign_losses.Module())
    assert not takes_pairs(torch.add)


@pytest.mark.parametrize("loss", [Hinge(0.25), Spread(2.0), OfPairs(3)], ids=str)
def test_a_record_of_another_project_is_stored_by_its_name_and_opened_if_it_is_trusted(loss):
    stored = from_plain(StoredLoss, to_plain(stored_form(loss)))
    assert stored.name == f"support.foreign_losses:{type(loss).__name__}"
    assert open_stored(stored) == stored
    assert open_stored(stored, trust={"other", "support.foreign"}) == stored
    for trust in ({"support.foreign_losses"}, {"support"}):
        assert open_stored(stored, trust=trust) == loss
    assert open_stored(stored, given=loss) is loss
    assert stored_form(stored) is stored
    assert not is_own_loss(loss)


def test_another_loss_than_the_stored_one_is_refused():
    with pytest.raises(ValueError, match="the run was trained with"):
        open_stored(stored_form(Hinge(0.25)), given=Hinge(0.3))
    with pytest.raises(ValueError, match="the run was trained with"):
        open_stored(Circle(), given=ProxyAnchor())


def test_a_stored_loss_says_why_it_cannot_be_computed():
    stored = stored_form(Hinge())
    with pytest.raises(
        ValueError, match=r"code of the loss support.foreign_losses:Hinge is not stored.*--trust support"
    ):
        pl.Criterion(stored)
    with pytest.raises(ValueError, match="is not stored with its run"):
        pl.Criterion(pl.losses.Sum((Circle(), stored)))
    assert "--trust" not in obstacle_of(Wrapped("mine"))
    assert "--trust support.x" in obstacle_of(WrappedPairs("mine", source="support.x:mine"))
    assert obstacle_of(wrap_pairs(mean_negative)) == ""


def test_a_trusted_module_that_has_changed_is_an_error_that_says_so():
    for name, fields in (("Missing", {}), ("Hinge", {"width": 1})):
        stored = StoredLoss(f"support.foreign_losses:{name}", fields)
        with pytest.raises(ValueError, match="cannot be made again from its stored fields"):
            open_stored(stored, trust={"support"})


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"name": "os.system"}, "must be named by module:Class"),
        ({"name": "os:system('x')"}, "must be named by module:Class"),
        ({"fields": {"margin": {"type": "Circle"}}}, "fields.margin holds"),
        ({"fields": {"margin": "\x1b[31m"}}, "control characters"),
        ({"references": ["web"]}, "one of 'batch'"),
        ({"references": []}, "no source of references"),
    ],
)
def test_a_stored_loss_that_is_not_well_formed_is_refused(changed, sentence):
    assert from_plain(StoredLoss, STORED).fields["names"] == ("a", "b")
    with pytest.raises(ValueError, match=sentence):
        from_plain(StoredLoss, STORED | changed)


@dataclass(frozen=True)
class OfThisFile:
    names: dict

    def __call__(self, similarity, pairs):
        return similarity.sum()


def in_a_function():
    @dataclass(frozen=True)
    class Local:
        def __call__(self, similarity, pairs):
            return similarity.sum()

    return Local()


@dataclass(frozen=True)
class OfMain:
    def __call__(self, similarity, pairs):
        return similarity.sum()


@dataclass(frozen=True)
class OfOneWord:
    word: str

    def __post_init__(self):
        object.__setattr__(self, "word", self.word + "!")

    def __call__(self, similarity, pairs):
        return similarity.sum()


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (lambda similarity, pairs: similarity.sum(), "is not a record with settings"),
        (nn.MSELoss(), "MSELoss is not a record with settings.*pl.wrap"),
        (Circle, "Circle is not a record with settings; give an instance"),
        (Changing(), "frozen=True"),
        (WithEmptyMind(), "has no method that computes it"),
        (WithTensor(), "cannot be stored with a run.*Tensor has no plain form"),
        (Hinge(float("nan")), "cannot be stored with a run"),
        (OfThisFile({"a": 1}), "cannot be stored with a run"),
        (OfOneWord("a"), r"its field \['word'\] does not come back"),
        (in_a_function(), "cannot be imported by another process"),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_what_cannot_be_stored_is_refused_before_training(loss, sentence):
    with pytest.raises(ValueError, match=sentence):
        pl.Experiment(loss=loss)


def test_a_class_of_the_main_script_is_refused(monkeypatch):
    monkeypatch.setattr(OfMain, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "OfMain", OfMain, raising=False)
    with pytest.raises(ValueError, match="cannot be imported by another process"):
        pl.Experiment(loss=OfMain())


def test_criterion_and_experiment_take_a_loss_by_name():
    assert pl.Criterion("multi_similarity:beta=50").loss == pl.losses.MultiSimilarity(beta=50)
    assert pl.Experiment(loss="circle").loss == Circle()
    for make in (pl.Criterion, lambda loss: pl.Experiment(loss=loss)):
        with pytest.raises(ValueError, match=r"there is no loss cirle; did you mean circle\?"):
            make("cirle")


def test_a_wrapped_loss_gives_the_pair_weights_of_its_function():
    similarity = torch.tensor([[0.5, 0.7]])
    pairs = Pairs.between(torch.tensor([0]), torch.tensor([0, 1]))
    loss = wrap_pairs(lambda similarity, pairs: SimilarityContrastive()(similarity, pairs))
    assert loss(similarity, pairs) == SimilarityContrastive()(similarity, pairs)


def test_a_function_of_pairs_gets_similarities_in_float32():
    seen = []

    def watched(similarity, pairs):
        seen.append(similarity.dtype)
        return similarity.sum()

    labels = torch.tensor([0, 0, 1])
    wrap_pairs(watched)(torch.eye(3, dtype=torch.float16), Pairs.within(labels))
    assert seen == [torch.float32]
