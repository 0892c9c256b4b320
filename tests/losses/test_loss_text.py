"""The text form of losses: every loss is read back from its text, in every spelling."""

from typing import get_args

import pytest

from pairlens import losses as ls
from pairlens.losses.loss_text import (
    any_loss_from_text,
    can_be_typed,
    command_name,
    current_spelling,
    folder_words,
    loss_from_text,
    loss_name,
    loss_text,
    resolve_loss,
    trainable_from_text,
)
from pairlens.losses.third_party import Wrapped, WrappedPairs, wrap, wrap_pairs
from support.foreign_losses import Hinge, Module, Spread, mean_negative
from support.loss_cases import CASES

COMMAND_NAMES = """contrastive similarity_contrastive triplet all_triplets circle pooled_circle multi_similarity
binomial_deviance lifted_structure generalized_lifted nt_xent sup_con tuplet_margin angular ranked_list quadruplet histogram
fast_ap smooth_ap sup_ap recall_at_k proxy_nca proxy_nca_plus proxy_anchor norm_softmax cos_face arc_face sphere_face
sub_center_arc_face soft_triple margin n_pair snr_contrastive""".split()


def test_the_words_of_the_command_line_stay():
    # A new loss adds a word; a word that is gone breaks the scripts of users.
    assert set(COMMAND_NAMES) <= {command_name(kind) for kind in get_args(ls.Loss)}


@pytest.mark.parametrize("loss", dict.fromkeys(loss for loss, _ in CASES), ids=str)
def test_every_loss_is_read_back_from_its_text(loss):
    assert loss_from_text(loss_text(loss)) == loss
    assert trainable_from_text(loss_text(loss)) == loss


@pytest.mark.parametrize("kind", get_args(ls.Loss))
def test_older_spellings_of_a_loss_are_read(kind):
    name = command_name(kind)
    for spelling in (name.replace("_", ""), name.replace("_", "-"), kind.__name__, name.upper()):
        assert loss_from_text(spelling) == kind()
        assert current_spelling(spelling) == name
    assert current_spelling("photos/circle") == "photos/circle"


@pytest.mark.parametrize(
    "text", ["circle+0.5*triplet:margin=0.2", " circle + 0.5*triplet:margin=0.2", "Circle+5e-1 * triplet:margin=2e-1"]
)
def test_a_sum_is_read_as_it_is_guessed(text):
    assert loss_from_text(text) == ls.Sum((ls.Circle(), ls.Triplet(margin=0.2)), (1, 0.5))


def test_a_plus_within_a_number_or_brackets_does_not_split():
    assert loss_from_text("circle:gamma=1e+2") == ls.Circle(gamma=100)
    assert loss_from_text("recall_at_k:k=[1,2]+circle:gamma=2e+2").losses[1] == ls.Circle(gamma=200)
    loss = trainable_from_text("support.foreign_losses:Hinge(margin=0.2, names=('a+b', 'c'))+triplet")
    assert loss.losses == (Hinge(0.2, ("a+b", "c")), ls.Triplet())
    assert trainable_from_text(loss_text(loss)) == loss


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cirle", r"there is no loss cirle; did you mean circle\?"),
        ("xyz", "there is no loss xyz; available are contrastive, .*multi_similarity"),
        ("circle+", "there is no loss"),
        ("0.5*circle", "leave the weight out"),
        ("0*circle+triplet", "must be above 0"),
        ("circle:gama=3", "unknown key 'gama'"),
        ("support.foreign_losses:Missing", "cannot be found"),
    ],
)
def test_a_text_that_names_no_loss_is_refused(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        trainable_from_text(text)


def test_losses_of_other_projects_are_recognised_by_what_they_take():
    module = "support.foreign_losses"
    assert trainable_from_text(f"{module}:Hinge(margin=0.3)") == Hinge(0.3)
    assert trainable_from_text(f"{module}:Spread") == Spread()
    of_pairs = trainable_from_text(f"{module}:mean_negative(power=3)")
    assert isinstance(of_pairs, WrappedPairs)
    assert isinstance(trainable_from_text(f"{module}:of_embeddings"), Wrapped)
    assert isinstance(trainable_from_text(f"{module}:Module(scale=2.0)").function, Module)
    assert isinstance(any_loss_from_text(f"{module}:mean_negative"), WrappedPairs)
    assert any_loss_from_text("circle+triplet") == ls.Sum((ls.Circle(), ls.Triplet()))


def test_the_text_of_a_named_function_can_be_typed_again():
    text = "support.foreign_losses:mean_negative(power=3)"
    named = trainable_from_text(text, "mine")
    assert (loss_text(named), loss_name(named)) == (text, "mine")
    assert can_be_typed(named)
    for loss in (wrap_pairs(mean_negative), ls.Sum((ls.Circle(), wrap(len, "len")))):
        assert not can_be_typed(loss)
    assert loss_name(wrap_pairs(mean_negative)) == "mean_negative"


def test_names_of_run_folders_keep_the_spelling_of_version_0_1():
    assert folder_words(ls.MultiSimilarity()) == ["multisimilarity", 2.0, 40.0, 0.5, 0.1, True]
    assert folder_words(wrap(len, "mine")) == ["wrapped", "mine"]
    assert folder_words(Hinge(0.2)) == ["hinge", 0.2, ("a", "b")]


def test_a_loss_by_name_is_resolved():
    assert resolve_loss("multisimilarity:beta=50") == ls.MultiSimilarity(beta=50)
    assert resolve_loss(ls.Circle()) == ls.Circle()
    with pytest.raises(ValueError, match="there is no loss"):
        # A text in Python may not import anything; it names a loss of Pairlens.
        resolve_loss("support.foreign_losses:Hinge")
